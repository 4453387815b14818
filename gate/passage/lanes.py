"""Which lane a checked card may use here and now. Pure."""

from __future__ import annotations

from firmware_bridge.ports import Link, TurnstileStatus
from gate.card.verified import CardRefusal, Consent, Refused, VerifiedCard
from gate.passage.decision import DenyReason, Lane
from gate.passage.events import (
    CardRejected,
    FaceFailed,
    FaceMatched,
    FaceOffered,
    PinMatched,
    PinOffered,
)
from gate.policy import FaceMode, Policy

REASON_OF: dict[CardRefusal, DenyReason] = {
    CardRefusal.UNREADABLE: DenyReason.CARD_UNREADABLE,
    CardRefusal.UNTRUSTED_ISSUER: DenyReason.CARD_UNTRUSTED,
    CardRefusal.ISSUER_PROFILE: DenyReason.CARD_UNTRUSTED,
    CardRefusal.MSO_SIGNATURE: DenyReason.CARD_TAMPERED,
    CardRefusal.EXPIRED: DenyReason.CARD_EXPIRED,
    CardRefusal.NOT_YET_VALID: DenyReason.CARD_NOT_YET_VALID,
    CardRefusal.DOC_TYPE: DenyReason.CARD_TAMPERED,
    CardRefusal.NAMESPACE: DenyReason.CARD_TAMPERED,
    CardRefusal.DIGEST: DenyReason.CARD_TAMPERED,
    CardRefusal.DEVICE_AUTH: DenyReason.CARD_CLONED,
    CardRefusal.REVOKED: DenyReason.CARD_REVOKED,
    CardRefusal.STATUS_STALE: DenyReason.STATUS_UNKNOWN,
}

Offer = FaceOffered | PinOffered | CardRejected


def may_look(card: VerifiedCard | Refused, policy: Policy, face: FaceMode) -> bool:
    """Tell whether the face lane is allowed for this card, before asking for a verifier.

    The policy and the deployment record must allow it, consent must be live, and the card must
    carry a template.
    """
    return (
        not isinstance(card, Refused)
        and policy.allows(card.access_groups)
        and face.on
        and card.consent is Consent.LIVE
        and None not in (card.sealed_template, card.template_aux, card.consent_record)
    )


def offer(
    card: VerifiedCard | Refused, policy: Policy, *, look: bool, pin_locked: bool = False
) -> Offer:
    """Return the lane of this passage; nothing tells whether its holder declined.

    Args:
        card: what the card checks found.
        policy: of this gate.
        look: `may_look` holds and a verifier waits.
        pin_locked: too many wrong PINs with this card: no use asking for one now.
    """
    if isinstance(card, Refused):
        return CardRejected(REASON_OF[card.step])
    if not policy.allows(card.access_groups):
        return CardRejected(DenyReason.NOT_ALLOWED_HERE)
    has_pin = Lane.PIN in policy.lanes and card.pin_verifier is not None
    pin_possible = has_pin and not pin_locked
    if look:
        return FaceOffered(pin_possible)
    if pin_possible:
        return PinOffered()
    if has_pin:
        return CardRejected(DenyReason.PIN_LOCKED)
    if card.sealed_template is not None and card.consent is Consent.WITHDRAWN:
        return CardRejected(DenyReason.CONSENT_WITHDRAWN)
    return CardRejected(DenyReason.NO_PIN_ON_CARD)


def second_look(
    match: FaceMatched | PinMatched,
    stands: Consent | CardRefusal,
    face: FaceMode,
    turnstile: TurnstileStatus,
) -> FaceMatched | PinMatched | FaceFailed | CardRejected:
    """Return the match, or what it has become since the tap: asked right before each grant.

    Minutes may lie between. A card that was revoked or ended, and a line that was lost or
    tampered with, end the passage; a consent withdrawn or a face lane that ended leave the PIN.
    """
    if isinstance(stands, CardRefusal):
        return CardRejected(REASON_OF[stands])
    if turnstile.link is not Link.ONLINE or turnstile.tamper:
        return CardRejected(DenyReason.TURNSTILE_OFFLINE)
    if isinstance(match, FaceMatched):
        if stands is Consent.WITHDRAWN:
            return FaceFailed(DenyReason.CONSENT_WITHDRAWN)
        if not face.on:
            return FaceFailed(DenyReason.NOT_ALLOWED_HERE)
    return match
