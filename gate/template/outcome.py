"""How a use of the template key ended, as the key agent counts it and the ledger records it."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from gate.template.context import Purpose


class KeyOutcome(Enum):
    """What became of one question for a content key."""

    RELEASED = "released"
    REFUSED = "refused"
    """It does not open: another site's key, another card, another consent, or damaged."""
    RATE_LIMITED = "rate_limited"
    SECOND = "second"
    """This card session had its one key of this purpose already."""
    FAILED = "failed"
    """No answer, a broken pipe, a token that went away, or a message that is none."""


_PAIRS = tuple((purpose, outcome) for purpose in Purpose for outcome in KeyOutcome)
_TOTALS = struct.Struct(f">{len(_PAIRS)}I")


@dataclass(frozen=True)
class KeyCounts:
    """Totals of one agent since it started, for each purpose and outcome."""

    totals: Mapping[tuple[Purpose, KeyOutcome], int] = field(default_factory=dict)

    ENCODED_BYTES = _TOTALS.size

    def __getitem__(self, pair: tuple[Purpose, KeyOutcome]) -> int:
        return self.totals.get(pair, 0)

    def __iter__(self) -> Iterator[tuple[Purpose, KeyOutcome]]:
        return iter(_PAIRS)

    def __add__(self, other: KeyCounts) -> KeyCounts:
        return KeyCounts({pair: self[pair] + other[pair] for pair in _PAIRS})

    def plus_one(self, purpose: Purpose, outcome: KeyOutcome) -> KeyCounts:
        """Return the totals after one more."""
        return self + KeyCounts({(purpose, outcome): 1})

    def encode(self) -> bytes:
        """Return 32-bit big-endian totals in the order of the two enums."""
        return _TOTALS.pack(*(self[pair] & 0xFFFFFFFF for pair in _PAIRS))

    @classmethod
    def decode(cls, data: bytes) -> KeyCounts:
        """Return the totals in exactly `ENCODED_BYTES` bytes."""
        return cls(dict(zip(_PAIRS, _TOTALS.unpack(data), strict=True)))
