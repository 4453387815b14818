"""The key schedule around a device's ECDH is RFC 9180: the RFC's numbers, the library's answers.

Vectors: RFC 9180 appendix A.3 (DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-128-GCM), base mode.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from gate.errors import TemplateRejected
from gate.template.hpke_external import Agree, schedule, shared_secret, unwrap_external
from gate.template.wrapping import ENC_BYTES, WRAPPED_BYTES, unwrap, wrap

SHARED = Path(os.environ.get("GATE_SHARED_DIR", Path(__file__).parents[2] / ".." / "shared"))
VECTORS = SHARED / "vectors" / "hpke-rfc9180-p256.json"
KEYS = [ec.generate_private_key(ec.SECP256R1()) for _ in range(4)]


def device(key: ec.EllipticCurvePrivateKey) -> Agree:
    """What a token does, by the library."""
    return lambda peer: key.exchange(ec.ECDH(), peer)


@pytest.fixture
def vector() -> dict[str, Any]:
    if not VECTORS.exists():
        pytest.skip("the RFC 9180 vectors are not beside this checkout (GATE_SHARED_DIR)")
    cases = json.loads(VECTORS.read_text())["vectors"]
    (case,) = [c for c in cases if (c["kem_id"], c["kdf_id"], c["aead_id"]) == (16, 1, 1)]
    return dict(case)


def test_the_numbers_of_the_rfc(vector: dict[str, Any]) -> None:
    private = ec.derive_private_key(int(vector["skRm"], 16), ec.SECP256R1())
    enc = bytes.fromhex(vector["enc"])
    peer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), enc)
    secret = shared_secret(device(private)(peer), enc, private.public_key())
    assert secret.hex() == vector["shared_secret"]
    key, nonce = schedule(secret, bytes.fromhex(vector["info"]))
    assert (key.hex(), nonce.hex()) == (vector["key"], vector["base_nonce"])
    first = vector["encryptions"][0]
    sealed = AESGCM(key).encrypt(nonce, bytes.fromhex(first["pt"]), bytes.fromhex(first["aad"]))
    assert sealed.hex() == first["ct"]


@given(st.sampled_from(KEYS), st.binary(min_size=32, max_size=32), st.binary(max_size=300))
def test_it_opens_what_the_library_seals(
    key: ec.EllipticCurvePrivateKey, content_key: bytes, info: bytes
) -> None:
    wrapped = wrap(content_key, info, key.public_key())
    assert unwrap_external(wrapped, info, key.public_key(), device(key)) == content_key
    assert unwrap(wrapped, info, key) == content_key


@given(st.integers(0, WRAPPED_BYTES - 1), st.integers(1, 255))
def test_one_changed_byte_opens_nothing(at: int, change: int) -> None:
    key = KEYS[0]
    wrapped = bytearray(wrap(bytes(32), b"info", key.public_key()))
    wrapped[at] ^= change
    with pytest.raises(TemplateRejected):
        unwrap_external(bytes(wrapped), b"info", key.public_key(), device(key))


def test_another_key_or_context_opens_nothing() -> None:
    key, other = KEYS[:2]
    wrapped = wrap(bytes(32), b"info", key.public_key())
    for info, public, agree in (
        (b"other", key.public_key(), device(key)),
        (b"info", other.public_key(), device(other)),
        (b"info", other.public_key(), device(key)),
    ):
        with pytest.raises(TemplateRejected):
            unwrap_external(wrapped, info, public, agree)


@given(st.binary(max_size=ENC_BYTES + 60))
def test_a_device_is_asked_for_points_of_the_curve_only(data: bytes) -> None:
    def never(_peer: ec.EllipticCurvePublicKey) -> bytes:
        raise AssertionError("the device was asked")

    for wrapped in (data, (b"\x04" + data).ljust(WRAPPED_BYTES, b"\x01")[:WRAPPED_BYTES]):
        with pytest.raises(TemplateRejected):
            unwrap_external(wrapped, b"info", KEYS[0].public_key(), never)
