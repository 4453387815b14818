"""What the line has told about the turnstile so far. Pure: answers and time are passed in."""

from __future__ import annotations

from firmware_bridge.osdp_codes import Command, Reply
from firmware_bridge.osdp_panel import Answer
from firmware_bridge.ports import Link, TurnstileStatus
from firmware_bridge.turnstile_inputs import TurnstileInput


class TurnstileReadings:
    """Newest state, and the count of persons. Counts never go back while this object lives.

    Args:
        entry_output: number of the output that drives the entry relay.
        max_gap_s: longest silence across which passages are still counted as observed.
    """

    def __init__(self, entry_output: int, max_gap_s: float) -> None:
        self._max_gap_s = max_gap_s
        self._entry_output = entry_output
        self._inputs: bytes | None = None
        self._local_tamper = False
        self._power_fault = False
        self._unsupported: set[int] = set()
        self.relay_active = False
        self.passages_a = 0
        self.passages_b = 0
        self.last_at: float | None = None
        self.gaps = 0
        """How often the line was silent for longer than `max_gap_s`."""

    @property
    def senses_passages(self) -> bool:
        """True once the device has reported its passage inputs."""
        return self._inputs is not None and len(self._inputs) > TurnstileInput.PASSAGE_B

    def supports(self, command: int) -> bool:
        """Tell whether the device has not yet said that it does not know `command`."""
        return command not in self._unsupported

    def silent_for(self, now: float) -> float:
        """Return seconds since the last authentic answer; infinite before the first."""
        return float("inf") if self.last_at is None else now - self.last_at

    def note(self, answer: Answer, now: float) -> None:
        """Take one authentic answer into account."""
        if self.silent_for(now) > self._max_gap_s:
            self.gaps += 1
        self.last_at = now
        data = answer.data
        if answer.code == Reply.ISTATR:
            self._note_inputs(data)
        elif answer.code == Reply.OSTATR and len(data) > self._entry_output:
            self.relay_active = data[self._entry_output] != 0
        elif answer.code == Reply.LSTATR and len(data) >= 2:
            self._local_tamper = data[0] != 0
            self._power_fault = data[1] != 0
        elif answer.code == Reply.NAK and answer.command in _QUERIES:
            self._unsupported.add(answer.command)

    def _note_inputs(self, inputs: bytes) -> None:
        before = self._inputs
        self._inputs = inputs
        if before is None or len(before) != len(inputs):
            return
        for number in (TurnstileInput.PASSAGE_A, TurnstileInput.PASSAGE_B):
            if number < len(inputs) and inputs[number] and not before[number]:
                if number is TurnstileInput.PASSAGE_A:
                    self.passages_a += 1
                else:
                    self.passages_b += 1

    def _closed(self, number: TurnstileInput) -> bool:
        """Tell whether a normally closed loop is closed; one that is not reported is not."""
        return self._inputs is not None and len(self._inputs) > number and self._inputs[number] == 1

    def status(self, link: Link) -> TurnstileStatus:
        """Return the reading as the port states it."""
        return TurnstileStatus(
            link=link,
            relay_active=self.relay_active,
            tamper=self._local_tamper or not self._closed(TurnstileInput.TAMPER),
            power_fault=self._power_fault,
            ready=self._closed(TurnstileInput.READY),
            fire=not self._closed(TurnstileInput.FIRE),
            passages_a=self.passages_a,
            passages_b=self.passages_b,
        )


_QUERIES = (Command.ISTAT, Command.OSTAT, Command.LSTAT)
