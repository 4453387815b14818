"""A bound on how often keys are released. Pure: time is passed in."""

from __future__ import annotations


class RateLimit:
    """A bucket of `burst` releases that refills at `per_minute`.

    A taken-over gate can then open no more cards a minute than a busy door needs.
    """

    def __init__(self, per_minute: int, burst: int) -> None:
        assert per_minute > 0
        assert burst > 0
        self._per_second = per_minute / 60
        self._burst = float(burst)
        self._left = float(burst)
        self._last_s: float | None = None

    def allow(self, now_s: float) -> bool:
        """Take one release at monotonic time `now_s` in seconds. False: too many."""
        if self._last_s is not None:
            gained = max(0.0, now_s - self._last_s) * self._per_second
            self._left = min(self._burst, self._left + gained)
        self._last_s = now_s
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
