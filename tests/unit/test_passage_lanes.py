"""Which lane a checked card gets here and now."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product

import pytest

from firmware_bridge.ports import Link, TurnstileStatus
from gate.card.verified import CardRefusal, Consent, Refused, VerifiedCard
from gate.passage.decision import DenyReason
from gate.passage.events import (
    CardRejected,
    FaceFailed,
    FaceMatched,
    FaceOffered,
    PinMatched,
    PinOffered,
)
from gate.passage.lanes import REASON_OF, may_look, offer, second_look
from gate.policy import FaceMode, FaceReason, Policy, PolicyDocument

EXPIRY = datetime(2031, 1, 1, tzinfo=UTC)
POLICY = Policy(
    PolicyDocument.model_validate_json(
        """{"type": "consentgate.policy", "version": 1, "demo": false,
        "issued": "2026-02-01T00:00:00Z", "gate_zone": "lobby",
        "purpose": {"ko": "출입", "en": "Entry"},
        "controller": {"ko": "관리소", "en": "Administration"},
        "lanes": ["pin", "face"], "access_groups": ["staff"],
        "face_expires": "2027-01-01T00:00:00Z", "pin_max_tries": 3}"""
    ),
    "ab" * 32,
)
ON = FaceMode(FaceReason.ON, EXPIRY)
CARD = VerifiedCard(
    credential_id=bytes(16),
    access_groups=("visitors", "staff"),
    expiry=EXPIRY,
    valid_until=EXPIRY,
    status_uri="https://status.example/1",
    status_index=7,
    consent=Consent.LIVE,
    sealed_template=b"template",
    template_aux=bytes(32),
    consent_record=b"consent",
    pin_verifier=b"pin",
    session_id=bytes(16),
)


def test_every_refusal_of_a_card_has_a_reason() -> None:
    assert set(REASON_OF) == set(CardRefusal)


@pytest.mark.parametrize("refusal", CardRefusal)
def test_a_refused_card_gets_no_lane_and_no_look(refusal: CardRefusal) -> None:
    card = Refused(refusal)
    assert not may_look(card, POLICY, ON)
    for look in (True, False):
        assert offer(card, POLICY, look=look) == CardRejected(REASON_OF[refusal])


def test_the_face_lane_needs_everything_at_once() -> None:
    assert may_look(CARD, POLICY, ON)
    lacking = (
        replace(CARD, access_groups=("visitors",)),
        replace(CARD, consent=Consent.WITHDRAWN),
        replace(CARD, sealed_template=None),
        replace(CARD, template_aux=None),
        replace(CARD, consent_record=None),
    )
    for card in lacking:
        assert not may_look(card, POLICY, ON), card.access_groups
    for reason in set(FaceReason) - {FaceReason.ON}:
        assert not may_look(CARD, POLICY, FaceMode(reason))


def test_a_card_of_another_group_is_refused_whatever_it_carries() -> None:
    stranger = replace(CARD, access_groups=("visitors",))
    for look in (True, False):
        assert offer(stranger, POLICY, look=look) == CardRejected(DenyReason.NOT_ALLOWED_HERE)
    assert offer(replace(CARD, access_groups=()), POLICY, look=False) == CardRejected(
        DenyReason.NOT_ALLOWED_HERE
    )


def test_face_when_it_may_pin_otherwise() -> None:
    assert offer(CARD, POLICY, look=True) == FaceOffered(pin_possible=True)
    assert offer(replace(CARD, pin_verifier=None), POLICY, look=True) == FaceOffered(False)
    assert offer(CARD, POLICY, look=False) == PinOffered()


def test_nothing_tells_who_declined_from_who_withdrew() -> None:
    declined = replace(CARD, sealed_template=None, template_aux=None, consent_record=None)
    withdrawn = replace(CARD, consent=Consent.WITHDRAWN)
    assert offer(declined, POLICY, look=False) == offer(withdrawn, POLICY, look=False)


def test_a_card_without_any_lane_is_told_why() -> None:
    bare = replace(CARD, pin_verifier=None)
    withdrawn = replace(bare, consent=Consent.WITHDRAWN)
    assert offer(bare, POLICY, look=False) == CardRejected(DenyReason.NO_PIN_ON_CARD)
    assert offer(withdrawn, POLICY, look=False) == CardRejected(DenyReason.CONSENT_WITHDRAWN)


def test_a_look_is_never_offered_without_being_allowed() -> None:
    for template, consent, pin in product((b"t", None), Consent, (b"p", None)):
        card = replace(CARD, sealed_template=template, consent=consent, pin_verifier=pin)
        look = may_look(card, POLICY, ON)
        assert isinstance(offer(card, POLICY, look=look), FaceOffered) == look
        assert look == (template is not None and consent is Consent.LIVE)


ONLINE = TurnstileStatus(Link.ONLINE, ready=True)
MATCHES = (FaceMatched(), PinMatched())


@pytest.mark.parametrize("match", MATCHES)
def test_a_match_stays_a_match_when_nothing_changed(match: FaceMatched | PinMatched) -> None:
    assert second_look(match, Consent.LIVE, ON, ONLINE) == match


@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("refusal", CardRefusal)
def test_a_card_that_ended_since_the_tap(
    match: FaceMatched | PinMatched, refusal: CardRefusal
) -> None:
    assert second_look(match, refusal, ON, ONLINE) == CardRejected(REASON_OF[refusal])


@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize(
    "status",
    [
        TurnstileStatus(Link.OFFLINE),
        TurnstileStatus(Link.WRONG_KEY),
        TurnstileStatus(Link.ONLINE, tamper=True),
    ],
)
def test_a_line_that_was_lost_since_the_tap(
    match: FaceMatched | PinMatched, status: TurnstileStatus
) -> None:
    expected = CardRejected(DenyReason.TURNSTILE_OFFLINE)
    assert second_look(match, Consent.LIVE, ON, status) == expected


def test_what_ends_the_face_lane_leaves_the_pin() -> None:
    off = FaceMode(FaceReason.POLICY_EXPIRED)
    withdrawn = second_look(FaceMatched(), Consent.WITHDRAWN, ON, ONLINE)
    assert withdrawn == FaceFailed(DenyReason.CONSENT_WITHDRAWN)
    expired = second_look(FaceMatched(), Consent.LIVE, off, ONLINE)
    assert expired == FaceFailed(DenyReason.NOT_ALLOWED_HERE)
    assert second_look(PinMatched(), Consent.WITHDRAWN, off, ONLINE) == PinMatched()


def test_a_locked_pin_is_not_asked_for_but_the_face_lane_stays() -> None:
    locked = offer(CARD, POLICY, look=False, pin_locked=True)
    assert locked == CardRejected(DenyReason.PIN_LOCKED)
    assert offer(CARD, POLICY, look=True, pin_locked=True) == FaceOffered(pin_possible=False)
