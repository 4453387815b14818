"""A sealed object opens in exactly one context, and the envelope parser takes nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from gate.errors import TemplateRejected
from gate.template.context import Purpose, SealContext, sha256
from gate.template.envelope import ENVELOPE_MAX, Envelope, open_envelope
from gate.template.seal import seal
from gate.template.wrapping import kid_of, unwrap

KEY = ec.generate_private_key(ec.SECP256R1())
EXPIRY = datetime(2031, 5, 1, tzinfo=UTC)
CONTEXT = SealContext.for_template(b"c" * 16, "model.1", b"consent record", b"a" * 32, EXPIRY)
SEALED = seal(b"the plaintext", CONTEXT, KEY.public_key())


def open_sealed(sealed: bytes, context: SealContext) -> bytes:
    envelope = Envelope.decode(sealed)
    key = unwrap(envelope.wrapped, context.hpke_info(), KEY)
    return open_envelope(envelope, key, context)


def test_what_was_sealed_comes_out() -> None:
    assert open_sealed(SEALED, CONTEXT) == b"the plaintext"
    assert Envelope.decode(SEALED).kid == kid_of(KEY.public_key())


CHANGES = {
    "credential": replace(CONTEXT, credential_id=b"d" * 16),
    "model": replace(CONTEXT, model_id="model.2"),
    "consent": replace(CONTEXT, consent_hash=sha256(b"another record")),
    "aux": replace(CONTEXT, aux_hash=sha256(b"b" * 32)),
    "expiry": replace(CONTEXT, expiry=EXPIRY + timedelta(seconds=1)),
    "purpose": replace(CONTEXT, purpose=Purpose.PIN),
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES.keys())
def test_any_other_context_fails_at_the_key_wrap(changed: SealContext) -> None:
    with pytest.raises(TemplateRejected):
        unwrap(Envelope.decode(SEALED).wrapped, changed.hpke_info(), KEY)


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES.keys())
def test_any_other_context_fails_at_the_ciphertext_too(changed: SealContext) -> None:
    envelope = Envelope.decode(SEALED)
    key = unwrap(envelope.wrapped, CONTEXT.hpke_info(), KEY)
    # Also when the envelope itself claims the changed purpose and model.
    for claimed in (
        envelope,
        replace(envelope, purpose=changed.purpose, model_id=changed.model_id),
    ):
        with pytest.raises(TemplateRejected):
            open_envelope(claimed, key, changed)


def test_expiry_is_an_instant_not_a_spelling() -> None:
    seoul = EXPIRY.astimezone(timezone(timedelta(hours=9)))
    assert open_sealed(SEALED, replace(CONTEXT, expiry=seoul)) == b"the plaintext"


@pytest.mark.parametrize(
    "wrong",
    [
        {"credential_id": b"short"},
        {"consent_hash": b"short"},
        {"aux_hash": b""},
        {"model_id": ""},
        {"model_id": "ü"},
        {"model_id": "m" * 65},
        {"expiry": datetime(2031, 5, 1)},
        {"expiry": datetime(2031, 5, 1, microsecond=1, tzinfo=UTC)},
    ],
)
def test_a_malformed_context_cannot_be_made(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        replace(CONTEXT, **wrong)


@given(st.integers(0, len(SEALED) * 8 - 1))
def test_no_flipped_bit_opens(bit: int) -> None:
    damaged = bytearray(SEALED)
    damaged[bit // 8] ^= 1 << bit % 8
    if 3 + 7 <= bit // 8 < 3 + 7 + 8:  # the kid only chooses a key; the agent would not find one
        assert Envelope.decode(bytes(damaged)).kid != kid_of(KEY.public_key())
        return
    with pytest.raises(TemplateRejected):
        open_sealed(bytes(damaged), CONTEXT)


@given(st.integers(0, len(SEALED) - 1))
def test_no_torn_envelope_opens(length: int) -> None:
    with pytest.raises(TemplateRejected):
        open_sealed(SEALED[:length], CONTEXT)


@given(st.one_of(st.binary(max_size=400), st.binary(max_size=300).map(SEALED[:20].__add__)))
def test_the_parser_refuses_or_gives_back_the_same_bytes(data: bytes) -> None:
    try:
        envelope = Envelope.decode(data)
    except TemplateRejected:
        return
    assert envelope.encode() == data


def test_a_giant_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(TemplateRejected, match="too long"):
        Envelope.decode(SEALED + bytes(ENVELOPE_MAX))


@given(st.data())
def test_two_contexts_never_share_info_or_aad(data: st.DataObject) -> None:
    contexts = st.builds(
        SealContext,
        st.sampled_from(Purpose),
        st.binary(min_size=16, max_size=16),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=64),
        st.binary(min_size=32, max_size=32),
        st.binary(min_size=32, max_size=32),
        st.integers(0, 4_000_000_000).map(lambda s: datetime.fromtimestamp(s, UTC)),
    )
    a, b = data.draw(contexts), data.draw(contexts)
    if a != b:
        assert a.hpke_info() != b.hpke_info()
        assert a.aad() != b.aad()
    assert a.hpke_info().startswith(a.purpose.label)


def test_no_label_begins_another() -> None:
    template, pin = Purpose.TEMPLATE.label, Purpose.PIN.label
    assert not template.startswith(pin)
    assert not pin.startswith(template)


def test_each_sealing_is_fresh() -> None:
    other = seal(b"the plaintext", CONTEXT, KEY.public_key())
    assert Envelope.decode(other).nonce != Envelope.decode(SEALED).nonce
    assert Envelope.decode(other).wrapped != Envelope.decode(SEALED).wrapped


def test_sealing_refuses_what_could_not_be_opened() -> None:
    with pytest.raises(ValueError, match="plaintext"):
        seal(b"", CONTEXT, KEY.public_key())
    with pytest.raises(ValueError, match="plaintext"):
        seal(bytes(5000), CONTEXT, KEY.public_key())
    with pytest.raises(ValueError, match="P-256"):
        seal(b"x", CONTEXT, ec.generate_private_key(ec.SECP384R1()).public_key())


def test_nothing_secret_in_a_repr() -> None:
    for thing in (CONTEXT, Envelope.decode(SEALED)):
        assert "cccc" not in repr(thing)
        assert "plaintext" not in repr(thing)
        assert "=" not in repr(thing)
