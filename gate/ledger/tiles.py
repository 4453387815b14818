"""The layout of a log as C2SP tlog-tiles: names, widths and bytes of tiles and bundles. Pure.

A hash tile holds 256 consecutive tree hashes of one level; an entry bundle holds the 256 entries
below one tile of level 0. What stands at the right edge of the tree is narrower ("partial").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gate.ledger.merkle import HASH_BYTES

WIDTH: Final = 256
LEVEL_MAX: Final = 63
ENTRY_MAX_BYTES: Final = 65_535
_PATH: Final = re.compile(
    r"(?P<level>entries|0|[1-9][0-9]?)/(?P<number>(?:x[0-9]{3}/){0,5}[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?",
    re.ASCII,
)


@dataclass(frozen=True)
class TileName:
    """Which tile: `level` is None for an entry bundle. `width` is 256 for a full one."""

    level: int | None
    number: int
    width: int = WIDTH

    def path(self) -> str:
        """Return the path below `tile/`, such as "0/x001/234.p/17"."""
        groups = [f"{self.number % 1000:03d}"]
        rest = self.number // 1000
        while rest:
            groups.insert(0, f"x{rest % 1000:03d}")
            rest //= 1000
        level = "entries" if self.level is None else str(self.level)
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"{level}/{'/'.join(groups)}{partial}"

    def within(self, size: int) -> bool:
        """Whether a log of `size` entries has this tile, whole or as an earlier partial one."""
        return self.number * WIDTH + self.width <= hashes_at(size, self.level or 0)


def parse_path(path: str) -> TileName | None:
    """Return the tile that a path below `tile/` names, or None when it is not in the one form."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    level = None if match["level"] == "entries" else int(match["level"])
    number = int(match["number"].replace("/", "").replace("x", ""))
    name = TileName(level, number, WIDTH if match["width"] is None else int(match["width"]))
    # Needless zero groups, full tiles written as partial and levels over 63 end here.
    fits = name.width <= WIDTH and (level or 0) <= LEVEL_MAX
    return name if fits and name.path() == path else None


def hashes_at(size: int, level: int) -> int:
    """Return how many hashes a tree of `size` leaves has in the tiles of one level."""
    return size >> (8 * level)


def tiles_of(size: int) -> Iterator[TileName]:
    """Yield the hash tiles of a tree, level by level: full ones, then the partial one."""
    level = 0
    while count := hashes_at(size, level):
        full, rest = divmod(count, WIDTH)
        yield from (TileName(level, number) for number in range(full))
        if rest:
            yield TileName(level, full, rest)
        level += 1


def bundle(entries: Sequence[bytes]) -> bytes:
    """Return an entry bundle: each entry after its length as big-endian uint16.

    Raises:
        ValueError: an entry is longer than the format can say.
    """
    if any(len(entry) > ENTRY_MAX_BYTES for entry in entries):
        raise ValueError("an entry does not fit a bundle")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def split_hashes(tile: bytes) -> list[bytes]:
    """Return the hashes of a hash tile."""
    return [tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES)]


def bundle_entry(raw: bytes, place: int) -> bytes:
    """Return the entry at a place of a bundle.

    Raises:
        ValueError: the bundle ends before it.
    """
    at = 0
    for _ in range(place):
        at += 2 + int.from_bytes(raw[at : at + 2], "big")
    end = at + 2 + int.from_bytes(raw[at : at + 2], "big")
    if at + 2 > len(raw) or end > len(raw):
        raise ValueError("a bundle ends too early")
    return raw[at + 2 : end]
