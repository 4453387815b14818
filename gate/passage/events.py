"""What can happen to a passage, and what a passage can ask for. Values only.

Events come in, effects go out. Neither holds a card element, a frame, a key or a PIN: those stay
with the runner, so the state machine cannot leak what it never sees.
"""

from __future__ import annotations

from dataclasses import dataclass

from firmware_bridge.ports import Crossing, OpenResult
from gate.passage.decision import Decision, DenyReason
from models.types import Advice


class Event:
    """Something that happened outside the state machine."""


@dataclass(frozen=True)
class Healthy(Event):
    """Turnstile online, ledger writable, key agent alive."""


@dataclass(frozen=True)
class Unhealthy(Event):
    """Something that every passage needs is missing."""

    reason: DenyReason


@dataclass(frozen=True)
class Tapped(Event):
    """A card came into the field."""


@dataclass(frozen=True)
class FaceOffered(Event):
    """All card checks passed; this card may use the face lane here and now."""

    pin_possible: bool


@dataclass(frozen=True)
class PinOffered(Event):
    """All card checks passed; this passage runs in the card + PIN lane."""


@dataclass(frozen=True)
class CardRejected(Event):
    """A card check failed, at the tap or right before a grant, or the card opens no lane here."""

    reason: DenyReason


@dataclass(frozen=True)
class CameraOn(Event):
    """The verifier holds the camera now."""


@dataclass(frozen=True)
class Guided(Event):
    """What would make the next frame better."""

    advice: Advice


@dataclass(frozen=True)
class FaceMatched(Event):
    """The verifier compared the live face with the one template: same person, alive."""


@dataclass(frozen=True)
class FaceFailed(Event):
    """The face lane ended without a match."""

    reason: DenyReason


@dataclass(frozen=True)
class KeyAnswered(Event):
    """The key agent gave its answer to a question of this passage."""


@dataclass(frozen=True)
class PinChosen(Event):
    """The person prefers the card + PIN lane."""


@dataclass(frozen=True)
class PinMatched(Event):
    """The PIN is the card's PIN."""


@dataclass(frozen=True)
class PinFailed(Event):
    """The PIN is wrong or cannot be checked."""

    reason: DenyReason
    may_retry: bool


@dataclass(frozen=True)
class Recorded(Event):
    """The decision is durable in the ledger."""


@dataclass(frozen=True)
class RecordFailed(Event):
    """The decision could not be made durable: nobody enters."""


@dataclass(frozen=True)
class Opened(Event):
    """What is known about the relay pulse."""

    result: OpenResult


@dataclass(frozen=True)
class Crossed(Event):
    """What the passage sensors saw."""

    crossing: Crossing


@dataclass(frozen=True)
class Left(Event):
    """The person walked away."""

    owed: bool = False
    """A key was asked for and nothing decided since: the log shall not end with the key."""


@dataclass(frozen=True)
class TimedOut(Event):
    """The deadline of the state has passed."""


@dataclass(frozen=True)
class Stop(Event):
    """The gate shuts down."""


class Effect:
    """Something the runner must do."""


@dataclass(frozen=True)
class ReadCard(Effect):
    """Run the card session and all card checks; answer FaceOffered, PinOffered or CardRejected."""


@dataclass(frozen=True)
class Look(Effect):
    """Release the key to a verifier and let it look; answer CameraOn, Guided, FaceMatched..."""


@dataclass(frozen=True)
class EndLook(Effect):
    """The verifier must be gone; its death certificate goes to the ledger."""


@dataclass(frozen=True)
class AskPin(Effect):
    """Open one PIN prompt; answer PinMatched or PinFailed."""

    again: bool


@dataclass(frozen=True)
class EndPin(Effect):
    """Close the PIN prompt."""


@dataclass(frozen=True)
class Record(Effect):
    """Append the decision durably; answer Recorded or RecordFailed."""

    decision: Decision


@dataclass(frozen=True)
class RecordKeys(Effect):
    """Append what the key agent was asked so far, while nobody waits for it."""


@dataclass(frozen=True)
class Pulse(Effect):
    """Pulse the relay once; answer Opened."""


@dataclass(frozen=True)
class Watch(Effect):
    """Watch the passage sensors; answer Crossed."""


@dataclass(frozen=True)
class RecordMove(Effect):
    """Append what the relay and the person did. Best effort: the person is already through."""

    result: OpenResult
    crossing: Crossing


@dataclass(frozen=True)
class Guide(Effect):
    """Tell the kiosk what would make the next frame better."""

    advice: Advice


@dataclass(frozen=True)
class Forget(Effect):
    """Drop everything that belongs to this card."""
