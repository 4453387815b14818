"""Takes a newer status list into use when its file changes; never an older one by accident."""

from __future__ import annotations

from pathlib import Path

from gate.card.reader import Trust

MAX_BYTES = 1 << 20


class StatusRefresh:
    """Watches one file by its modification stamp; cheap enough to ask before every card.

    A file that vanished or grew absurd changes nothing: the list in use stays until its own `exp`,
    after which every card is refused (fail closed, gate.card.status_list).
    """

    def __init__(self, path: Path, trust: Trust) -> None:
        self._path = path
        self._trust = trust
        self._stamp = self._look()

    def refresh(self) -> None:
        """Load the file when it changed since the last look."""
        stamp = self._look()
        if stamp is None or stamp == self._stamp:
            return
        try:
            token = self._path.read_bytes()
        except OSError:
            return
        if len(token) <= MAX_BYTES:
            self._stamp = stamp
            self._trust.status = token

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
