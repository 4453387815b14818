"""What a retention probe looks for, and the search itself. Pure.

A residue is a piece of a needle in memory or in a file: 72 bytes of an image, 24 of a vector, 16
of a key, or a whole text. Every such piece is found at any alignment, unless it says nothing (a
flat background, a run of zeros): those stand in every memory and prove nothing.

How: every 8-byte gram of each needle goes into one table. Of the searched bytes only the grams at
multiples of 8 are looked up: a piece of 16 bytes, wherever it lies, holds one. Each gram found is
then extended, byte by byte, to the whole common run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

_GRAM_BYTES: Final = 8
_BLOCK_BYTES: Final = 1 << 20
"""Searched at a time: the intermediate arrays stay in the processor's cache."""
_HASHES: Final = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))
"""Odd multipliers of two hashes; a gram must pass both before it is looked up for good."""
_TRIES: Final = 64
"""How many places of one needle a gram is extended from; a gram rarely stands at two."""
TEXT_MIN_BYTES: Final = 4


class Kind(Enum):
    """What a needle is, which decides how small a piece of it counts."""

    IMAGE = "image"
    VECTOR = "vector"
    KEY = "key"
    TEXT = "text"


@dataclass(frozen=True)
class Piece:
    """The smallest piece that counts: its length, and how many different bytes it must have."""

    min_bytes: int
    min_distinct: int


PIECE: Final = {
    Kind.IMAGE: Piece(min_bytes=72, min_distinct=16),
    Kind.VECTOR: Piece(min_bytes=24, min_distinct=12),
    Kind.KEY: Piece(min_bytes=16, min_distinct=8),
}


@dataclass(frozen=True)
class Needle:
    """Something that must not remain. `name` says what it is ("enrolment frame 3"), not whose."""

    name: str
    kind: Kind
    data: bytes = field(repr=False)

    def __post_init__(self) -> None:
        least = PIECE[self.kind].min_bytes if self.kind in PIECE else TEXT_MIN_BYTES
        if len(self.data) < least:
            raise ValueError(f"needle {self.name} is shorter than {least} bytes")


@dataclass(frozen=True)
class Hit:
    """A residue: where it is and how long, never what it is."""

    needle: str
    target: str
    offset: int
    length: int


@dataclass(frozen=True)
class Fragment:
    """One piece of a needle that a probe must find."""

    offset: int
    data: bytes = field(repr=False)


def fragments(needle: Needle) -> tuple[Fragment, ...]:
    """Return the smallest pieces that count, end to end, without those that say nothing."""
    if needle.kind is Kind.TEXT:
        return (Fragment(0, needle.data),)
    size = PIECE[needle.kind].min_bytes
    pieces = (
        Fragment(start, needle.data[start : start + size])
        for start in range(0, len(needle.data) - size + 1, size)
    )
    return tuple(piece for piece in pieces if _telling(piece.data, needle.kind))


