"""When the oldest records of a log are pruned: at the start of a gate and once a day."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from gate.errors import LedgerFault
from gate.ledger.record import TILE
from gate.ledger.store import Ledger

_LOG = logging.getLogger(__name__)
DAY_S: Final = 24 * 3600.0
_CLOCK_AHEAD: Final = timedelta(days=1)
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_AT_ONCE: Final = 64 * TILE
"""How many bodies go in one transaction: no passage waits longer for the log than that takes."""


def prune_older(ledger: Ledger, keep_days: int, now: datetime) -> int:
    """Prune all whole tiles of records that are older than `keep_days` days.

    Returns:
        How many bodies were deleted, 0 when none is that old.

    Raises:
        LedgerFault: the log cannot be read or written; what was pruned before stays so.
    """
    begin = below = ledger.pruned_below()
    end = ledger.prunable(max(now - timedelta(days=keep_days), _EPOCH))
    while below < end:
        below = min(end, below + _AT_ONCE)
        ledger.prune(below, now)
    return below - begin


class Retention:
    """Prunes a running gate's log when it is time. For one thread.

    Args:
        ledger: the gate's log.
        keep_days: see `[ledger] keep_days`.
        utc_now: the gate's clock.
        monotonic_s: a clock that never goes back, in seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        keep_days: int,
        utc_now: Callable[[], datetime],
        monotonic_s: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._keep_days = keep_days
        self._utc_now = utc_now
        self._now_s = monotonic_s
        self._began, self._began_s = utc_now(), monotonic_s()
        self._next_s = self._began_s

    def prune_when_due(self) -> int:
        """Prune at the first call and once a day; return how many bodies were deleted.

        Never raises: a log that cannot be written is told to the operator by the lane, too. It is
        tried again a day later.
        """
        now_s = self._now_s()
        if now_s < self._next_s:
            return 0
        self._next_s = now_s + DAY_S
        now = self._utc_now()
        # What is deleted does not come back when a clock that jumped is put right.
        if now - self._began > timedelta(seconds=now_s - self._began_s) + _CLOCK_AHEAD:
            _LOG.warning("the clock jumped ahead; no record is pruned; check it and restart")
            return 0
        try:
            return prune_older(self._ledger, self._keep_days, now)
        except LedgerFault as fault:
            _LOG.warning("no record is pruned: %s", fault.diagnostics())
            return 0
