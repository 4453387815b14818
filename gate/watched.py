"""Files that may be replaced while the gate runs: noticed by their stamps, complained of once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from gate.card.status_list import Stamp, stamp_of

SETTLE: Final = timedelta(seconds=2)
"""How long files that do not fit together may be on their way, one after the other."""

_LOG = logging.getLogger(__name__)


class Watched:
    """One thing that lies in one or more files. Cheap enough to ask before every card.

    Args:
        paths: the files; a missing one is a state like any other.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._looked: tuple[Stamp | None, ...] = ()
        self._judged: tuple[Stamp | None, ...] = self._look()
        self._doubted: tuple[Stamp | None, ...] | None = None
        self._doubted_at = datetime.max
        self._said: tuple[Stamp | None, ...] | None = None

    def changed(self) -> bool:
        """Whether the files are in another state than when they were last judged."""
        self._looked = self._look()
        return self._looked != self._judged

    def judged(self) -> None:
        """What `changed` saw was read and judged: it is not looked at again."""
        self._judged = self._looked

    def doubtful(self, now: datetime, line: str) -> None:
        """What `changed` saw does not fit; say so once, when it stays like that.

        It is looked at again: the second file may follow, or the clock be set.
        """
        if self._looked != self._doubted:
            self._doubted, self._doubted_at = self._looked, now
        elif abs(now - self._doubted_at) >= SETTLE:
            self.say(line)

    def say(self, line: str) -> None:
        """Warn, once for each state of the files."""
        if self._said != self._looked:
            self._said = self._looked
            _LOG.warning("%s", line)

    def _look(self) -> tuple[Stamp | None, ...]:
        return tuple(map(_stamp, self._paths))


def _stamp(path: Path) -> Stamp | None:
    try:
        return stamp_of(path.stat())
    except OSError:
        return None
