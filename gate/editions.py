"""A signed document whose newer editions come into force while the gate runs, never an older one.

An older policy may know more groups, an older deployment record more zones. So the issue time of
the newest edition that was ever in force is remembered, also across restarts, in one small file of
the gate's data_dir; the same time with other content is refused as well.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Generic, TypeVar

from gate.errors import ConfigError
from gate.signed_document import signature_path
from gate.watched import Watched
from gate.whole_file import PRIVATE, write_whole

T = TypeVar("T")
_MEMORY = re.compile(r"([0-9T:.+-]{19,32}) ([0-9a-f]{64})\n")
_AGAIN = "put the newest in place; to go back to older rules, have the authority sign them anew"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Edition(Generic[T]):
    """One document whose signature was verified.

    `issued` is aware and part of what was signed; `sha256` is of the signed bytes, lower-case hex.
    """

    document: T
    issued: datetime
    sha256: str


class Editions(Generic[T]):
    """The edition in force of one document, and the way to the next.

    Args:
        path: the signed file; its signature lies beside it.
        read: reads and verifies the file; raises ConfigError.
        memory: the file that remembers the newest edition.
        now: the gate's clock.

    Raises:
        ConfigError: it does not verify, is older than one that was in force, or the memory cannot
            be read or written.
    """

    def __init__(
        self, path: Path, read: Callable[[datetime], Edition[T]], memory: Path, now: datetime
    ) -> None:
        self._name = path.name
        self._read = read
        self._memory = memory
        self._files = Watched((path, signature_path(path)))
        self.current = read(now)
        refuse_older(path, self.current, memory)
        self._kept = False
        try:
            self._remember()
        except OSError as error:
            raise ConfigError(
                f"{memory} cannot be written: {error.strerror}",
                "free the disk, or give [gate] data_dir to the gate's user",
            ) from None

    def newer(self, now: datetime) -> Edition[T] | None:
        """Return an edition that may come into force, or None. Never raises; says once why not."""
        self._remember_again()
        if not self._files.changed():
            return None
        try:
            found = self._read(now)
        except ConfigError as fault:
            self._files.doubtful(now, f"{fault.diagnostics()}; the edition in force stays")
            return None
        if found.sha256 == self.current.sha256:
            self._files.judged()
            return None
        if found.issued <= self.current.issued:
            self._files.judged()
            self.refuse(f"is not newer than the edition in force ({self.current.issued:%Y-%m-%d})")
            return None
        return found

    def take(self, found: Edition[T]) -> None:
        """Put what `newer` returned into force; the log says so already."""
        self._files.judged()
        self.current = found
        self._kept = False
        self._remember_again()

    def refuse(self, why: str, advice: str = _AGAIN) -> None:
        """Keep the edition in force and say once why the one in the file is not taken."""
        self._files.judged()
        self._files.say(f"{self._name} {why} and is not taken; {advice}")

    def _remember_again(self) -> None:
        if self._kept:
            return
        try:
            self._remember()
        except OSError as error:
            self._files.say(
                f"{self._memory} cannot be written ({error.strerror}); "
                "an older edition put in place before a restart would not be noticed"
            )

    def _remember(self) -> None:
        text = f"{self.current.issued.isoformat()} {self.current.sha256}\n"
        write_whole(self._memory, text.encode("ascii"), PRIVATE)
        self._kept = True


def refuse_older(path: Path, found: Edition[T], memory: Path) -> None:
    """Compare a file with the newest edition that was in force.

    Raises:
        ConfigError: it is older, or another of the same time; or the memory cannot be read.
    """
    try:
        text = memory.read_bytes()[:128].decode("ascii", "replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"{memory} cannot be read: {error.strerror}", "check its owner") from None
    parts = _MEMORY.fullmatch(text)
    try:
        newest = datetime.fromisoformat(parts[1]) if parts else None
        if parts is None or newest is None or newest.tzinfo is None:
            raise ValueError
    except ValueError:
        raise ConfigError(
            f"{memory} does not hold the date of a signed document",
            f"see that the newest {path.name} is in place, then delete this file",
        ) from None
    if found.issued < newest or (found.issued == newest and found.sha256 != parts[2]):
        raise ConfigError(
            f"{path.name} was issued {found.issued:%Y-%m-%d %H:%M}, and this gate has used "
            f"another one of {newest:%Y-%m-%d %H:%M}",
            _AGAIN,
        )
