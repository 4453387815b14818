"""The passages of the demo: who comes, what the camera sees, and what must happen."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gate.passage.decision import DenyReason, Lane
from gate.passage.report import PassageReport


class Card(Enum):
    """The cards of the demo site."""

    OWNER = "owner"
    PIN_ONLY = "pin_only"
    CLONED = "cloned"
    REVOKED = "revoked"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    WITHDRAWN_STALE = "withdrawn_stale"


class View(Enum):
    """What the camera sees."""

    OWNER = "owner"
    OTHER = "other"
    TWO_FACES = "two_faces"
    NOBODY = "nobody"
    LIVE = "live"
    """The visitor's own camera."""


class Pin(Enum):
    """What is typed when the kiosk asks."""

    NONE = "none"
    RIGHT = "right"
    WRONG = "wrong"


@dataclass(frozen=True)
class Expected:
    """What must be true afterwards.

    `reasons` are the denials in order; `lane` is the lane of the grant, or None for no entry.
    """

    lane: Lane | None = None
    reasons: tuple[DenyReason, ...] = ()

    def text(self) -> str:
        """In words."""
        denied = ", ".join(reason.value for reason in self.reasons)
        if self.lane is None:
            return f"refused ({denied})"
        opened = f"opens ({self.lane.value})"
        return f"{denied}, then {opened}" if denied else opened


@dataclass(frozen=True)
class Scenario:
    """One passage. `other_lane`: the kiosk must have offered the PIN after the face failed."""

    ko: str
    en: str
    card: Card
    view: View
    expected: Expected
    pin: Pin = Pin.NONE
    unplugged: bool = False
    other_lane: bool = False


def actual(report: PassageReport) -> Expected:
    """Return what happened, in the terms of what was expected."""
    reasons = tuple(d.reason for d in report.decisions if hasattr(d, "reason"))
    lanes = [d.lane for d in report.decisions if not hasattr(d, "reason")]
    return Expected(lanes[0] if lanes and report.let_in else None, reasons)


def _refused(*reasons: DenyReason) -> Expected:
    return Expected(None, reasons)


R = DenyReason
SCENARIOS: tuple[Scenario, ...] = (
    Scenario("본인", "the owner", Card.OWNER, View.OWNER, Expected(Lane.FACE)),
    Scenario(
        "남의 카드를 든 사람",
        "another person with the owner's card",
        Card.OWNER,
        View.OTHER,
        _refused(R.NO_MATCH),
        other_lane=True,
    ),
    Scenario(
        "카메라 앞에 두 사람",
        "two faces in view: step back, one at a time",
        Card.OWNER,
        View.TWO_FACES,
        _refused(R.MULTIPLE_FACES),
        other_lane=True,
    ),
    Scenario(
        "카메라 앞에 아무도 없음",
        "no face: time runs out, the other lane is offered",
        Card.OWNER,
        View.NOBODY,
        _refused(R.NO_FACE),
        other_lane=True,
    ),
    Scenario(
        "얼굴 없이 카드 + PIN",
        "card without a template + PIN",
        Card.PIN_ONLY,
        View.NOBODY,
        Expected(Lane.PIN),
        Pin.RIGHT,
    ),
    Scenario("틀린 PIN", "wrong PIN", Card.PIN_ONLY, View.NOBODY, _refused(R.WRONG_PIN), Pin.WRONG),
    Scenario(
        "복제된 카드",
        "cloned card: right data, wrong device key",
        Card.CLONED,
        View.OWNER,
        _refused(R.CARD_CLONED),
    ),
    Scenario("폐기된 카드", "revoked card", Card.REVOKED, View.OWNER, _refused(R.CARD_REVOKED)),
    Scenario("만료된 카드", "expired card", Card.EXPIRED, View.OWNER, _refused(R.CARD_EXPIRED)),
    Scenario(
        "게이트 선이 뽑힘",
        "turnstile unplugged: nobody let in silently, recorded",
        Card.OWNER,
        View.OWNER,
        _refused(R.TURNSTILE_OFFLINE),
        unplugged=True,
    ),
    Scenario(
        "동의 철회 후, 갱신 안 된 카드",
        "consent withdrawn, old template kept: it does not decrypt",
        Card.WITHDRAWN_STALE,
        View.OWNER,
        _refused(R.TEMPLATE_REJECTED),
        other_lane=True,
    ),
    Scenario(
        "동의 철회 후 카드 + PIN",
        "consent withdrawn: card + PIN, same gate, same hours",
        Card.WITHDRAWN,
        View.OWNER,
        Expected(Lane.PIN),
        Pin.RIGHT,
    ),
)

CAMERA_SCENARIOS: tuple[Scenario, ...] = (
    Scenario("본인", "you, in front of the camera", Card.OWNER, View.LIVE, Expected(Lane.FACE)),
    *(s for s in SCENARIOS if s.card is not Card.OWNER or s.unplugged),
)
"""With the visitor's own camera only the first passage needs a face."""
