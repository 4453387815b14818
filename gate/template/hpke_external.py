"""Opening the key wrap with a private key that lives elsewhere: in a token or a TPM.

The device does the one Diffie-Hellman; the rest of HPKE base mode is here. A key of this process
goes through the library instead, see `wrapping.unwrap`.
Source: RFC 9180 sections 4.1 (Decap), 5.1 (KeySchedule), 7.1 (validation), same suite as wrapping.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gate.errors import TemplateRejected
from gate.template.wrapping import ENC_BYTES, WRAPPED_BYTES

Agree = Callable[[ec.EllipticCurvePublicKey], bytes]
"""ECDH of the private key with one point of P-256: the x coordinate, 32 bytes.

Raises KeyAgentFault when the device that holds the private key does not answer.
"""

_KEM_ID, _KDF_ID, _AEAD_ID = 0x0010, 0x0001, 0x0001
_KEM_SUITE = b"KEM" + _KEM_ID.to_bytes(2, "big")
_SUITE = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (_KEM_ID, _KDF_ID, _AEAD_ID))
_MODE_BASE = b"\x00"
_SECRET_BYTES, _KEY_BYTES, _NONCE_BYTES = 32, 16, 12


def unwrap_external(
    wrapped: bytes, info: bytes, public_key: ec.EllipticCurvePublicKey, agree: Agree
) -> bytes:
    """Return the content key; like `wrapping.unwrap`, but `agree` does the Diffie-Hellman.

    Raises:
        TemplateRejected: another key, another context, or damaged. Of a point that is not on the
            curve `agree` never hears.
    """
    if len(wrapped) != WRAPPED_BYTES:
        raise TemplateRejected("wrapped key has the wrong length")
    enc = wrapped[:ENC_BYTES]
    try:
        ephemeral = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), enc)
    except ValueError:
        raise TemplateRejected("wrapped key holds no point of P-256") from None
    key, nonce = schedule(shared_secret(agree(ephemeral), enc, public_key), info)
    try:
        return AESGCM(key).decrypt(nonce, wrapped[ENC_BYTES:], None)
    except InvalidTag:
        raise TemplateRejected("wrapped key does not open under this key and context") from None


def shared_secret(dh: bytes, enc: bytes, public_key: ec.EllipticCurvePublicKey) -> bytes:
    """Return ExtractAndExpand(dh, enc || pkRm), 32 bytes (section 4.1)."""
    point = public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    prk = _extract(_KEM_SUITE, b"", b"eae_prk", dh)
    return _expand(_KEM_SUITE, prk, b"shared_secret", enc + point, _SECRET_BYTES)


def schedule(secret: bytes, info: bytes) -> tuple[bytes, bytes]:
    """Return key and nonce of the first and only message (section 5.1, base mode)."""
    context = (
        _MODE_BASE
        + _extract(_SUITE, b"", b"psk_id_hash", b"")
        + _extract(_SUITE, b"", b"info_hash", info)
    )
    prk = _extract(_SUITE, secret, b"secret", b"")
    return (
        _expand(_SUITE, prk, b"key", context, _KEY_BYTES),
        _expand(_SUITE, prk, b"base_nonce", context, _NONCE_BYTES),
    )


def _extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    # An absent salt is a hash length of zeros (RFC 5869 section 2.2).
    return HKDF.extract(SHA256(), salt or bytes(32), b"HPKE-v1" + suite + label + ikm)


def _expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    labelled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return HKDFExpand(SHA256(), length, labelled).derive(prk)
