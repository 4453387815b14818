"""The day's pseudonyms: how the log says "denied again", until midnight and not after.

A card gets the next number (1, 2, 3, ...) when it is denied for the first time since the day's key
was made. Whoever passes gets none, so that nothing links the passages of a day. Which card has
which number stands only in a table in this process, under HMAC-SHA256 with that key. At local
midnight, after 24 hours at the latest, and when the gate stops, key and table are destroyed; then
nobody can say whose number 17 was, the gate included.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from datetime import date, datetime, tzinfo
from pathlib import Path
from typing import Final

from gate.ledger.encoding import batch_of
from gate.ledger.record import COUNT

KEY_BYTES: Final = 32
DAY_BATCHES: Final = 96
"""Quarters of an hour in a day: no key names cards for longer, whatever a clock change does."""
DAY_S: Final = 24 * 3600.0


def fill_random(buffer: bytearray) -> None:
    """Fill a buffer from the kernel's generator, without a copy anywhere else in this process."""
    with Path("/dev/urandom").open("rb", buffering=0) as source:
        if source.readinto(buffer) != len(buffer):
            raise OSError("the kernel gave too few random bytes")


class DayCards:
    """Numbers the cards of one day. Not thread safe: one thread decides.

    Destroying is best effort: the one copy of the key that Python holds is overwritten and the
    table dropped. What a debugger or a swapped page took before, nobody can take back.

    Args:
        fill: fills a buffer with strong random bytes.
        monotonic_s: a clock that never goes back, in seconds.
        zone: of the midnight; None for the time zone of this host.
    """

    def __init__(
        self,
        fill: Callable[[bytearray], None],
        monotonic_s: Callable[[], float],
        zone: tzinfo | None = None,
    ) -> None:
        self._fill = fill
        self._now_s = monotonic_s
        self._zone = zone
        self._key: bytearray | None = None
        self._numbers: dict[bytes, int] = {}
        self._day: date | None = None
        self._first_batch = 0
        self._made_s = 0.0

    @property
    def count(self) -> int:
        """How many different cards have a number now; what `destroy` would say."""
        return COUNT.clamp(len(self._numbers))

    def is_over(self, now: datetime) -> bool:
        """Whether there is a key and its day has ended: destroy it before the next decision."""
        if self._key is None:
            return False
        return (
            self._today(now) != self._day
            or batch_of(now) - self._first_batch >= DAY_BATCHES
            or self._now_s() - self._made_s >= DAY_S
        )

    def number(self, credential_id: bytes, now: datetime) -> int:
        """Return the number of this card, or the one that it would get; see `keep`.

        Args:
            credential_id: of an authenticated card.
            now: aware; a key is made now when there is none.

        Returns:
            1 to 65 535; all further cards of a day share the last number.
        """
        if self._key is None:
            key = bytearray(KEY_BYTES)
            self._fill(key)
            self._key = key
            self._day = self._today(now)
            self._first_batch = batch_of(now)
            self._made_s = self._now_s()
        self._first_batch = min(self._first_batch, batch_of(now))  # a clock may be set back
        return COUNT.clamp(self._numbers.get(self._name(credential_id), len(self._numbers) + 1))

    def keep(self, credential_id: bytes) -> None:
        """Keep the number that `number` gave: the decision that names it is durable.

        A number that no record names is not used up, so that the log counts without a hole.
        """
        if self._key is not None:
            self._numbers.setdefault(self._name(credential_id), len(self._numbers) + 1)

    def destroy(self) -> int:
        """Destroy key and table. Return how many different cards had a number, at most 65 535."""
        cards = self.count
        if self._key is not None:
            self._key[:] = bytes(KEY_BYTES)
        self._key = None
        self._numbers = {}
        self._day = None
        return cards

    def _today(self, now: datetime) -> date:
        return now.astimezone(self._zone).date()

    def _name(self, credential_id: bytes) -> bytes:
        assert self._key is not None
        return hmac.digest(self._key, credential_id, hashlib.sha256)
