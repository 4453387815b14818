"""Certificates from cards, files and wallets whose bytes are wrong: refused, nothing escapes."""

from __future__ import annotations

import random
import warnings
from base64 import encodebytes
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st

from enrollment import pki
from enrollment.mdoc_issuer import issue_mdoc
from enrollment.pki import Site
from enrollment.wallet import Wallet
from firmware_bridge.sim.card import SimCard
from gate.card import cbor, cose, session
from gate.card.cose import Sign1
from gate.card.mdoc import IssuerSigned
from gate.card.reader import Trust, load_certificates, read_card
from gate.card.trust import check_document_signer, load_certificate
from gate.card.verified import CardRefusal, Refused, VerifiedCard
from gate.errors import ConfigError

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)
RANDOM = random.Random(509).randbytes
URI = "https://cards.example/status/1"
BEGIN = NOW - 30 * DAY
IACA = pki.create_iaca(Site("Example Ministry"), BEGIN, RANDOM)
SIGNER = pki.create_document_signer(IACA, BEGIN, RANDOM)
DER = SIGNER.certificate.public_bytes(serialization.Encoding.DER)
VERSION = bytes.fromhex("a0030201")
"""[0] EXPLICIT INTEGER of one byte: the version field, RFC 5280 4.1.2.1."""


def with_version(der: bytes, number: int) -> bytes:
    at = der.index(VERSION) + len(VERSION)
    return der[:at] + bytes([number]) + der[at + 1 :]


def read(der: bytes) -> VerifiedCard | Refused:
    """Show a card that carries these bytes as its document signer."""
    reader_ca = pki.create_reader_authority(Site("Example Ministry"), BEGIN, RANDOM)
    key = session.new_key(RANDOM)
    elements: dict[str, object] = {
        "credential_id": bytes(16),
        "access_groups": ["hq-staff"],
        "expiry_date": (NOW + 20 * DAY).date(),
        "pin_verifier": RANDOM(220),
    }
    signed = IssuerSigned.parse(
        cbor.load(
            issue_mdoc(
                elements, key.public_key(), SIGNER, 5, URI, NOW - DAY, NOW + 20 * DAY, RANDOM
            )
        )
    )
    auth = signed.issuer_auth
    auth = Sign1(
        auth.protected_raw,
        auth.protected,
        {cose.HEADER_X5CHAIN: der},
        auth.payload,
        auth.authenticator,
    )
    content = cbor.encode(IssuerSigned(signed.name_spaces, auth).to_cbor())
    wallet = Wallet(key, content, [reader_ca.certificate], lambda: NOW, RANDOM)
    trust = Trust([IACA.certificate], pki.create_status_signer(IACA, BEGIN, RANDOM).certificate)
    reader = pki.create_reader(reader_ca, "gate-1", BEGIN, RANDOM)
    return read_card(SimCard(wallet), reader, trust, NOW, RANDOM)


def test_the_unchanged_certificate_comes_as_far_as_the_status_list() -> None:
    assert read(DER) == Refused(CardRefusal.STATUS_STALE)


@pytest.mark.parametrize("number", [0, 1, 3, 4, 0x7F, 0xFF])
def test_a_card_with_a_certificate_of_another_version(number: int) -> None:
    """Version 4 does not exist; `cryptography` has an exception of its own for it."""
    assert load_certificate(with_version(DER, number)) is None
    assert read(with_version(DER, number)) == Refused(CardRefusal.ISSUER_PROFILE)


@given(st.lists(st.tuples(st.integers(0, len(DER) - 1), st.integers(0, 255)), max_size=4))
@settings(max_examples=600, deadline=None)
def test_no_changed_byte_of_a_certificate_breaks_anything(edits: list[tuple[int, int]]) -> None:
    raw = bytearray(DER)
    for place, value in edits:
        raw[place] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as a gate runs
        certificate = load_certificate(bytes(raw))
        if certificate is not None:
            refusal = check_document_signer(certificate, [IACA.certificate], NOW)
            assert refusal is not None or bytes(raw) == DER


def test_a_certificate_file_of_another_version(tmp_path: Path) -> None:
    path = tmp_path / "root.pem"
    good = IACA.certificate.public_bytes(serialization.Encoding.DER)
    path.write_bytes(pem(with_version(good, 3)))
    with pytest.raises(ConfigError, match="cannot be loaded") as refused:
        load_certificates(path)
    assert "\n" not in refused.value.diagnostics()


def pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + encodebytes(der) + b"-----END CERTIFICATE-----\n"


def test_a_wallet_with_a_reader_authority_of_another_version(tmp_path: Path) -> None:
    key = session.new_key(RANDOM)
    issued = issue_mdoc(
        {"credential_id": bytes(16), "access_groups": [], "expiry_date": NOW.date()},
        key.public_key(), SIGNER, 5, URI, NOW - DAY, NOW + 20 * DAY, RANDOM,
    )  # fmt: skip
    path = tmp_path / "person.card"
    Wallet(key, issued, [IACA.certificate], lambda: NOW, RANDOM).save(path)
    raw = path.read_bytes()
    at = raw.index(VERSION) + len(VERSION)  # the authority stands before the card
    path.write_bytes(raw[:at] + b"\x03" + raw[at + 1 :])
    with pytest.raises(ConfigError, match="cannot be loaded"):
        Wallet.load(path, lambda: NOW, RANDOM)
    path.write_bytes(raw)
    assert Wallet.load(path, lambda: NOW, RANDOM)
