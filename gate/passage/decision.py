"""Grant or Deny: the only two outcomes, and the closed list of reasons. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Lane(Enum):
    """How the card holder shows to be the card's owner. Both lanes are equal."""

    FACE = "face"
    PIN = "pin"
    NONE = "none"
    """Decided before a lane began (card refused, gate not ready)."""


class DenyReason(Enum):
    """Why nobody was let in. For the log and the admin; bystanders never see it."""

    # card
    CARD_UNREADABLE = "card_unreadable"
    CARD_UNTRUSTED = "card_untrusted"
    CARD_EXPIRED = "card_expired"
    CARD_NOT_YET_VALID = "card_not_yet_valid"
    CARD_TAMPERED = "card_tampered"
    CARD_CLONED = "card_cloned"
    CARD_REVOKED = "card_revoked"
    STATUS_UNKNOWN = "status_unknown"
    NOT_ALLOWED_HERE = "not_allowed_here"
    # face lane
    NO_MATCH = "no_match"
    NO_FACE = "no_face"
    MULTIPLE_FACES = "multiple_faces"
    PRESENTATION_ATTACK = "presentation_attack"
    LOW_QUALITY = "low_quality"
    CONSENT_WITHDRAWN = "consent_withdrawn"
    TEMPLATE_REJECTED = "template_rejected"
    # card + PIN lane
    WRONG_PIN = "wrong_pin"
    PIN_LOCKED = "pin_locked"
    PIN_TIMEOUT = "pin_timeout"
    NO_PIN_ON_CARD = "no_pin_on_card"
    # the gate itself
    TIMED_OUT = "timed_out"
    KEY_UNAVAILABLE = "key_unavailable"
    VERIFIER_FAULT = "verifier_fault"
    CAMERA_FAULT = "camera_fault"
    TURNSTILE_OFFLINE = "turnstile_offline"
    LEDGER_UNAVAILABLE = "ledger_unavailable"
    SHUTTING_DOWN = "shutting_down"
    INTERNAL_FAULT = "internal_fault"


@dataclass(frozen=True)
class Grant:
    """The card holder is the card's owner and may pass here now."""

    lane: Lane


@dataclass(frozen=True)
class Deny:
    """No relay pulse."""

    reason: DenyReason
    lane: Lane = Lane.NONE


Decision = Grant | Deny
