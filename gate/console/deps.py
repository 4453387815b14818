"""What the pages ask of the gate. The runner's view adapter meets this; tests use a plain one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from firmware_bridge.ports import TurnstileStatus
from models.types import Advice


class Screen(Enum):
    """What the kiosk shows. One per moment a person can meet."""

    OUT_OF_ORDER = "out_of_order"
    CARD_ONLY = "card_only"
    IDLE = "idle"
    READING_CARD = "reading_card"
    LOOK = "look"
    PIN = "pin"
    PIN_AGAIN = "pin_again"
    CHECKING = "checking"
    OPEN = "open"
    REFUSED = "refused"
    OTHER_LANE = "other_lane"


@dataclass(frozen=True)
class KioskView:
    """All that the kiosk may know. No name, score, photo or reason.

    `camera_on` is true only while a verifier holds the camera. `deadline_ms` is how long this
    screen lasts at most, or None. `pin_token` names the one PIN prompt now open, else None.
    """

    screen: Screen
    advice: Advice = Advice.NONE
    camera_on: bool = False
    deadline_ms: int | None = None
    pin_token: str | None = None


@dataclass(frozen=True)
class Health:
    """One line of the admin's health table. `advice` says what to do when not ok."""

    part: str
    ok: bool
    what: str
    advice: str = ""


class GateView(Protocol):
    """Live state of one gate. Thread safe."""

    @property
    def gate_id(self) -> str:
        """As the policy names this gate."""
        ...

    @property
    def purpose(self) -> tuple[str, str]:
        """Who asks and what for, Korean then English, from the policy."""
        ...

    def kiosk(self) -> KioskView:
        """Return the view now."""
        ...

    def kiosk_changes(self) -> AsyncIterator[KioskView]:
        """Yield the view now and at each change."""
        ...

    def enter_pin(self, token: str, pin: str) -> bool:
        """Hand one PIN to the passage that asked. False: no such prompt is open."""
        ...

    def choose_pin_lane(self) -> bool:
        """The person prefers the PIN lane (equal prominence). False: not possible right now."""
        ...

    def leave(self) -> None:
        """The person walks away: end this passage."""
        ...

    def turnstile(self) -> TurnstileStatus:
        """Return the newest supervised reading, without waiting."""
        ...

    def health(self) -> list[Health]:
        """Return the lines of the health table."""
        ...


@dataclass(frozen=True)
class ConsoleDeps:
    """What create_app needs. `gate` is None for a console that runs apart from any gate."""

    ledger_path: Path
    ledger_vkey: str
    """C2SP verifier key of the gate's checkpoints."""
    gate: GateView | None
    demo: bool
