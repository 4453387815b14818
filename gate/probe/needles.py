"""What a retention probe looks for, and the search itself. Pure.

A residue is a piece of a needle in memory or in a file: 72 bytes of an image, 24 of a vector, 16
of a key, or a whole text. Every such piece is found at any alignment, unless it says nothing (a
flat background, a run of zeros): those stand in every memory and prove nothing.

How: for each kind there is a table of all windows of its needles that are 8 bytes shorter than the
smallest piece, so every piece that counts holds one at a multiple of 8, wherever it lies. Around
each window found, first the 8 bytes on either side are compared, which shows whether there is a
piece; only a piece is then extended to the whole common run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gate.probe.windows import (
    WORD_BYTES,
    Bytes,
    Places,
    WindowTable,
    Words,
    common,
    ladder,
    leading,
)

COUNT_UP_TO: Final = 200
"""So many hits of one needle in one target are counted; the rest is no longer looked at."""
TEXT_MIN_BYTES: Final = 4
_BLOCK_WORDS: Final = 1 << 14
"""Searched at a time: the intermediate arrays stay in the processor's cache."""
_OVERLAP_WORDS: Final = 7
_MARGIN_BYTES: Final = WORD_BYTES
"""A smallest piece is one window and so many bytes more, on either side of it."""
_BATCH_PLACES: Final = 1024
_BATCH_POSITIONS: Final = 1 << 14
_EXTENDED: Final = 64
"""Of so many positions in the needles the longest run is taken."""
_REMEMBERED: Final = 1 << 16


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
    least = PIECE[needle.kind].min_distinct
    return tuple(piece for piece in pieces if len(set(piece.data)) >= least)


class _Kind:
    """The needles of one kind, made ready for searching."""

    def __init__(self, needles: Sequence[Needle], piece: Piece) -> None:
        self.needles = needles
        self.piece = piece
        window_bytes = piece.min_bytes - _MARGIN_BYTES
        # The margin adds at most 8 different bytes; and a window that is all one byte says nothing.
        min_distinct = max(2, piece.min_distinct - _MARGIN_BYTES)
        self.table = WindowTable([n.data for n in needles], window_bytes, min_distinct)


