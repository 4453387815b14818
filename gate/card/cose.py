"""COSE_Sign1, COSE_Mac0 and COSE_Key for ES256 and HMAC 256/256 only (RFC 9052, RFC 9053)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from gate.card import cbor
from gate.card.cbor import MalformedCbor

ES256: Final = -7
HMAC_256_256: Final = 5

HEADER_ALG: Final = 1
HEADER_CRIT: Final = 2
HEADER_TYP: Final = 16
HEADER_X5CHAIN: Final = 33

_ES256 = ec.ECDSA(hashes.SHA256())
_COORDINATE_BYTES: Final = 32


@dataclass(frozen=True, repr=False)
class _Message:
    """What COSE_Sign1 and COSE_Mac0 share: two header buckets, payload, authenticator.

    `protected_raw` is kept as received: it is what was signed.
    """

    protected_raw: bytes
    protected: Mapping[Any, Any]
    unprotected: Mapping[Any, Any]
    payload: bytes | None
    authenticator: bytes

    def to_cbor(self) -> list[object]:
        """Return the array for an encoder, untagged as mdoc wants it."""
        return [self.protected_raw, dict(self.unprotected), self.payload, self.authenticator]


class Sign1(_Message):
    """One COSE_Sign1 message (RFC 9052 section 4.2)."""

    @classmethod
    def parse(cls, value: object) -> Sign1:
        """Check the shape. Raises MalformedCbor."""
        return cls(*_parse(value))

    @classmethod
    def create(
        cls,
        key: ec.EllipticCurvePrivateKey,
        payload: bytes,
        *,
        detached: bool = False,
        protected: Mapping[int, object] | None = None,
        unprotected: Mapping[int, object] | None = None,
    ) -> Sign1:
        """Sign `payload` with ES256; `detached` leaves it out of the message."""
        headers = {HEADER_ALG: ES256, **(protected or {})}
        raw = cbor.encode(headers)
        r, s = decode_dss_signature(key.sign(_to_authenticate("Signature1", raw, payload), _ES256))
        signature = r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")
        return cls(raw, headers, unprotected or {}, None if detached else payload, signature)

    def is_signed_by(
        self, key: ec.EllipticCurvePublicKey, *, detached_payload: bytes | None = None
    ) -> bool:
        """Whether this is an ES256 signature by `key` over the payload.

        Exactly one of the embedded and the detached payload must be there.
        """
        payload = _one_payload(self.payload, detached_payload)
        if (
            payload is None
            or self.protected.get(HEADER_ALG) != ES256
            or len(self.authenticator) != 2 * _COORDINATE_BYTES
            or not isinstance(key.curve, ec.SECP256R1)
        ):
            return False
        r = int.from_bytes(self.authenticator[:_COORDINATE_BYTES], "big")
        s = int.from_bytes(self.authenticator[_COORDINATE_BYTES:], "big")
        signed = _to_authenticate("Signature1", self.protected_raw, payload)
        try:
            key.verify(encode_dss_signature(r, s), signed, _ES256)
        except InvalidSignature:
            return False
        return True


class Mac0(_Message):
    """One COSE_Mac0 message (RFC 9052 section 6.2)."""

    @classmethod
    def parse(cls, value: object) -> Mac0:
        """Check the shape. Raises MalformedCbor."""
        return cls(*_parse(value))

    @classmethod
    def create(cls, key: bytes, payload: bytes) -> Mac0:
        """Authenticate a detached `payload` with HMAC 256/256."""
        headers = {HEADER_ALG: HMAC_256_256}
        raw = cbor.encode(headers)
        tag = hmac.digest(key, _to_authenticate("MAC0", raw, payload), hashlib.sha256)
        return cls(raw, headers, {}, None, tag)

    def is_tagged_by(self, key: bytes, *, detached_payload: bytes) -> bool:
        """Whether this is the HMAC 256/256 of the detached payload under `key`."""
        payload = _one_payload(self.payload, detached_payload)
        if payload is None or self.protected.get(HEADER_ALG) != HMAC_256_256:
            return False
        expected = hmac.digest(
            key, _to_authenticate("MAC0", self.protected_raw, payload), hashlib.sha256
        )
        return hmac.compare_digest(expected, self.authenticator)


def encode_key(key: ec.EllipticCurvePublicKey) -> dict[int, object]:
    """Return a P-256 public key as COSE_Key map, coordinates always 32 bytes (RFC 9053 7.1.1)."""
    if not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("only P-256 keys have a place here")
    numbers = key.public_numbers()
    return {
        1: 2,
        -1: 1,
        -2: numbers.x.to_bytes(_COORDINATE_BYTES, "big"),
        -3: numbers.y.to_bytes(_COORDINATE_BYTES, "big"),
    }


def decode_key(value: object) -> ec.EllipticCurvePublicKey:
    """Return the P-256 public key of a COSE_Key map.

    Raises:
        MalformedCbor: another key type or curve, a coordinate that is not 32 bytes, a compressed
            point, or a point that is not on the curve.
    """
    mapping = cbor.need(value, dict)
    if cbor.field(mapping, 1, int) != 2 or cbor.field(mapping, -1, int) != 1:
        raise MalformedCbor("COSE_Key is not of type EC2 on P-256")
    x, y = cbor.field(mapping, -2, bytes), cbor.field(mapping, -3, bytes)
    if len(x) != _COORDINATE_BYTES or len(y) != _COORDINATE_BYTES:
        raise MalformedCbor("COSE_Key coordinate is not 32 bytes")
    numbers = ec.EllipticCurvePublicNumbers(
        int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1()
    )
    try:
        return numbers.public_key()
    except ValueError:
        raise MalformedCbor("COSE_Key is not a point on P-256") from None


def x5chain(message: Sign1) -> bytes:
    """Return the one DER certificate of the x5chain header (RFC 9360).

    Issuing authorities sign document signers directly, so a longer chain has no place here.

    Raises:
        MalformedCbor: absent, in both buckets, or more than one certificate.
    """
    value = message.unprotected.get(HEADER_X5CHAIN, message.protected.get(HEADER_X5CHAIN))
    if type(value) is list and len(value) == 1:
        value = value[0]
    return cbor.need(value, bytes)


def _parse(
    value: object,
) -> tuple[bytes, Mapping[Any, Any], Mapping[Any, Any], bytes | None, bytes]:
    items = cbor.need(value, list)
    if len(items) != 4:
        raise MalformedCbor("COSE message is not an array of four")
    raw = cbor.need(items[0], bytes)
    protected = cbor.need(cbor.load(raw), dict) if raw else {}
    unprotected = cbor.need(items[1], dict)
    if HEADER_CRIT in protected or not protected.keys().isdisjoint(unprotected):
        raise MalformedCbor("COSE header is critical and unknown, or stands in both buckets")
    payload = None if items[2] is None else cbor.need(items[2], bytes)
    return raw, protected, unprotected, payload, cbor.need(items[3], bytes)


def _one_payload(embedded: bytes | None, detached: bytes | None) -> bytes | None:
    if embedded is not None and detached is not None:
        return None
    return embedded if embedded is not None else detached


def _to_authenticate(context: str, protected_raw: bytes, payload: bytes) -> bytes:
    """Sig_structure and MAC_structure without external data (RFC 9052 sections 4.4 and 6.3)."""
    return cbor.encode([context, protected_raw, b"", payload])
