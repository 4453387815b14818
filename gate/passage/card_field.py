"""Waits for cards, one at a time: the next one only after the passage of the last."""

from __future__ import annotations

import threading
from collections.abc import Callable

from gate.ledger.record import FaultCode
from gate.passage.lane_log import LaneLog
from gate.passage.ports import CardChannel, CardReader

_WAIT_S = 0.3
_AFTER_FAULT_S = 1.0


class CardField:
    """A thread that holds the reader and hands over each card.

    Args:
        reader: where cards come into the field.
        log: takes the fault of a reader that is gone, once.
        tapped: called from the field's thread with each card; the receiver closes it.
    """

    def __init__(
        self, reader: CardReader, log: LaneLog, tapped: Callable[[CardChannel], None]
    ) -> None:
        self._reader = reader
        self._log = log
        self._tapped = tapped
        self._free = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="card-field", daemon=True)

    def start(self) -> None:
        """Begin to wait for cards."""
        self._free.set()
        self._thread.start()

    def free(self) -> None:
        """The last passage is over: the next card may come."""
        self._free.set()

    def end(self) -> None:
        """Stop waiting; no card is handed over any more when this returns."""
        self._ended.set()
        self._thread.join(timeout=3.0)

    def _watch(self) -> None:
        while not self._ended.is_set():
            if not self._free.wait(0.2):
                continue
            try:
                channel = self._reader.wait_for_card(timeout_s=_WAIT_S)
            except Exception:  # no card is read until the reader is back
                self._log.once(FaultCode.READER, present=True)
                self._ended.wait(_AFTER_FAULT_S)
                continue
            self._log.once(FaultCode.READER, present=False)
            if channel is None:
                continue
            if self._ended.is_set():
                channel.close()
                return
            self._free.clear()
            self._tapped(channel)
