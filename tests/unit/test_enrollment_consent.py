"""Consent: one signed record without a name, in two languages, withdrawable, checkable alone."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from enrollment import consent
from enrollment.errors import ConsentInvalid
from enrollment.notice import Language, Notice, explain
from enrollment.receipt import make_receipt, verify_receipt

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
EXPIRES = datetime(2027, 3, 1, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key()


def fixed(count: int) -> bytes:
    return bytes(range(1, count + 1))


def notice(language: Language = Language.EN) -> Notice:
    return explain(
        language,
        ("청사 관리소", "Building administration"),
        ("청사 출입", "Entry to the building"),
        EXPIRES,
    )


def given_record(**changes: Any) -> consent.ConsentRecord:
    arguments: dict[str, Any] = {
        "now": NOW,
        "expires": EXPIRES,
        "demo": False,
        "key": KEY,
        "random_bytes": fixed,
    }
    return consent.give(notice(), **{**arguments, **changes})


@pytest.mark.parametrize(
    ("language", "must_say"),
    [
        (
            Language.KO,
            ["청사 관리소", "청사 출입", "거부할 권리", "철회할 권리", "민감정보", "2027-03-01"],
        ),
        (
            Language.EN,
            ["Building administration", "Entry", "may refuse", "withdraw", "2027-03-01"],
        ),
    ],
)
def test_the_explanation_says_what_the_law_asks_for(
    language: Language, must_say: list[str]
) -> None:
    shown = notice(language)
    for words in must_say:
        assert words in shown.text
    assert shown.question.count("?") == 1


def test_a_given_record_verifies_and_is_small_enough_for_the_air() -> None:
    record = given_record()
    assert consent.verify(record.signed, PUBLIC) == record
    assert record.state is consent.State.GIVEN
    assert record.notice_sha256 == notice().sha256
    assert len(record.signed) <= 250


def test_two_records_share_nothing_that_links_them_to_a_person() -> None:
    one, other = (
        given_record(random_bytes=lambda n, fill=fill: bytes([fill]) * n) for fill in (1, 2)
    )
    assert one.record_id != other.record_id
    assert one.sha256 != other.sha256


def test_withdrawing_keeps_the_id_and_changes_the_hash() -> None:
    record = given_record()
    later = NOW + timedelta(days=30)
    withdrawn = consent.withdraw(record, now=later, key=KEY)
    assert consent.verify(withdrawn.signed, PUBLIC) == withdrawn
    assert withdrawn.record_id == record.record_id
    assert withdrawn.withdrawn_at == later
    assert withdrawn.sha256 != record.sha256
    with pytest.raises(ConsentInvalid, match="before"):
        consent.withdraw(withdrawn, now=later, key=KEY)
    with pytest.raises(ConsentInvalid, match="future"):
        consent.withdraw(record, now=NOW - timedelta(days=1), key=KEY)


def test_consent_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ConsentInvalid, match="end before"):
        given_record(expires=NOW)


def test_another_sites_key_does_not_verify() -> None:
    with pytest.raises(ConsentInvalid, match="consent key"):
        consent.verify(given_record().signed, Ed25519PrivateKey.generate().public_key())


def test_every_single_bit_is_covered() -> None:
    signed = given_record().signed
    for position in range(len(signed) * 8):
        changed = bytearray(signed)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(ConsentInvalid):
            consent.verify(bytes(changed), PUBLIC)


def resigned(**changes: Any) -> bytes:
    """Sign a payload that the product would not make."""
    content = cbor2.loads(cbor2.loads(given_record().signed)[2])
    for key, value in changes.items():
        content[int(key[1:])] = value
    payload = cbor2.dumps(content, canonical=True)
    return sealed(payload)


def sealed(payload: bytes) -> bytes:
    protected = cbor2.dumps({1: -8})
    signature = KEY.sign(cbor2.dumps(["Signature1", protected, b"", payload], canonical=True))
    return cbor2.dumps([protected, {}, payload, signature], canonical=True)


def test_the_helper_of_these_tests_signs_what_verifies() -> None:
    assert consent.verify(resigned(), PUBLIC) == given_record()


@pytest.mark.parametrize(
    "changes",
    [
        {"k1": 2},
        {"k2": b"short"},
        {"k3": "refused"},
        {"k3": "withdrawn"},
        {"k4": "xx"},
        {"k5": b""},
        {"k6": -1},
        {"k6": True},
        {"k6": int(EXPIRES.timestamp())},
        {"k7": 2**60},
        {"k8": int(NOW.timestamp())},
        {"k3": "withdrawn", "k8": int(NOW.timestamp()) - 1},
        {"k9": "attendance"},
        {"k10": ["face-template", "name"]},
        {"k12": "a name"},
    ],
)
def test_a_signed_record_with_other_content_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConsentInvalid):
        consent.verify(resigned(**changes), PUBLIC)


def test_a_second_encoding_of_a_signed_payload_is_refused() -> None:
    signed = given_record().signed
    payload = cbor2.loads(signed)[2]
    duplicate = b"\xad" + payload[1:] + payload[1:3] * 2
    for other in (duplicate, payload + b"\x00"):
        with pytest.raises(ConsentInvalid):
            consent.verify(sealed(other), PUBLIC)
    with pytest.raises(ConsentInvalid):
        consent.verify(signed + b"\x00", PUBLIC)


@settings(max_examples=200)
@given(st.binary(max_size=300) | st.binary(max_size=120).map(sealed))
def test_any_bytes_verify_or_are_refused(raw: bytes) -> None:
    with pytest.raises(ConsentInvalid):
        consent.verify(raw, PUBLIC)


@pytest.mark.parametrize("language", list(Language))
def test_the_receipt_verifies_on_its_own(language: Language) -> None:
    shown = notice(language)
    record = consent.give(shown, now=NOW, expires=EXPIRES, demo=True, key=KEY, random_bytes=fixed)
    receipt = make_receipt(record, shown)
    assert verify_receipt(receipt, PUBLIC) == record
    withdrawn = consent.withdraw(record, now=NOW, key=KEY)
    assert verify_receipt(make_receipt(withdrawn, shown), PUBLIC) == withdrawn


def test_a_changed_receipt_is_refused() -> None:
    record = given_record()
    receipt = json.loads(make_receipt(record, notice()))
    for change in (
        {"notice": receipt["notice"].replace("one to one", "against a list")},
        {"consent": {**receipt["consent"], "expires_at": "2099-01-01T00:00:00+00:00"}},
        {"type": "other"},
        {"signed_record": "!"},
        {"signed_record": base64.b64encode(b"x").decode()},
        {"extra": 1},
        {"notice": 5},
    ):
        with pytest.raises(ConsentInvalid):
            verify_receipt(json.dumps({**receipt, **change}).encode(), PUBLIC)


@settings(max_examples=100)
@given(st.binary(max_size=100) | st.text(max_size=50).map(lambda t: json.dumps(t).encode()))
def test_any_file_is_a_receipt_or_refused(raw: bytes) -> None:
    with pytest.raises(ConsentInvalid):
        verify_receipt(raw, PUBLIC)
