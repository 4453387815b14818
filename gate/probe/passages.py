"""The canary passages: who comes, what goes wrong, and what must happen. At least twenty."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from gate.demo.scenarios import Card, Expected, Pin, View
from gate.passage.decision import DenyReason, Lane

R = DenyReason


class Mishap(Enum):
    """What happens to the verifier while it looks."""

    NONE = "none"
    KILLED = "killed"
    FROZEN = "frozen"
    """Stopped, so that the time of the look runs out."""


@dataclass(frozen=True)
class CanaryPassage:
    """One passage. `expected` is None when designs differ in what happens."""

    name: str
    card: Card | None
    """None: the tampered card."""
    view: View
    expected: Expected | None
    pin: Pin = Pin.NONE
    mishap: Mishap = Mishap.NONE


def _no(*reasons: DenyReason) -> Expected:
    return Expected(None, reasons)


OWNER: Final = CanaryPassage("owner", Card.OWNER, View.OWNER, Expected(Lane.FACE))
CAMERA_LOST: Final = CanaryPassage(
    "camera lost while looking", Card.OWNER, View.OWNER, _no(R.CAMERA_FAULT)
)
"""Needs a camera that goes away after its first frame, so it has a gate of its own."""
CYCLE: Final = (
    OWNER,
    CanaryPassage("another person", Card.OWNER, View.OTHER, _no(R.NO_MATCH)),
    OWNER,
    CanaryPassage("two faces", Card.OWNER, View.TWO_FACES, _no(R.MULTIPLE_FACES)),
    CanaryPassage("nobody", Card.OWNER, View.NOBODY, _no(R.NO_FACE)),
    CanaryPassage("PIN", Card.PIN_ONLY, View.NOBODY, Expected(Lane.PIN), Pin.RIGHT),
    CanaryPassage("wrong PIN", Card.PIN_ONLY, View.NOBODY, _no(R.WRONG_PIN), Pin.WRONG),
    OWNER,
    CanaryPassage("cloned card", Card.CLONED, View.OWNER, _no(R.CARD_CLONED)),
    CanaryPassage("tampered card", None, View.OWNER, None),
    CanaryPassage("revoked card", Card.REVOKED, View.OWNER, _no(R.CARD_REVOKED)),
    CanaryPassage(
        "verifier killed while looking", Card.OWNER, View.TWO_FACES, None, mishap=Mishap.KILLED
    ),
    OWNER,
    CanaryPassage(
        "verifier frozen, time runs out", Card.OWNER, View.OTHER, None, mishap=Mishap.FROZEN
    ),
    OWNER,
    CanaryPassage(
        "template of a withdrawn consent",
        Card.WITHDRAWN_STALE,
        View.OWNER,
        _no(R.TEMPLATE_REJECTED),
    ),
    CanaryPassage("expired card", Card.EXPIRED, View.OWNER, _no(R.CARD_EXPIRED)),
    CanaryPassage(
        "another person, then PIN",
        Card.OWNER,
        View.OTHER,
        Expected(Lane.PIN, (R.NO_MATCH,)),
        Pin.RIGHT,
    ),
    OWNER,
)
LEAST: Final = len(CYCLE) + 1


def passages(count: int) -> tuple[CanaryPassage, ...]:
    """Return `count` passages, the camera that goes away first; all kinds from `LEAST` on."""
    return (CAMERA_LOST, *(CYCLE[at % len(CYCLE)] for at in range(count - 1)))
