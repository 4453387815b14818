"""The turnstile itself: relay, barrier, sensors, people. Time is passed in; nothing waits."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from firmware_bridge.osdp_codes import OutputControl, Reply
from firmware_bridge.turnstile_inputs import TurnstileInput

CROSS_S = 0.15
"""From the first step to the sensor."""
SENSE_S = 0.2
"""How long the passage input stays closed for one person."""
FOLLOW_S = 0.45
"""From one person's sensor to the next one's who walks close behind."""


@dataclass(frozen=True, slots=True)
class RelayEdge:
    """One movement of the entry relay."""

    at: float
    active: bool


class Walk(Enum):
    """What became of a person who walked up."""

    PASSED_IN = "passed in"
    PASSED_OUT = "passed out"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class PersonSeen:
    """One person at the barrier."""

    at: float
    walk: Walk


class Mechanics:
    """A turnstile with one entry relay, a barrier, and the inputs of `TurnstileInput`.

    A rising relay opens the barrier. It closes behind the person, or by itself. The relay has a
    hard maximum and a rest time of its own, whatever the line says.

    Args:
        hard_max_ms: the relay never stays active longer.
        rest_ms: after it fell, the relay does not rise again for so long.
        barrier_ms: how long the barrier waits for a person.
        auto_walk_after_ms: a person walks in so long after each opening; None: nobody.
        auto_walk_persons: how many walk close behind each other then.
    """

    def __init__(
        self,
        *,
        hard_max_ms: int = 5000,
        rest_ms: int = 200,
        barrier_ms: int = 5000,
        auto_walk_after_ms: int | None = None,
        auto_walk_persons: int = 1,
    ) -> None:
        self.auto_walk_after_ms = auto_walk_after_ms
        self.auto_walk_persons = auto_walk_persons
        self.edges: list[RelayEdge] = []
        self.persons: list[PersonSeen] = []
        self.now = 0.0
        self._hard_max_s = hard_max_ms / 1000
        self._rest_s = rest_ms / 1000
        self._barrier_s = barrier_ms / 1000
        self._relay = False
        self._relay_until = 0.0
        self._rest_until = 0.0
        self._barrier_until = 0.0
        self._power_fault = False
        self._tamper = False
        self._fire = False
        self._jammed = False
        self._sensed = {TurnstileInput.PASSAGE_A: False, TurnstileInput.PASSAGE_B: False}
        self._schedule: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._changes: deque[tuple[int, bytes]] = deque(maxlen=64)

    # --- time --------------------------------------------------------------------------------

    @property
    def next_at(self) -> float | None:
        """When `advance` has something to do next."""
        return self._schedule[0][0] if self._schedule else None

    def advance(self, now: float) -> None:
        """Let everything happen that was due until `now`."""
        while self._schedule and self._schedule[0][0] <= now:
            at, _, action = heapq.heappop(self._schedule)
            self.now = max(self.now, at)
            action()
        self.now = max(self.now, now)

    def _at(self, when: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._schedule, (when, self._order, action))

    # --- what the controller sees (Wiring) ---------------------------------------------------

    @property
    def contacts(self) -> tuple[int, int]:
        """Number of inputs, number of outputs."""
        return len(TurnstileInput), 1

    def report_inputs(self) -> bytes:
        """Return the oldest state of the inputs not told yet, else the present one."""
        for change in self._changes:
            if change[0] == Reply.ISTATR:
                self._changes.remove(change)
                return change[1]
        return self._inputs()

    def report_outputs(self) -> bytes:
        """Return the present state of the entry relay; earlier changes are told with it."""
        kept = [change for change in self._changes if change[0] != Reply.OSTATR]
        self._changes = deque(kept, maxlen=self._changes.maxlen)
        return bytes([self._relay])

    def report_local(self) -> bytes:
        """Tamper, power."""
        return bytes([self._tamper, self._power_fault])

    def next_change(self) -> tuple[int, bytes] | None:
        """Return the oldest change not told yet."""
        return self._changes.popleft() if self._changes else None

    def forget_changes(self) -> None:
        """Forget what was not told."""
        self._changes.clear()

    def drive(self, output: int, control: int, timer_count: int) -> bool:
        """Obey timed-on for the entry relay; nothing else moves it."""
        resting = self._relay or self.now < self._rest_until
        if output != 0 or control != OutputControl.TIMED_ON or timer_count < 1:
            return False
        if self._fire or self._jammed or resting:
            return False
        until = self.now + min(timer_count / 10, self._hard_max_s)
        self._relay_until = until
        self._move_relay(active=True)
        self._at(until, self._relay_falls)
        self._barrier_until = self.now + self._barrier_s
        if self.auto_walk_after_ms is not None:
            persons = self.auto_walk_persons
            self._at(self.now + self.auto_walk_after_ms / 1000, lambda: self.walk(persons))
        return True

    # --- what happens to it ------------------------------------------------------------------

    @property
    def relay_active(self) -> bool:
        """State of the entry relay."""
        return self._relay

    def walk(self, persons: int = 1) -> None:
        """Let people walk in, close behind each other. A shut barrier blocks them."""
        if not self._fire and self.now >= self._barrier_until:
            self.persons.append(PersonSeen(self.now, Walk.BLOCKED))
            return
        first = self.now + CROSS_S
        for number in range(persons):
            at = first + number * FOLLOW_S
            self._at(at, lambda: self._cross(TurnstileInput.PASSAGE_A, Walk.PASSED_IN))
        # The barrier shuts behind the last of them.
        self._barrier_until = 0.0

    def walk_out(self) -> None:
        """Let a person leave. The way out is always free."""
        self._at(self.now + CROSS_S, lambda: self._cross(TurnstileInput.PASSAGE_B, Walk.PASSED_OUT))

    def set_fire(self, fire: bool) -> None:
        """Fire alarm: the turnstile frees the way by itself and refuses commands."""
        self._fire = fire
        if fire:
            self._relay_falls(forced=True)
        self._inputs_changed()

    def set_tamper(self, tamper: bool) -> None:
        """Open or shut the housing."""
        self._tamper = tamper
        self._inputs_changed()
        self._changes.append((Reply.LSTATR, self.report_local()))

    def set_jammed(self, jammed: bool) -> None:
        """Make the turnstile not ready."""
        self._jammed = jammed
        self._inputs_changed()

    def set_power_fault(self, power_fault: bool) -> None:
        """Make the supply fail over to the battery."""
        self._power_fault = power_fault
        self._changes.append((Reply.LSTATR, self.report_local()))

    # --- inside ------------------------------------------------------------------------------

    def _inputs(self) -> bytes:
        closed = {
            TurnstileInput.PASSAGE_A: self._sensed[TurnstileInput.PASSAGE_A],
            TurnstileInput.PASSAGE_B: self._sensed[TurnstileInput.PASSAGE_B],
            TurnstileInput.READY: not (self._jammed or self._fire),
            TurnstileInput.TAMPER: not self._tamper,
            TurnstileInput.FIRE: not self._fire,
        }
        return bytes(closed[number] for number in TurnstileInput)

    def _cross(self, sensor: TurnstileInput, walk: Walk) -> None:
        self.persons.append(PersonSeen(self.now, walk))
        self._sensed[sensor] = True
        self._inputs_changed()
        self._at(self.now + SENSE_S, lambda: self._leave(sensor))

    def _leave(self, sensor: TurnstileInput) -> None:
        self._sensed[sensor] = False
        self._inputs_changed()

    def _relay_falls(self, *, forced: bool = False) -> None:
        if self._relay and (forced or self.now >= self._relay_until):
            self._move_relay(active=False)
            self._rest_until = self.now + self._rest_s

    def _move_relay(self, *, active: bool) -> None:
        self._relay = active
        self.edges.append(RelayEdge(self.now, active))
        self._changes.append((Reply.OSTATR, bytes([active])))

    def _inputs_changed(self) -> None:
        self._changes.append((Reply.ISTATR, self._inputs()))
