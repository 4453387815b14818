"""The PIN lane asks for a card's PIN verifier once a session, whatever is typed."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import ec

from gate.card.verified import Consent, VerifiedCard
from gate.errors import KeyAgentFault
from gate.passage import events as ev
from gate.passage.decision import DenyReason
from gate.passage.key_uses import KeyUses
from gate.passage.pin_leg import PinLeg
from gate.passage.pin_tries import PinTries
from gate.template.context import SealContext
from gate.template.outcome import KeyOutcome
from gate.template.pin import seal_pin
from gate.template.wrapping import unwrap

SITE_KEY = ec.generate_private_key(ec.SECP256R1())
EXPIRY = datetime(2031, 1, 1, tzinfo=UTC)
NUMBER = b"n" * 16


class OncePerSession:
    """Answers each session once, as the key agent does."""

    def __init__(self) -> None:
        self.sessions: list[bytes] = []

    def alive(self) -> bool:
        return True

    def release_template_key(
        self, kid: bytes, wrapped: bytes, info: bytes, fd: int, *, session_id: bytes
    ) -> None:
        raise AssertionError((kid, wrapped, info, fd, session_id))

    def open_pin_key(self, kid: bytes, wrapped: bytes, info: bytes, *, session_id: bytes) -> bytes:
        assert len(kid) == 8
        if session_id in self.sessions:
            raise KeyAgentFault("this card session had its key", outcome=KeyOutcome.SECOND)
        self.sessions.append(session_id)
        return unwrap(wrapped, info, SITE_KEY)


def tapped(session_id: bytes) -> VerifiedCard:
    return VerifiedCard(
        credential_id=NUMBER,
        access_groups=("staff",),
        expiry=EXPIRY,
        valid_until=EXPIRY,
        status_uri="https://status.example/1",
        status_index=7,
        consent=Consent.LIVE,
        sealed_template=None,
        template_aux=None,
        consent_record=None,
        pin_verifier=seal_pin("4711", SealContext.for_pin(NUMBER, EXPIRY), SITE_KEY.public_key()),
        session_id=session_id,
    )


def leg_of(card: VerifiedCard) -> PinLeg:
    return PinLeg(card, KeyUses(), lambda _event: None)


def test_retries_of_one_session_open_the_verifier_once() -> None:
    keys, tries = OncePerSession(), PinTries(5, 900.0, os.urandom(32), lambda: 0.0)
    leg = leg_of(tapped(b"1" * 16))
    for wrong in ("0000", "1111"):
        assert leg.check(wrong, tries, keys) == ev.PinFailed(DenyReason.WRONG_PIN, may_retry=True)
    assert leg.check("4711", tries, keys) == ev.PinMatched()
    assert keys.sessions == [b"1" * 16]


def test_the_next_tap_opens_it_anew_under_its_own_session() -> None:
    keys, tries = OncePerSession(), PinTries(5, 900.0, os.urandom(32), lambda: 0.0)
    for session_id in (b"1" * 16, b"2" * 16):
        assert leg_of(tapped(session_id)).check("4711", tries, keys) == ev.PinMatched()
    assert keys.sessions == [b"1" * 16, b"2" * 16]


def test_a_session_that_had_its_key_ends_without_another_try() -> None:
    keys, tries = OncePerSession(), PinTries(5, 900.0, os.urandom(32), lambda: 0.0)
    card = tapped(b"1" * 16)
    leg_of(card).check("0000", tries, keys)
    assert leg_of(card).check("4711", tries, keys) == ev.PinFailed(
        DenyReason.KEY_UNAVAILABLE, may_retry=False
    )


def test_a_locked_pin_opens_nothing() -> None:
    keys, tries = OncePerSession(), PinTries(1, 900.0, os.urandom(32), lambda: 0.0)
    leg_of(tapped(b"1" * 16)).check("0000", tries, keys)
    leg_of(tapped(b"2" * 16)).check("4711", tries, keys)
    assert keys.sessions == [b"1" * 16]
