"""One call of `open`: what was sent, and what can be said of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from firmware_bridge.osdp_codes import Command
from firmware_bridge.ports import OpenResult
from firmware_bridge.turnstile_readings import TurnstileReadings

_MAX_ATTEMPTS = 2
_EVIDENCE_S = 0.5
"""How long after the command an inactive output still proves that no pulse began: shorter than
the pulse, and no longer than the shortest pulse that turnstiles are set to keep by themselves."""


@dataclass
class Opening:
    """One opening on its way, shared between the caller and the bus thread.

    Args:
        timer_count: length of the pulse in steps of 100 ms, 1..255.
        deadline: when to give up, on the caller's clock in seconds.
    """

    timer_count: int
    deadline: float
    result: OpenResult | None = None
    sent_at: float | None = None
    """When the command was handed to the line; None while it surely never left."""
    accepted: bool = False
    """The device said in the session that it obeys."""
    in_doubt: bool = False
    """Sent, and the session ended before the outcome was known."""
    _attempts: int = 0
    _relay_was_active: bool = False
    _passages_before: int = 0

    @property
    def waiting(self) -> bool:
        """True while it is to be sent."""
        return self.result is None and self.sent_at is None

    def send(self, readings: TurnstileReadings, now: float) -> None:
        """Note that the command leaves now, and what the turnstile looked like before."""
        self.sent_at = now
        self.in_doubt = False
        self._attempts += 1
        self._relay_was_active = readings.relay_active
        self._passages_before = readings.passages_a

    def untold(self) -> OpenResult:
        """Return what to say at the deadline: what never left cannot have moved anything."""
        return OpenResult.NOT_DELIVERED if self.sent_at is None else OpenResult.UNKNOWN

    def judge(self, readings: TurnstileReadings, now: float) -> OpenResult | None:
        """Say what became of a command in doubt, from readings of a new session.

        The new session made the old frame worthless, so it cannot arrive any more. None: the
        readings prove that nothing moved, and the command may be sent once more.
        """
        assert self.sent_at is not None
        if not readings.supports(Command.OSTAT):
            return OpenResult.UNKNOWN
        if readings.relay_active:
            # Unless it is the pulse of the opening before.
            return OpenResult.UNKNOWN if self._relay_was_active else OpenResult.OPENED
        nothing_moved = (
            not self.accepted
            and not self._relay_was_active
            and readings.passages_a == self._passages_before
            and now - self.sent_at < min(self.timer_count / 10, _EVIDENCE_S)
        )
        if not nothing_moved:
            return OpenResult.UNKNOWN
        if self._attempts >= _MAX_ATTEMPTS:
            return OpenResult.NOT_DELIVERED
        self.sent_at = None
        self.in_doubt = False
        return None
