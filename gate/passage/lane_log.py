"""Writes a lane's records: after a failure with the record of the gap, faults once each."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from gate.errors import LedgerFault, place_of
from gate.ledger.record import MISSED, Cleared, FaultCode, Faulted, Missed, Moved, Record
from gate.passage.fault_lines import LINES
from gate.passage.ports import Log

_LOG = logging.getLogger(__name__)

RETRY_S = 1.0


class LaneLog:
    """The log as one lane uses it. Thread safe; never raises.

    Args:
        log: the ledger.
        utc_now: the gate's clock.
        monotonic_s: a clock that never goes back, in seconds.
    """

    def __init__(
        self, log: Log, utc_now: Callable[[], datetime], monotonic_s: Callable[[], float]
    ) -> None:
        self._log = log
        self._utc_now = utc_now
        self._now_s = monotonic_s
        self._turn = threading.Lock()
        self._tried_s = 0.0
        self._known: set[FaultCode] = set()
        self._missed = 0
        self.ok = True
        """Whether the newest record became durable."""

    def append(self, record: Record) -> bool:
        """Append one record; tell whether it is durable. Nobody enters when it is not."""
        with self._turn:
            self._tried_s = self._now_s()
            return self._write([record])

    def retry(self) -> None:
        """Try again, at most once a second, when the newest record was lost."""
        with self._turn:
            if not self.ok and self._now_s() - self._tried_s >= RETRY_S:
                self._tried_s = self._now_s()
                self._write([])

    def _write(self, records: list[Record]) -> bool:
        if not self.ok:
            gap = Missed(MISSED.clamp(self._missed))
            # A movement stands behind its grant; everything else behind the gap.
            moved = bool(records) and isinstance(records[0], Moved)
            records = [*records, gap] if moved else [gap, *records]
        lost = sum(not isinstance(record, Missed) for record in records)
        try:
            for each in records:
                self._log.append(each, self._utc_now())
                if isinstance(each, Missed):
                    self._missed = 0
                else:
                    lost -= 1
        except Exception as error:  # LedgerFault or worse: not durable
            if self.ok:
                known = error.diagnostics() if isinstance(error, LedgerFault) else None
                _LOG.warning("%s", known or place_of(error))
            self.ok = False
            self._missed += lost
            return False
        self.ok = True
        return True

    def fault(self, code: FaultCode) -> None:
        """Record a fault and say on one line what to do."""
        if code in LINES:
            _LOG.warning("%s", LINES[code])
        self.append(Faulted(code))

    def once(self, code: FaultCode, *, present: bool) -> None:
        """Record a fault when it begins and when it is over."""
        if not present:
            if code in self._known:
                self._known.discard(code)
                self.append(Cleared(code))
        elif code not in self._known:
            self._known.add(code)
            self.fault(code)

    def internal(self, error: Exception) -> None:
        """Record an unexpected failure once; its text may come from anywhere, so only its place."""
        if FaultCode.INTERNAL not in self._known:
            _LOG.warning("%s", place_of(error))
        self.once(FaultCode.INTERNAL, present=True)
