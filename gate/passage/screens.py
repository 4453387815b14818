"""What the kiosk shows in each state. Pure."""

from __future__ import annotations

from firmware_bridge.ports import OpenResult
from gate.console.deps import KioskView, Screen
from gate.passage.session import Memory, State
from models.types import Advice


def view(
    state: State,
    memory: Memory,
    *,
    advice: Advice,
    camera_on: bool,
    deadline_ms: int | None,
    pin_token: str | None,
    card_only: bool,
) -> KioskView:
    """Return the kiosk view of one moment."""
    return KioskView(
        screen=_screen(state, memory, card_only=card_only),
        advice=advice if state is State.LOOK else Advice.NONE,
        camera_on=camera_on,
        deadline_ms=deadline_ms if state in (State.LOOK, State.PIN, State.CROSSING) else None,
        pin_token=pin_token,
    )


def _screen(state: State, memory: Memory, *, card_only: bool) -> Screen:
    match state:
        case State.IDLE:
            return Screen.CARD_ONLY if card_only else Screen.IDLE
        case State.CARD:
            return Screen.READING_CARD
        case State.LOOK:
            return Screen.LOOK
        case State.PIN:
            if memory.pin_again:
                return Screen.PIN_AGAIN
            return Screen.OTHER_LANE if memory.face_failed else Screen.PIN
        case State.GRANTING | State.DENYING | State.OPENING:
            return Screen.CHECKING
        case State.CROSSING:
            return Screen.OPEN if memory.opened is OpenResult.OPENED else Screen.CHECKING
        case State.REFUSED:
            return Screen.REFUSED
        case State.CLOSED | State.STOPPED:
            return Screen.OUT_OF_ORDER