def _telling(run: bytes, kind: Kind) -> bool:
    """Whether some smallest piece of a run has enough different bytes to be no coincidence."""
    piece = PIECE[kind]
    last = len(run) - piece.min_bytes
    starts = [*range(0, last, piece.min_bytes // 2), last]
    return any(len(set(run[s : s + piece.min_bytes])) >= piece.min_distinct for s in starts)


Words = NDArray[np.uint64]


def _grams(data: bytes) -> Words:
    """Return all 8-byte grams of the data that do not merely repeat 1 to 4 bytes."""
    raw = np.frombuffer(data, np.uint8)
    grams = np.concatenate(
        [
            raw[k : k + (raw.size - k) // _GRAM_BYTES * _GRAM_BYTES].view("<u8")
            for k in range(min(_GRAM_BYTES, raw.size - _GRAM_BYTES + 1))
        ]
    )
    keep = np.ones(grams.size, np.bool_)
    for period in range(1, 5):
        mask = np.uint64((1 << 8 * (_GRAM_BYTES - period)) - 1)
        keep &= ((grams ^ (grams >> np.uint64(8 * period))) & mask) != 0
    return grams[keep]


class _Table:
    """The grams of the needles."""

    def __init__(self, needles: Sequence[Needle]) -> None:
        grams = [np.empty(0, np.uint64), *(_grams(needle.data) for needle in needles)]
        self._sorted = np.sort(np.concatenate(grams))
        bits = min(max(16, self._sorted.size.bit_length() + 4), 28)
        self._shift = np.uint64(64 - bits)
        self._seen = np.zeros(1 << bits, np.uint8)
        """Bit k of a slot: some gram has this slot by hash k."""
        for k in range(len(_HASHES)):
            slots = self._slot(self._sorted, k)
            self._seen[slots] |= np.uint8(1 << k)

    def _slot(self, grams: Words, k: int) -> Words:
        slots: Words = (grams * _HASHES[k]) >> self._shift
        return slots

    def _may_hold(self, grams: Words, k: int) -> NDArray[np.bool_]:
        there: NDArray[np.bool_] = (self._seen[self._slot(grams, k)] & np.uint8(1 << k)) != 0
        return there

    def candidates(self, buffer: memoryview) -> Iterator[int]:
        """Yield, in order, the sampled places whose gram is in a needle."""
        if not self._sorted.size:
            return
        for start in range(0, len(buffer) - _GRAM_BYTES + 1, _BLOCK_BYTES):
            end = min(start + _BLOCK_BYTES, len(buffer))
            block = np.frombuffer(buffer[start : end - (end - start) % _GRAM_BYTES], "<u8")
            places = np.flatnonzero(self._may_hold(block, 0))
            places = places[self._may_hold(block[places], 1)]
            found = block[places]
            at = np.searchsorted(self._sorted, found)
            at[at == self._sorted.size] = 0
            for place in places[self._sorted[at] == found]:
                yield start + int(place) * _GRAM_BYTES


class Index:
    """Needles made ready for searching. Memory: about 10 times the needles' size."""

    def __init__(self, needles: Iterable[Needle]) -> None:
        self.needles = tuple(needles)
        names = [needle.name for needle in self.needles]
        if len(set(names)) != len(names):
            raise ValueError("two needles have one name")
        self._texts = [needle for needle in self.needles if needle.kind is Kind.TEXT]
        self._others = [needle for needle in self.needles if needle.kind is not Kind.TEXT]
        self._table = _Table(self._others)
        self.overlap_bytes = 8 * -(-max([72, *(len(t.data) for t in self._texts)]) // 8)
        """How many bytes two neighbouring chunks must share so that no piece is cut."""

    def search(self, data: bytes | bytearray | memoryview, target: str, base: int = 0) -> list[Hit]:
        """Return the residues in `data`. `base` is the offset of its first byte in the target."""
        whole = bytes(data)
        hits = []
        for text in self._texts:
            at = whole.find(text.data)
            while at >= 0:
                hits.append(Hit(text.name, target, base + at, len(text.data)))
                at = whole.find(text.data, at + len(text.data))
        past = 0
        for place in self._table.candidates(memoryview(whole)):
            if place < past:
                continue
            found = _longest(self._others, whole, place)
            if found is not None:
                needle, start, end = found
                hits.append(Hit(needle.name, target, base + start, end - start))
                past = end
        return hits


def _longest(needles: Sequence[Needle], whole: bytes, place: int) -> tuple[Needle, int, int] | None:
    """Return the longest telling run around a gram: needle, start, end in `whole`."""
    gram = whole[place : place + _GRAM_BYTES]
    best: tuple[Needle, int, int] | None = None
    for needle in needles:
        at, tries = needle.data.find(gram), 0
        while at >= 0 and tries < _TRIES:
            before = _common_suffix(needle.data[:at], whole[max(0, place - at) : place])
            after = _common_prefix(needle.data[at:], whole[place : place + len(needle.data) - at])
            start, end = place - before, place + after
            if (
                end - start >= PIECE[needle.kind].min_bytes
                and (best is None or end - start > best[2] - best[1])
                and _telling(whole[start:end], needle.kind)
            ):
                best = needle, start, end
            at, tries = needle.data.find(gram, at + 1), tries + 1
    return best


def _common_prefix(a: bytes, b: bytes) -> int:
    size = min(len(a), len(b))
    differ = np.flatnonzero(np.frombuffer(a, np.uint8, size) != np.frombuffer(b, np.uint8, size))
    return int(differ[0]) if differ.size else size


def _common_suffix(a: bytes, b: bytes) -> int:
    size = min(len(a), len(b))
    return _common_prefix(a[len(a) - size :][::-1], b[len(b) - size :][::-1])