class Index:
    """Needles made ready for searching. Memory: about 12 times the needles' size."""

    def __init__(self, needles: Iterable[Needle]) -> None:
        self.needles = tuple(needles)
        names = [needle.name for needle in self.needles]
        if len(set(names)) != len(names):
            raise ValueError("two needles have one name")
        self._texts = [needle for needle in self.needles if needle.kind is Kind.TEXT]
        self._kinds = [
            _Kind(of_kind, piece)
            for kind, piece in PIECE.items()
            if (of_kind := [needle for needle in self.needles if needle.kind is kind])
        ]
        self.overlap_bytes = 8 * -(-max([72, *(len(t.data) for t in self._texts)]) // 8)
        """How many bytes two neighbouring chunks must share so that no piece is cut."""
        self.compared = 0
        """Measure of the work so far: positions whose bytes were compared, in all searches."""

    def search(
        self,
        data: bytes | bytearray | memoryview,
        target: str,
        base: int = 0,
        found: Counter[str] | None = None,
    ) -> list[Hit]:
        """Return the residues in `data`, by kind of needle and offset.

        Args:
            data: the bytes to search.
            target: where they come from.
            base: the offset of their first byte in the target.
            found: how often each needle was found in this target; counts on. A needle that was
                found `COUNT_UP_TO` times is not looked for any more.
        """
        whole = bytes(data)
        found = Counter() if found is None else found
        return [
            Hit(needle.name, target, base + start, end - start)
            for needle, start, end in (*self._texts_in(whole, found), *self._pieces(whole, found))
        ]

    def _texts_in(self, whole: bytes, found: Counter[str]) -> Iterator[tuple[Needle, int, int]]:
        for text in self._texts:
            at = whole.find(text.data)
            while at >= 0 and found[text.name] < COUNT_UP_TO:
                found[text.name] += 1
                yield text, at, at + len(text.data)
                at = whole.find(text.data, at + len(text.data))

    def _pieces(self, whole: bytes, found: Counter[str]) -> Iterator[tuple[Needle, int, int]]:
        for kind, places, hashes in self._candidates(np.frombuffer(whole, np.uint8)):
            search = _Search(kind, whole, found)
            yield from search.runs(places, hashes)
            self.compared += search.compared

    def _candidates(self, raw: Bytes) -> Iterator[tuple[_Kind, Places, Words]]:
        """Yield for each kind, in order, the sampled places whose window is in a needle."""
        words = raw[: raw.size // WORD_BYTES * WORD_BYTES].view("<u8")
        places = [[np.empty(0, np.int64)] for _ in self._kinds]
        hashes = [[np.empty(0, np.uint64)] for _ in self._kinds]
        for first in range(0, words.size, _BLOCK_WORDS):
            block = words[first : first + _BLOCK_WORDS + _OVERLAP_WORDS]
            rungs = dict(ladder(block))
            for k, kind in enumerate(self._kinds):
                if (rung := rungs.get(kind.table.window_bytes)) is not None:
                    rung = rung[:_BLOCK_WORDS]
                    at = kind.table.find(rung)
                    places[k].append((first + at) * WORD_BYTES)
                    hashes[k].append(rung[at])
        for k, kind in enumerate(self._kinds):
            yield kind, np.concatenate(places[k]), np.concatenate(hashes[k])


class _Search:
    """One search of some bytes for the needles of one kind."""

    def __init__(self, kind: _Kind, whole: bytes, found: Counter[str]) -> None:
        self._kind = kind
        self._table = kind.table
        self._window = kind.table.window_bytes
        self._whole = whole
        self._raw: Bytes = np.frombuffer(whole, np.uint8)
        self._found = found
        self._wanted = np.array([found[n.name] < COUNT_UP_TO for n in kind.needles], np.bool_)
        self._barren: set[bytes] = set()
        """Windows with their margins that were no piece: memory repeats itself."""
        self.compared = 0

    def runs(self, places: Places, hashes: Words) -> Iterator[tuple[Needle, int, int]]:
        """Yield needle, start and end of each common run that holds a piece that counts."""
        past = at = 0
        while at < places.size and self._wanted.any():
            batch = slice(at, at + _BATCH_PLACES)
            worth = self._telling(places[batch])
            if not self._wanted.all():
                worth &= self._in_wanted(hashes[batch])
            for i in (at + np.flatnonzero(worth)).tolist():
                if places[i] < past:
                    continue
                run = self._run(int(places[i]), hashes[i])
                if run is not None:
                    needle, _, past = run
                    yield run
                    self._found[needle.name] += 1
                    if self._found[needle.name] >= COUNT_UP_TO:
                        self._wanted[self._kind.needles.index(needle)] = False
            at = max(at + _BATCH_PLACES, int(np.searchsorted(places, past)))

    def _telling(self, places: Places) -> NDArray[np.bool_]:
        """Whether a window with its margins has enough different bytes."""
        around = np.arange(-_MARGIN_BYTES, self._window + _MARGIN_BYTES)
        rows = self._raw[np.clip(places[:, None] + around, 0, self._raw.size - 1)]
        rows.sort(axis=1)
        different = 1 + np.count_nonzero(rows[:, 1:] != rows[:, :-1], axis=1)
        telling: NDArray[np.bool_] = different >= self._kind.piece.min_distinct
        return telling

    def _in_wanted(self, hashes: Words) -> NDArray[np.bool_]:
        """Whether windows may stand in a needle that is still looked for."""
        wanted = np.concatenate([[0], np.cumsum(self._wanted)])
        first, last = self._table.owner_range(hashes)
        there: NDArray[np.bool_] = wanted[last + 1] > wanted[first]
        return there

    def _run(self, place: int, found: np.uint64) -> tuple[Needle, int, int] | None:
        around = self._whole[max(0, place - _MARGIN_BYTES) : place + self._window + _MARGIN_BYTES]
        if around in self._barren:
            return None
        best: tuple[Needle, int, int] | None = None
        for position in self._pieces_at(place, found):
            owner = int(self._table.owners(np.array([position]))[0])
            first, past = int(self._table.starts[owner]), int(self._table.ends[owner])
            needle = self._table.raw
            end = place + common(self._raw[place:], needle[position:past])
            start = place - common(self._raw[:place][::-1], needle[first:position][::-1])
            if best is None or end - start > best[2] - best[1]:
                best = self._kind.needles[owner], start, end
        whole_context = len(around) == self._window + 2 * _MARGIN_BYTES
        if best is None and whole_context and len(self._barren) < _REMEMBERED:
            self._barren.add(around)
        return best

    def _pieces_at(self, place: int, found: np.uint64) -> list[int]:
        """Return positions in the needles with a common piece that counts around a place."""
        size = self._kind.piece.min_bytes
        before_max = min(_MARGIN_BYTES, place)
        after_max = min(_MARGIN_BYTES, self._raw.size - place - self._window)
        firsts = range(place - before_max, place + after_max - _MARGIN_BYTES + 1)
        firsts_telling = [
            first
            for first in firsts
            if len(set(self._whole[first : first + size])) >= self._kind.piece.min_distinct
        ]
        if not firsts_telling:
            return []
        here = self._raw[place - before_max : place + self._window + after_max]
        around = np.arange(-before_max, self._window + after_max)
        positions = self._table.positions(found)
        pieces: list[int] = []
        for at in range(0, positions.size, _BATCH_POSITIONS):
            batch = positions[at : at + _BATCH_POSITIONS]
            owners = self._table.owners(batch)
            batch, owners = batch[self._wanted[owners]], owners[self._wanted[owners]]
            self.compared += batch.size
            same = self._table.raw.take(batch[:, None] + around, mode="clip") == here
            before = np.minimum(
                leading(same[:, :before_max][:, ::-1]), batch - self._table.starts[owners]
            )
            after = np.minimum(
                leading(same[:, before_max + self._window :]),
                self._table.ends[owners] - batch - self._window,
            )
            count = np.zeros(batch.size, np.bool_)
            for first in firsts_telling:
                count |= (place - first <= before) & (first + size - place - self._window <= after)
            count &= same[:, before_max : before_max + self._window].all(axis=1)
            pieces += batch[count].tolist()
            if len(pieces) >= _EXTENDED:
                break
        return pieces[:_EXTENDED]
