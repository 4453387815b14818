"""Counts wrong PINs per card without remembering which card it was."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable


class PinTries:
    """Wrong PINs per credential, kept under a key that dies with this process.

    Args:
        max_tries: wrong PINs in a row until the card's PIN lane is locked here.
        lock_s: how long it stays locked, in seconds.
        key: 32 random bytes, never stored.
        monotonic_s: a clock that never goes back, in seconds.
    """

    def __init__(
        self, max_tries: int, lock_s: float, key: bytes, monotonic_s: Callable[[], float]
    ) -> None:
        self.max_tries = max_tries
        """May change between passages, with the policy."""
        self._lock_s = lock_s
        self._key = key
        self._now_s = monotonic_s
        self._wrong: dict[bytes, tuple[int, float]] = {}

    def left(self, credential_id: bytes) -> int:
        """How many tries this card still has; 0 means locked for now."""
        count, last_s = self._wrong.get(self._pseudonym(credential_id), (0, 0.0))
        if count and self._now_s() - last_s >= self._lock_s:
            return self.max_tries
        return max(0, self.max_tries - count)

    def spend(self, credential_id: bytes) -> None:
        """Count one try, before the PIN is checked. Counts older than the lock time are dropped."""
        now_s = self._now_s()
        self._wrong = {k: v for k, v in self._wrong.items() if now_s - v[1] < self._lock_s}
        name = self._pseudonym(credential_id)
        count, _ = self._wrong.get(name, (0, 0.0))
        self._wrong[name] = (count + 1, now_s)

    def right(self, credential_id: bytes) -> None:
        """Forget the wrong PINs of this card."""
        self._wrong.pop(self._pseudonym(credential_id), None)

    def _pseudonym(self, credential_id: bytes) -> bytes:
        return hmac.digest(self._key, credential_id, hashlib.sha256)
