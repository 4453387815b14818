"""Takes a newer status list into use when its file changes; never an older one.

An older list that has not expired would let cards in that were revoked since. So the newest
`iat` that was seen is remembered, also across restarts, in one small file of the gate's data_dir.
"""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gate.card.reader import Trust
from gate.card.status_list import Stamp, StatusList, read_token, stamp_of
from gate.errors import ConfigError
from gate.whole_file import PRIVATE, write_whole

MEMORY_NAME: Final = "status-list.newest"
"""File in data_dir: `iat` of the newest status list seen, seconds since 1970 in decimal."""
_OLDER: Final = "is older than one seen before"
_FETCH_NEWEST: Final = "fetch the newest from the issuer"

_LOG = logging.getLogger(__name__)


def newest_seen(data_dir: Path) -> datetime | None:
    """Return when the newest status list that this gate ever used was issued, None before any.

    Raises:
        ConfigError: the file is there and cannot be read.
    """
    path = data_dir / MEMORY_NAME
    try:
        text = path.read_bytes()[:32]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", "check its owner") from None
    if not re.fullmatch(rb"[0-9]{1,11}\n", text):
        raise ConfigError(
            f"{path} does not hold the date of a status list",
            "have the issuer publish a new list, see that it is in place, then delete this file",
        )
    return datetime.fromtimestamp(int(text), UTC)


class StatusRefresh:
    """Watches one file by its modification stamp; cheap enough to ask before every card.

    A changed file replaces the list in use only when it verifies and was issued neither before
    the newest one seen nor after this gate's `now`. Otherwise the list in use stays until its own
    `exp`, after which every card is refused (fail closed, gate.card.status_list).
    """

    def __init__(self, path: Path, trust: Trust, data_dir: Path, now: datetime) -> None:
        """Judge the list that `trust` was loaded with: an older one than ever seen counts as none.

        Args:
            path: the status list token.
            trust: gets every newer list.
            data_dir: the gate's own folder, where the newest `iat` is remembered.
            now: this gate's clock, timezone-aware.

        Raises:
            ConfigError: the memory cannot be read or written.
        """
        self._path = path
        self._trust = trust
        self._memory = data_dir / MEMORY_NAME
        self._newest = self._kept = newest_seen(data_dir)
        self._stamp: Stamp | None = None
        self._said: Stamp | None = None
        found = trust.status_list(now)
        if found is not None and self._is_older(found):
            trust.status = None
            self._say(self._look(), _OLDER, _FETCH_NEWEST)
        elif found is not None and found.issued_at <= now:
            self._newest = found.issued_at
        try:
            self._remember()
        except OSError as error:
            raise ConfigError(
                f"{self._memory} cannot be written: {error.strerror}",
                "free the disk, or give [gate] data_dir to the gate's user",
            ) from None

    def refresh(self, now: datetime) -> None:
        """Look at the file again when it changed since it was last judged. Never raises."""
        if (stamp := self._look()) is not None and stamp != self._stamp:
            self._judge(stamp, now)
        try:
            self._remember()
        except OSError as error:
            if self._said != self._stamp:
                self._said = self._stamp
                _LOG.warning(
                    "%s cannot be written (%s); an older status list put in place before a "
                    "restart would not be noticed",
                    self._memory,
                    error.strerror,
                )

    def _judge(self, stamp: Stamp, now: datetime) -> None:
        try:
            token, stamp = read_token(self._path)
        except OSError as error:
            self._stamp = stamp
            self._say(stamp, f"cannot be read ({error.strerror})", "fetch it again")
            return
        if token == self._trust.status and self._newest is not None:
            self._stamp = stamp
            return
        found = self._trust.verify_status(token, now)
        if found is not None and found.issued_at > now:
            # The clocks may come together: this file is judged again at the next card.
            self._say(stamp, "was issued in the future", "set this machine's clock or the issuer's")
            return
        self._stamp = stamp
        if found is None:
            self._say(stamp, "is not signed by the status signer", "fetch it again")
        elif self._is_older(found):
            self._say(stamp, _OLDER, _FETCH_NEWEST)
        else:
            self._trust.status = token
            self._newest = found.issued_at

    def _is_older(self, found: StatusList) -> bool:
        return self._newest is not None and found.issued_at < self._newest

    def _remember(self) -> None:
        if self._newest is not None and self._newest != self._kept:
            write_whole(self._memory, b"%d\n" % self._newest.timestamp(), PRIVATE)
            self._kept = self._newest

    def _say(self, stamp: Stamp | None, what: str, advice: str) -> None:
        """Log one line, once for each state of the file."""
        if stamp != self._said:
            self._said = stamp
            kept = "the list in use stays until its own end"
            effect = "every card is refused" if self._trust.status is None else kept
            _LOG.warning("status list %s %s; %s; %s", self._path, what, effect, advice)

    def _look(self) -> Stamp | None:
        try:
            return stamp_of(self._path.stat())
        except OSError:
            return None
