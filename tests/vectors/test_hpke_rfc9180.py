"""The key wrap is RFC 9180: an independent implementation, checked against the RFC's own numbers,
opens what we wrap and wraps what we open.

Vectors: RFC 9180 appendix A.3 (DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-128-GCM), base mode.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gate.errors import TemplateRejected
from gate.template.wrapping import ENC_BYTES, WRAPPED_BYTES, unwrap, wrap

SHARED = Path(os.environ.get("GATE_SHARED_DIR", Path(__file__).parents[2] / ".." / "shared"))
VECTORS = SHARED / "vectors" / "hpke-rfc9180-p256.json"
KEM_SUITE = b"KEM" + (16).to_bytes(2, "big")
CURVE = ec.SECP256R1()


def extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")


def expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    text = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.digest(prk, text + b"\x01", "sha256")[:length]


def shared_secret(own: ec.EllipticCurvePrivateKey, peer: bytes, enc: bytes, pk_r: bytes) -> bytes:
    dh = own.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(CURVE, peer))
    prk = extract(KEM_SUITE, b"", b"eae_prk", dh)
    return expand(KEM_SUITE, prk, b"shared_secret", enc + pk_r, 32)


def key_and_nonce(secret: bytes, info: bytes) -> tuple[bytes, bytes]:
    suite = b"HPKE" + b"".join(n.to_bytes(2, "big") for n in (16, 1, 1))
    context = (
        b"\0" + extract(suite, b"", b"psk_id_hash", b"") + extract(suite, b"", b"info_hash", info)
    )
    prk = extract(suite, secret, b"secret", b"")
    return expand(suite, prk, b"key", context, 16), expand(suite, prk, b"base_nonce", context, 12)


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def private(number: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int(number, 16), CURVE)


@pytest.fixture
def vector() -> dict[str, Any]:
    if not VECTORS.exists():
        pytest.skip("the RFC 9180 vectors are not beside this checkout (GATE_SHARED_DIR)")
    cases = json.loads(VECTORS.read_text())["vectors"]
    (case,) = [c for c in cases if (c["kem_id"], c["kdf_id"], c["aead_id"]) == (16, 1, 1)]
    return dict(case)


def test_the_independent_implementation_is_the_rfc(vector: dict[str, Any]) -> None:
    enc, pk_r = bytes.fromhex(vector["enc"]), bytes.fromhex(vector["pkRm"])
    assert point(private(vector["skRm"])) == pk_r
    for secret in (
        shared_secret(private(vector["skEm"]), pk_r, enc, pk_r),
        shared_secret(private(vector["skRm"]), enc, enc, pk_r),
    ):
        assert secret.hex() == vector["shared_secret"]
        key, nonce = key_and_nonce(secret, bytes.fromhex(vector["info"]))
        assert (key.hex(), nonce.hex()) == (vector["key"], vector["base_nonce"])
    first = vector["encryptions"][0]
    plain = AESGCM(key).decrypt(nonce, bytes.fromhex(first["ct"]), bytes.fromhex(first["aad"]))
    assert plain.hex() == first["pt"]


def test_our_key_opens_what_the_rfc_sender_wraps(vector: dict[str, Any]) -> None:
    pk_r = bytes.fromhex(vector["pkRm"])
    enc, info = bytes.fromhex(vector["enc"]), b"consentgate/1/template\0 and the rest"
    key, nonce = key_and_nonce(shared_secret(private(vector["skEm"]), pk_r, enc, pk_r), info)
    content_key = hashlib.sha256(b"content key").digest()
    wrapped = enc + AESGCM(key).encrypt(nonce, content_key, b"")
    assert unwrap(wrapped, info, private(vector["skRm"])) == content_key


def test_an_independent_receiver_opens_what_we_wrap() -> None:
    receiver, info = ec.generate_private_key(CURVE), os.urandom(200)
    content_key = os.urandom(32)
    wrapped = wrap(content_key, info, receiver.public_key())
    assert len(wrapped) == WRAPPED_BYTES == 32 + 81
    enc = wrapped[:ENC_BYTES]
    key, nonce = key_and_nonce(shared_secret(receiver, enc, enc, point(receiver)), info)
    assert AESGCM(key).decrypt(nonce, wrapped[ENC_BYTES:], b"") == content_key


def test_wrong_key_context_or_length_does_not_open() -> None:
    receiver = ec.generate_private_key(CURVE)
    wrapped = wrap(bytes(32), b"info", receiver.public_key())
    off_curve = b"\x04" + b"\x01" * 64 + wrapped[ENC_BYTES:]
    for bad, info, key in (
        (wrapped, b"inf", receiver),
        (wrapped, b"info", ec.generate_private_key(CURVE)),
        (wrapped[:-1], b"info", receiver),
        (wrapped + b"\0", b"info", receiver),
        (off_curve, b"info", receiver),
        (bytes(113), b"info", receiver),
    ):
        with pytest.raises(TemplateRejected):
            unwrap(bad, info, key)
