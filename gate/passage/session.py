"""The state machine of one lane: pure, no I/O, no clock, no thread.

Everything that affects a passage is in ROWS; the diagram in docs/passage.md is generated from it.
An event that has no row in the present state changes nothing (a late answer of an earlier step).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType

from firmware_bridge.ports import Crossing, OpenResult
from gate.passage import events as ev
from gate.passage.decision import Deny, DenyReason, Grant, Lane


class State(Enum):
    """Where a lane is."""

    CLOSED = "closed"
    IDLE = "idle"
    CARD = "card"
    LOOK = "look"
    PIN = "pin"
    GRANTING = "granting"
    DENYING = "denying"
    OPENING = "opening"
    CROSSING = "crossing"
    REFUSED = "refused"
    STOPPED = "stopped"


DEADLINE_MS: Mapping[State, int | None] = MappingProxyType(
    {
        State.CLOSED: None,
        State.IDLE: None,
        State.CARD: 20_000,  # a phone may wait for its holder's consent
        State.LOOK: 8_000,
        State.PIN: 30_000,
        State.GRANTING: 3_000,
        State.DENYING: 3_000,
        State.OPENING: 2_000,
        State.CROSSING: 10_000,
        State.REFUSED: 2_500,
        State.STOPPED: None,
    }
)
"""How long each state may last. IDLE and CLOSED wait for an outside event, STOPPED is final."""


@dataclass(frozen=True)
class Memory:
    """What a passage remembers between two states."""

    pin_next: bool = False
    """After the denial is recorded, the card + PIN lane is offered in the same card session."""
    pin_possible: bool = False
    pin_again: bool = False
    """The denial was a wrong PIN, not a face."""
    face_failed: bool = False
    opened: OpenResult = OpenResult.NOT_DELIVERED
    closed_for: DenyReason = DenyReason.INTERNAL_FAULT
    stopping: bool = False


Guard = Callable[[Memory, ev.Event], bool]
Outcome = tuple[Memory, tuple[ev.Effect, ...]]
Action = Callable[[Memory, ev.Event], Outcome]


@dataclass(frozen=True)
class Row:
    """One line: in `state`, on `event` (when `guard` holds), do `action` and go `to`."""

    state: State
    event: type[ev.Event]
    to: State
    action: Action
    guard: Guard | None = None


def _do(*effects: ev.Effect) -> Action:
    return lambda memory, _event: (memory, effects)


def _fresh(*effects: ev.Effect) -> Action:
    return lambda memory, _event: (Memory(stopping=memory.stopping), effects)


def _deny(lane: Lane, *first: ev.Effect, reason: DenyReason | None = None) -> Action:
    """Record a denial; the PIN lane follows when the card has one and the face lane failed."""

    def action(memory: Memory, event: ev.Event) -> Outcome:
        why: DenyReason = reason or event.reason  # type: ignore[attr-defined]  # rows pair types
        if lane is Lane.FACE:
            # A card that no longer stands has no other lane.
            pin_next = memory.pin_possible and not isinstance(event, ev.CardRejected)
        else:
            pin_next = isinstance(event, ev.PinFailed) and event.may_retry
        kept = Memory(
            pin_next,
            memory.pin_possible,
            pin_again=lane is Lane.PIN,
            face_failed=lane is Lane.FACE,
            stopping=memory.stopping,
        )
        return kept, (*first, ev.Record(Deny(why, lane)))

    return action


def _stop(*first: ev.Effect, lane: Lane) -> Action:
    def action(_memory: Memory, _event: ev.Event) -> Outcome:
        return Memory(stopping=True), (*first, ev.Record(Deny(DenyReason.SHUTTING_DOWN, lane)))

    return action


def _remember_stop(memory: Memory, _event: ev.Event) -> Outcome:
    return replace(memory, pin_next=False, stopping=True), ()


def _closed(memory: Memory, event: ev.Event) -> Outcome:
    assert isinstance(event, ev.Unhealthy)
    return Memory(closed_for=event.reason, stopping=memory.stopping), ()


def _deny_closed(memory: Memory, _event: ev.Event) -> Outcome:
    return memory, (ev.Record(Deny(memory.closed_for)),)


def _face_offered(memory: Memory, event: ev.Event) -> Outcome:
    assert isinstance(event, ev.FaceOffered)
    return Memory(pin_possible=event.pin_possible, stopping=memory.stopping), (ev.Look(),)


def _guide(memory: Memory, event: ev.Event) -> Outcome:
    assert isinstance(event, ev.Guided)
    return memory, (ev.Guide(event.advice),)


def _opened(memory: Memory, event: ev.Event) -> Outcome:
    assert isinstance(event, ev.Opened)
    kept = Memory(opened=event.result, stopping=memory.stopping)
    if event.result in (OpenResult.OPENED, OpenResult.UNKNOWN):
        return kept, (ev.Watch(),)
    return kept, (ev.RecordMove(event.result, Crossing.UNOBSERVED),)


def _recorded_too_late(memory: Memory, _event: ev.Event) -> Outcome:
    kept = Memory(stopping=memory.stopping)
    return kept, (ev.RecordMove(OpenResult.NOT_DELIVERED, Crossing.UNOBSERVED), ev.Forget())


def _open_timed_out(memory: Memory, _event: ev.Event) -> Outcome:
    kept = Memory(opened=OpenResult.UNKNOWN, stopping=memory.stopping)
    return kept, (ev.RecordMove(OpenResult.UNKNOWN, Crossing.UNOBSERVED),)


def _crossed(memory: Memory, event: ev.Event) -> Outcome:
    seen = event.crossing if isinstance(event, ev.Crossed) else Crossing.UNOBSERVED
    return memory, (ev.RecordMove(memory.opened, seen), ev.Forget())


def _ask_pin(memory: Memory, _event: ev.Event) -> Outcome:
    kept = replace(memory, pin_next=False)
    return kept, (ev.AskPin(again=memory.pin_again),)


def _moved(_memory: Memory, event: ev.Event) -> bool:
    assert isinstance(event, ev.Opened)
    return event.result in (OpenResult.OPENED, OpenResult.UNKNOWN)


def _pin_possible(memory: Memory, _event: ev.Event) -> bool:
    return memory.pin_possible


def _owed(_memory: Memory, event: ev.Event) -> bool:
    assert isinstance(event, ev.Left)
    return event.owed


def _left(lane: Lane, reason: DenyReason, *first: ev.Effect) -> Action:
    return lambda memory, _event: (
        Memory(stopping=memory.stopping),
        (*first, ev.Record(Deny(reason, lane))),
    )


def _pin_next(memory: Memory, _event: ev.Event) -> bool:
    return memory.pin_next and not memory.stopping


def _stopping(memory: Memory, _event: ev.Event) -> bool:
    return memory.stopping


_END_LOOK, _END_PIN, _FORGET = ev.EndLook(), ev.EndPin(), ev.Forget()
_S, _TIMED_OUT = State, DenyReason.TIMED_OUT
_LEFT_LOOK = _left(Lane.FACE, _TIMED_OUT, _END_LOOK)
_LEFT_PIN = _left(Lane.PIN, DenyReason.PIN_TIMEOUT, _END_PIN)

ROWS: tuple[Row, ...] = (
    # 1. idle, or closed with the reason on the screen
    Row(_S.CLOSED, ev.Healthy, _S.IDLE, _fresh()),
    Row(_S.CLOSED, ev.Unhealthy, _S.CLOSED, _closed),
    Row(_S.CLOSED, ev.Tapped, _S.DENYING, _deny_closed),
    Row(_S.CLOSED, ev.Stop, _S.STOPPED, _do(_FORGET)),
    Row(_S.IDLE, ev.Unhealthy, _S.CLOSED, _closed),
    Row(_S.IDLE, ev.Tapped, _S.CARD, _fresh(ev.ReadCard())),
    Row(_S.IDLE, ev.Stop, _S.STOPPED, _do(_FORGET)),
    # 2. and 3. card session and checks
    Row(_S.CARD, ev.FaceOffered, _S.LOOK, _face_offered),
    Row(_S.CARD, ev.PinOffered, _S.PIN, _do(ev.AskPin(again=False))),
    Row(_S.CARD, ev.CardRejected, _S.DENYING, _deny(Lane.NONE)),
    Row(_S.CARD, ev.TimedOut, _S.DENYING, _deny(Lane.NONE, reason=_TIMED_OUT)),
    Row(_S.CARD, ev.Left, _S.DENYING, _deny(Lane.NONE, reason=DenyReason.CARD_UNREADABLE)),
    Row(_S.CARD, ev.Stop, _S.DENYING, _stop(lane=Lane.NONE)),
    # 5. look
    Row(_S.LOOK, ev.CameraOn, _S.LOOK, _do()),
    Row(_S.LOOK, ev.Guided, _S.LOOK, _guide),
    Row(_S.LOOK, ev.KeyAnswered, _S.LOOK, _do(ev.RecordKeys())),
    Row(_S.LOOK, ev.FaceMatched, _S.GRANTING, _do(_END_LOOK, ev.Record(Grant(Lane.FACE)))),
    Row(_S.LOOK, ev.FaceFailed, _S.DENYING, _deny(Lane.FACE, _END_LOOK)),
    Row(_S.LOOK, ev.CardRejected, _S.DENYING, _deny(Lane.FACE, _END_LOOK)),
    Row(_S.LOOK, ev.TimedOut, _S.DENYING, _deny(Lane.FACE, _END_LOOK, reason=_TIMED_OUT)),
    Row(_S.LOOK, ev.PinChosen, _S.PIN, _do(_END_LOOK, ev.AskPin(again=False)), _pin_possible),
    Row(_S.LOOK, ev.Left, _S.DENYING, _LEFT_LOOK, _owed),
    Row(_S.LOOK, ev.Left, _S.REFUSED, _fresh(_END_LOOK, _FORGET)),
    Row(_S.LOOK, ev.Stop, _S.DENYING, _stop(_END_LOOK, lane=Lane.FACE)),
    # 4. the other lane
    Row(_S.PIN, ev.KeyAnswered, _S.PIN, _do(ev.RecordKeys())),
    Row(_S.PIN, ev.PinMatched, _S.GRANTING, _do(_END_PIN, ev.Record(Grant(Lane.PIN)))),
    Row(_S.PIN, ev.PinFailed, _S.DENYING, _deny(Lane.PIN, _END_PIN)),
    Row(_S.PIN, ev.CardRejected, _S.DENYING, _deny(Lane.PIN, _END_PIN)),
    Row(_S.PIN, ev.TimedOut, _S.DENYING, _deny(Lane.PIN, _END_PIN, reason=DenyReason.PIN_TIMEOUT)),
    Row(_S.PIN, ev.Left, _S.DENYING, _LEFT_PIN, _owed),
    Row(_S.PIN, ev.Left, _S.REFUSED, _fresh(_END_PIN, _FORGET)),
    Row(_S.PIN, ev.Stop, _S.DENYING, _stop(_END_PIN, lane=Lane.PIN)),
    # 6. and 7. record, then act
    Row(_S.GRANTING, ev.Recorded, _S.OPENING, _do(ev.Pulse())),
    Row(_S.GRANTING, ev.RecordFailed, _S.REFUSED, _fresh(_FORGET)),
    Row(_S.GRANTING, ev.TimedOut, _S.REFUSED, _recorded_too_late),
    Row(_S.GRANTING, ev.Stop, _S.GRANTING, _remember_stop),
    Row(_S.DENYING, ev.Recorded, _S.PIN, _ask_pin, _pin_next),
    Row(_S.DENYING, ev.Recorded, _S.STOPPED, _do(_FORGET), _stopping),
    Row(_S.DENYING, ev.Recorded, _S.REFUSED, _do(_FORGET)),
    Row(_S.DENYING, ev.RecordFailed, _S.STOPPED, _do(_FORGET), _stopping),
    Row(_S.DENYING, ev.RecordFailed, _S.REFUSED, _fresh(_FORGET)),
    Row(_S.DENYING, ev.TimedOut, _S.STOPPED, _do(_FORGET), _stopping),
    Row(_S.DENYING, ev.TimedOut, _S.REFUSED, _fresh(_FORGET)),
    Row(_S.DENYING, ev.Stop, _S.DENYING, _remember_stop),
    # 8. passage
    Row(_S.OPENING, ev.Opened, _S.CROSSING, _opened, _moved),
    Row(_S.OPENING, ev.Opened, _S.REFUSED, _opened),
    Row(_S.OPENING, ev.TimedOut, _S.REFUSED, _open_timed_out),
    Row(_S.OPENING, ev.Stop, _S.OPENING, _remember_stop),
    Row(_S.CROSSING, ev.Crossed, _S.STOPPED, _crossed, _stopping),
    Row(_S.CROSSING, ev.Crossed, _S.CLOSED, _crossed),
    Row(_S.CROSSING, ev.TimedOut, _S.STOPPED, _crossed, _stopping),
    Row(_S.CROSSING, ev.TimedOut, _S.CLOSED, _crossed),
    Row(_S.CROSSING, ev.Stop, _S.CROSSING, _remember_stop),
    # what a person reads before the lane is free again; health is asked anew each time
    Row(_S.REFUSED, ev.TimedOut, _S.STOPPED, _do(_FORGET), _stopping),
    Row(_S.REFUSED, ev.TimedOut, _S.CLOSED, _fresh(_FORGET)),
    Row(_S.REFUSED, ev.Stop, _S.STOPPED, _do(_FORGET)),
)


class Session:
    """One lane. Feed events, carry out effects, keep to `deadline_ms`."""

    def __init__(self, deadline_ms: Mapping[State, int | None] = DEADLINE_MS) -> None:
        self.state = State.CLOSED
        self.memory = Memory()
        self._deadline_ms = deadline_ms

    @property
    def deadline_ms(self) -> int | None:
        """How long the present state may last, counted from the last change of state."""
        return self._deadline_ms[self.state]

    def handle(self, event: ev.Event) -> tuple[ev.Effect, ...]:
        """Take one event; return what must be done, in order. Unexpected events do nothing."""
        for row in ROWS:
            if row.state is self.state and isinstance(event, row.event):
                if row.guard is not None and not row.guard(self.memory, event):
                    continue
                self.memory, effects = row.action(self.memory, event)
                self.state = row.to
                return effects
        return ()
