"""The key wrap of sealed objects: HPKE base mode, P-256, HKDF-SHA256, AES-128-GCM.

Source: RFC 9180 (suite DHKEM(P-256, HKDF-SHA256) 0x0010, HKDF-SHA256 0x0001, AES-128-GCM 0x0001).
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gate.errors import TemplateRejected

CONTENT_KEY_BYTES = 32
KID_BYTES = 8
ENC_BYTES = 65
TAG_BYTES = 16
WRAPPED_BYTES = ENC_BYTES + CONTENT_KEY_BYTES + TAG_BYTES

_SUITE = Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_128_GCM)


def kid_of(public_key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the 8-byte name of a template key: SHA-256 of its uncompressed point, shortened."""
    point = public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return hashlib.sha256(point).digest()[:KID_BYTES]


def wrap(content_key: bytes, info: bytes, public_key: ec.EllipticCurvePublicKey) -> bytes:
    """Return enc || ciphertext, 113 bytes, that only the holder of the private key can unwrap."""
    assert len(content_key) == CONTENT_KEY_BYTES
    return _SUITE.encrypt(content_key, public_key, info)


def unwrap(wrapped: bytes, info: bytes, private_key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the 32-byte content key.

    Raises:
        TemplateRejected: another key, another context, or damaged.
    """
    if len(wrapped) != WRAPPED_BYTES:
        raise TemplateRejected("wrapped key has the wrong length")
    try:
        content_key = _SUITE.decrypt(wrapped, private_key, info)
    except (InvalidTag, ValueError):
        raise TemplateRejected("wrapped key does not open under this key and context") from None
    if len(content_key) != CONTENT_KEY_BYTES:
        raise TemplateRejected("wrapped key has the wrong length")
    return content_key
