"""Where windows of some bytes (8, 16 or 64) stand in other bytes: a table of hashes. Pure.

The table holds every window of the needles, at every byte. Of the searched bytes only the windows
that start at multiples of 8 are looked up, so whatever is at least 8 bytes longer than a window
(7 would do) is met, wherever it lies. A window that is found is the same, all of it, but for rare
collisions: smooth pictures share very many 8-byte grams with any memory, but few windows.

Windows with few different bytes are left out: they stand in every memory and prove nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]
Places = NDArray[np.int64]

WORD_BYTES: Final = 8
_BLOCK_WORDS: Final = 1 << 14
"""Handled at a time: the intermediate arrays stay in the processor's cache."""
_FIRST_STEP_BYTES: Final = 256
_LAST_STEP_BYTES: Final = 1 << 20
_BIT_OF_BYTE: Final = (
    np.eye(256, dtype=np.uint8)
    .reshape(256, 4, 64)
    .dot(np.uint64(1) << np.arange(64, dtype=np.uint64))
    .T.copy()
)
"""A set of bytes as 256 bits in four words: the words of each byte."""
_SPREAD: Final = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9))
_JOIN: Final = (
    np.uint64(0xC2B2AE3D27D4EB4F),
    np.uint64(0x165667B19E3779F9),
    np.uint64(0xD6E8FEB86659FD93),
)
"""Odd multipliers, one for each doubling of the window."""


def ladder(words: Words) -> Iterator[tuple[int, Words]]:
    """Yield the hashes of all windows of 1, 2, 4 and 8 words, with the window's size in bytes."""
    hashes = words * _SPREAD[0]
    hashes ^= hashes >> np.uint64(32)
    hashes *= _SPREAD[1]
    count = 1
    yield WORD_BYTES, hashes
    for factor in _JOIN:
        if hashes.size <= count:
            return
        hashes = hashes[:-count] * factor + hashes[count:]
        count *= 2
        yield count * WORD_BYTES, hashes


def distinct(raw: Bytes, window_bytes: int) -> NDArray[np.uint8]:
    """Return how many different bytes each window has. `window_bytes` is a power of two."""
    number = np.zeros(raw.size - window_bytes + 1, np.uint8)
    for lane in _BIT_OF_BYTE:
        seen = lane[raw]
        span = 1
        while span < window_bytes:
            seen = seen[:-span] | seen[span:]
            span *= 2
        number += np.bitwise_count(seen)
    return number


class WindowTable:
    """All windows of one size in some needles. Memory: about 12 times the needles' size."""

    def __init__(self, needles: Sequence[bytes], window_bytes: int, min_distinct: int) -> None:
        """Args: needles, each at least as long as a window; the least different bytes of one."""
        self.window_bytes = window_bytes
        sizes = [len(needle) for needle in needles]
        self.ends: Places = np.cumsum([0, *sizes])[1:].astype(np.int64)
        self.starts: Places = self.ends - np.array(sizes, np.int64)
        """Where each needle starts in `raw`, and where it ends."""
        self.raw: Bytes = np.frombuffer(b"".join(needles), np.uint8)
        position_bits = self.raw.size.bit_length()
        self._low = np.uint64((1 << position_bits) - 1)
        parts = [np.empty(0, np.uint64)]
        for start, end in zip(self.starts, self.ends, strict=True):
            parts += self._windows(int(start), int(end), min_distinct)
        # High bits: of the hash. Low bits: the position. One sort puts both in order.
        self._keys: Words = np.concatenate(parts)
        self._keys.sort()
        self._filter_bits = max(8, self._keys.size.bit_length() - 2)
        self._filter = np.zeros(1 << self._filter_bits, np.uint64)
        if self._keys.size:
            slots = self._slots(self._keys)
            first = np.flatnonzero(np.diff(slots, prepend=-1))
            self._filter[slots[first]] = np.bitwise_or.reduceat(self._marks(self._keys), first)

    def _windows(self, start: int, end: int, min_distinct: int) -> Iterator[Words]:
        block = _BLOCK_WORDS * WORD_BYTES
        for first in range(start, end - self.window_bytes + 1, block):
            raw = self.raw[first : min(first + block + self.window_bytes - 1, end)]
            keys = np.empty(raw.size - self.window_bytes + 1, np.uint64)
            for shift in range(min(WORD_BYTES, keys.size)):
                words = raw[shift : shift + (raw.size - shift) // WORD_BYTES * WORD_BYTES]
                keys[shift::WORD_BYTES] = dict(ladder(words.view("<u8")))[self.window_bytes]
            keys &= ~self._low
            keys |= np.arange(first, first + keys.size, dtype=np.uint64)
            yield keys[distinct(raw, self.window_bytes) >= min_distinct]

    def _slots(self, hashes: Words) -> Places:
        return (hashes >> np.uint64(64 - self._filter_bits)).view(np.int64)

    def _marks(self, hashes: Words) -> Words:
        """Return the two bits that a hash has in its word of the filter."""
        rest = hashes >> np.uint64(64 - self._filter_bits - 12)
        six, one = np.uint64(63), np.uint64(1)
        marks: Words = (one << (rest & six)) | (one << ((rest >> np.uint64(6)) & six))
        return marks

    def find(self, hashes: Words) -> Places:
        """Return the indices of the hashes that are in the table, in order."""
        if not self._keys.size:
            return np.empty(0, np.int64)
        hashes = hashes & ~self._low
        marks = self._marks(hashes)
        maybe = np.flatnonzero((self._filter.take(self._slots(hashes)) & marks) == marks)
        wanted = hashes[maybe]
        at = np.searchsorted(self._keys, wanted)
        at[at == self._keys.size] = 0
        there = (self._keys[at] & ~self._low) == wanted
        found: Places = maybe[there]
        return found

    def positions(self, found: np.uint64) -> Places:
        """Return where in `raw` the windows with a hash are."""
        wanted = found & ~self._low
        first = np.searchsorted(self._keys, wanted)
        past = np.searchsorted(self._keys, wanted | self._low, side="right")
        return (self._keys[first:past] & self._low).astype(np.int64)

    def owner_range(self, found: Words) -> tuple[Places, Places]:
        """Return the first and the last needle that hold a window, for hashes in the table."""
        wanted = found & ~self._low
        first = np.searchsorted(self._keys, wanted)
        last = np.searchsorted(self._keys, wanted | self._low, side="right") - 1
        low = self._low
        return (
            self.owners((self._keys[first] & low).astype(np.int64)),
            self.owners((self._keys[last] & low).astype(np.int64)),
        )

    def owners(self, positions: Places) -> Places:
        """Return the indices of the needles that hold the positions."""
        owners: Places = np.searchsorted(self.starts, positions, side="right") - 1
        return owners


def leading(same: NDArray[np.bool_]) -> Places:
    """Return how many first columns of each row are true."""
    count: Places = np.logical_and.accumulate(same, axis=1).sum(axis=1, dtype=np.int64)
    return count


def common(a: Bytes, b: Bytes) -> int:
    """Return how many first bytes are equal, looking further in growing steps."""
    size, done, step = min(a.size, b.size), 0, _FIRST_STEP_BYTES
    while done < size:
        end = min(done + step, size)
        differ = np.flatnonzero(a[done:end] != b[done:end])
        if differ.size:
            return done + int(differ[0])
        done, step = end, min(4 * step, _LAST_STEP_BYTES)
    return size
