"""The PIN verifier: right or wrong, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gate.errors import TemplateRejected
from gate.template.context import SealContext
from gate.template.envelope import Envelope, open_envelope
from gate.template.pin import check_pin, is_pin, seal_pin
from gate.template.wrapping import unwrap

KEY = ec.generate_private_key(ec.SECP256R1())
EXPIRY = datetime(2031, 5, 1, tzinfo=UTC)
CONTEXT = SealContext.for_pin(b"c" * 16, EXPIRY)


@pytest.fixture(scope="module")
def sealed() -> bytes:
    return seal_pin("246810", CONTEXT, KEY.public_key())


@pytest.fixture(scope="module")
def opened(sealed: bytes) -> bytes:
    envelope = Envelope.decode(sealed)
    return open_envelope(envelope, unwrap(envelope.wrapped, CONTEXT.hpke_info(), KEY), CONTEXT)


def test_right_and_wrong(opened: bytes) -> None:
    assert check_pin("246810", opened)
    for wrong in ("246811", "24681", "2468100", "", "246810 ", "٢٤٦٨١٠", "x" * 100):
        assert not check_pin(wrong, opened)


def test_the_card_shows_neither_the_pin_nor_its_hash(sealed: bytes, opened: bytes) -> None:
    assert b"246810" not in opened
    assert b"argon2id$" not in sealed
    assert opened[:12] not in sealed


def test_another_card_cannot_carry_this_pin(sealed: bytes) -> None:
    other = SealContext.for_pin(b"d" * 16, EXPIRY)
    with pytest.raises(TemplateRejected):
        unwrap(Envelope.decode(sealed).wrapped, other.hpke_info(), KEY)


def test_envelopes_of_all_pins_have_one_length(sealed: bytes) -> None:
    assert len(seal_pin("1357", CONTEXT, KEY.public_key())) == len(sealed)


@pytest.mark.parametrize("pin", ["", "123", "1234567890123", "12a4", "１２３４", "12 34"])
def test_what_is_no_pin_is_not_sealed(pin: str) -> None:
    assert not is_pin(pin)
    with pytest.raises(ValueError, match="4 to 12 digits"):
        seal_pin(pin, CONTEXT, KEY.public_key())


def test_a_template_context_is_refused() -> None:
    context = SealContext.for_template(b"c" * 16, "m", b"", bytes(32), EXPIRY)
    with pytest.raises(ValueError, match="purpose PIN"):
        seal_pin("1234", context, KEY.public_key())


@pytest.mark.parametrize(
    "verifier",
    [
        b"",
        b"\xff",
        b"246810",
        b"$argon2i$v=19$m=65536,t=3,p=1$eHh4eHh4eHh4eHh4eHh4eA$rSgq/mMzkjVFJnCIMMJWby60e8jqFM3U",
        # A verifier that would keep the gate busy for minutes.
        b"$argon2id$v=19$m=999999,t=99,p=1$eHh4eHh4eHh4eHh4eHh4eA$rSgq/mMzkjVFJnCIMMJWby60e8jqFM",
        b"$argon2id$v=19$m=65536,t=0,p=1$eHh4eHh4eHh4eHh4eHh4eA$rSgq/mMzkjVFJnCIMMJWby60e8jqFM3U",
    ],
)
def test_what_is_no_bearable_verifier_is_refused(verifier: bytes) -> None:
    with pytest.raises(TemplateRejected):
        check_pin("246810", verifier)
