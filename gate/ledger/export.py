"""A log as plain files for an auditor, written whole or not at all.

`checkpoint` and `tile/` are C2SP tlog-tiles, as any tool of that format reads them. For people:
`entries.jsonl` (one canonical record a line), `checkpoints.jsonl` (all signed notes, oldest first,
each as one JSON string), `cosigned.jsonl` (each witness's newest co-signed checkpoint: witness,
size and note as one JSON array), `vkey`, `README.txt` (how to verify, Korean and English).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gate.errors import LedgerFault
from gate.ledger.export_readme import README
from gate.ledger.merkle import root_of
from gate.ledger.reading import LogView, reading
from gate.ledger.tiles import WIDTH, TileName, bundle
from gate.whole_file import PUBLIC

Progress = Callable[[int, int], None]
"""Called now and then with the number of entries written and the number of all."""
_PRUNED_LINE: Final = b"\n"
"""In entries.jsonl, for a record whose body was deleted."""


def export(path: Path, folder: Path, progress: Progress | None = None) -> int:
    """Write the log as it is at this moment into a new folder; return its number of entries.

    Works while the gate writes. It does not judge the log: that is `gate.ledger.verify`'s work.

    Args:
        path: the log file.
        folder: must not exist, or be empty.
        progress: told how far it is.

    Raises:
        LedgerFault: the log cannot be read, or the folder cannot be written or is not empty.
    """
    if not path.is_file():
        raise LedgerFault(f"there is no log at {path}", "check the path")
    try:
        parent = folder.resolve().parent
        parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=parent))
    except OSError as error:
        raise _cannot_write(folder, error) from None
    try:
        with reading(path) as log:
            size = _write(log, partial, progress or (lambda _done, _all: None))
        _settle(partial)
        # On POSIX this replaces an empty folder and refuses any other.
        partial.rename(folder.resolve())
        _sync(parent)
    except OSError as error:
        raise _cannot_write(folder, error) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return size


def _write(log: LogView, partial: Path, progress: Progress) -> int:
    size, notes = log.size(), [note for _, note in log.notes()]
    tiles = _TileWriter(partial / "tile")
    with (partial / "entries.jsonl").open("wb") as lines:
        for first in range(0, size, WIDTH):
            rows = list(log.entries(first, min(first + WIDTH, size)))
            if len(rows) != min(WIDTH, size - first):
                raise LedgerFault("the log has a gap", "verify it")
            lines.writelines(_PRUNED_LINE if body is None else body + b"\n" for body, _ in rows)
            bodies = [body for body, _ in rows if body is not None]
            if len(bodies) == len(rows):
                tiles.put(TileName(None, first // WIDTH, len(rows)), bundle(bodies))
            tiles.add(0, first // WIDTH, [leaf for _, leaf in rows])
            progress(first + len(rows), size)
    tiles.end()
    for name, text in {
        "checkpoints.jsonl": "".join(json.dumps(note) + "\n" for note in notes),
        "checkpoint": notes[-1] if notes else "",
        "cosigned.jsonl": "".join(json.dumps(row) + "\n" for row in log.cosigned()),
        "vkey": log.vkey() + "\n",
        "README.txt": README,
    }.items():
        (partial / name).write_bytes(text.encode())
    return size


class _TileWriter:
    """Writes hash tiles while leaves come in; each full tile adds one hash to the level above."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: list[list[bytes]] = []
        """The hashes of each level above 0 that fill no tile yet."""
        self._numbers: list[int] = []

    def add(self, level: int, number: int, hashes: list[bytes]) -> None:
        """Write one tile of a level, and above it what it completes."""
        self.put(TileName(level, number, len(hashes)), b"".join(hashes))
        if len(hashes) < WIDTH:
            return
        if len(self._open) == level:
            self._open.append([])
            self._numbers.append(0)
        above = self._open[level]
        above.append(root_of(hashes))
        if len(above) == WIDTH:
            self.add(level + 1, self._numbers[level], above.copy())
            above.clear()
            self._numbers[level] += 1

    def end(self) -> None:
        """Write the partial tiles of the levels above 0."""
        for level, hashes in enumerate(self._open):
            if hashes:
                name = TileName(level + 1, self._numbers[level], len(hashes))
                self.put(name, b"".join(hashes))

    def put(self, name: TileName, content: bytes) -> None:
        """Write one file."""
        place = self._folder / name.path()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def _settle(partial: Path) -> None:
    """Make everything readable to all and durable, whatever the umask is."""
    for here, _, names in os.walk(partial, topdown=False):
        for name in names:
            descriptor = os.open(Path(here) / name, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                os.fchmod(descriptor, PUBLIC)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        Path(here).chmod(0o755)
        _sync(Path(here))


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_write(folder: Path, error: OSError) -> LedgerFault:
    return LedgerFault(
        f"cannot export to {folder}: {error.strerror}",
        "name a new folder on a disk with free space",
    )
