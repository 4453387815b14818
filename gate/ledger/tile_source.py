"""Where tiles come from: a log file, or a folder that holds them already."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final, Protocol

from gate.errors import LedgerFault
from gate.ledger.merkle import HASH_BYTES, node_hash, root_of
from gate.ledger.reading import LogView, reading
from gate.ledger.tiles import WIDTH, TileName, bundle, hashes_at, split_hashes

COMPUTING_MAX: Final = 4
"""Tiles of higher levels that are computed or waited for at once, at most."""


class Busy(LedgerFault):
    """Too many expensive tiles are asked for at once."""


class TileSource(Protocol):
    """Tiles of one log."""

    def tile(self, name: TileName) -> bytes | None:
        """Return a tile or bundle; None when the log has no such one, or no longer."""
        ...


class LogFileTiles:
    """Tiles computed from a log file on demand. Thread safe, never writes.

    Full tiles never change, so the roots of those of level 0 are remembered: 32 bytes for 256
    entries.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._roots: dict[int, bytes] = {}
        self._file: tuple[int, int] | None = None
        self._computing = threading.Lock()
        self._waiting = threading.BoundedSemaphore(COMPUTING_MAX)

    def tile(self, name: TileName) -> bytes | None:
        """Return a tile or bundle.

        Raises:
            LedgerFault: the log cannot be read; Busy when too many tiles are being computed.
        """
        if not name.level:
            with reading(self._path) as log:
                return _lowest(log, name) if name.within(log.size()) else None
        if not self._waiting.acquire(blocking=False):
            raise Busy("too many tiles are being computed", "ask again in a moment")
        try:
            with self._computing:
                return self._higher(name.level, name)
        finally:
            self._waiting.release()

    def _higher(self, level: int, name: TileName) -> bytes | None:
        self._forget_another_file()
        with reading(self._path) as log:
            if not name.within(log.size()):
                return None
        first = name.number * WIDTH
        return b"".join(self._root(level - 1, n) for n in range(first, first + name.width))

    def _root(self, level: int, number: int) -> bytes:
        """Return the root of one full tile."""
        if level:
            first = number * WIDTH
            return root_of([self._root(level - 1, n) for n in range(first, first + WIDTH)])
        if number not in self._roots:
            # One short look at the file for each: a long one would keep the writer from tidying.
            with reading(self._path) as log:
                tile = _lowest(log, TileName(0, number))
            if tile is None:
                raise LedgerFault(f"the log {self._path} changed while it was read", "verify it")
            self._roots[number] = root_of(split_hashes(tile))
        return self._roots[number]

    def _forget_another_file(self) -> None:
        """A log that was moved away and begun anew has other tiles."""
        try:
            found = self._path.stat()
        except OSError:
            raise LedgerFault(f"there is no log at {self._path}", "check the path") from None
        if self._file != (found.st_dev, found.st_ino):
            self._file = (found.st_dev, found.st_ino)
            self._roots.clear()


def _lowest(log: LogView, name: TileName) -> bytes | None:
    """Return a tile of level 0 or a bundle; None when an entry has no body any more."""
    first = name.number * WIDTH
    rows = list(log.entries(first, first + name.width))
    if len(rows) != name.width:
        return None
    if name.level == 0:
        return b"".join(leaf for _, leaf in rows)
    bodies = [body for body, _ in rows if body is not None]
    return bundle(bodies) if len(bodies) == name.width else None


class FolderTiles:
    """Tiles that stand in a folder: an export, or a mirror."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def tile(self, name: TileName) -> bytes | None:
        """Return a tile or bundle; a narrower one is cut from the full one when need be."""
        for wanted in {name, TileName(name.level, name.number)}:
            try:
                found = (self._folder / "tile" / wanted.path()).read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise LedgerFault(
                    f"cannot read {self._folder}: {error.strerror}", "export the log again"
                ) from None
            return found if name.level is None else found[: name.width * HASH_BYTES]
        return None


class Subtrees:
    """Hashes of any part of the tree of the first `size` entries, from tiles.

    Args:
        source: where the tiles come from.
        size: the number of leaves; the source must have the tiles of this size.
    """

    def __init__(self, source: TileSource, size: int) -> None:
        self._source = source
        self.size = size
        self._tiles: dict[tuple[int, int], list[bytes]] = {}

    def mth(self, start: int, end: int) -> bytes:
        """Return MTH(D[start:end]). Source: RFC 9162 section 2.1.1.

        Raises:
            LedgerFault: a tile is missing.
        """
        width = end - start
        if width & (width - 1) == 0 and start % width == 0:
            level = (width.bit_length() - 1) // 8
            first, count = start >> 8 * level, width >> 8 * level
            hashes = self._hashes(level, first // WIDTH)
            return root_of(hashes[first % WIDTH : first % WIDTH + count])
        middle = start + (1 << ((width - 1).bit_length() - 1))
        return node_hash(self.mth(start, middle), self.mth(middle, end))

    def _hashes(self, level: int, number: int) -> list[bytes]:
        known = self._tiles.get((level, number))
        if known is None:
            width = min(WIDTH, hashes_at(self.size, level) - number * WIDTH)
            tile = self._source.tile(TileName(level, number, width))
            if tile is None or len(tile) != width * HASH_BYTES:
                raise LedgerFault("a tile is missing or has the wrong length", "export it again")
            known = self._tiles[level, number] = split_hashes(tile)
        return known
