"""The encrypted session between reader and phone (ISO/IEC 18013-5 9.1.1).

ECDH on P-256, HKDF-SHA256 salted with the transcript's hash, AES-256-GCM with one message counter
a direction. Transcripts are put together from the raw bytes both sides saw, never re-encoded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gate.card import cbor, cose
from gate.card.cbor import EncodedCbor, MalformedCbor
from gate.errors import ProtocolViolation

STATUS_ENCRYPTION_ERROR: Final = 10
STATUS_DECODING_ERROR: Final = 11
STATUS_TERMINATION: Final = 20

_READER_IDENTIFIER: Final = bytes(8)
_DEVICE_IDENTIFIER: Final = bytes(7) + b"\x01"
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True)
class Transcript:
    """SessionTranscript: what both sides must have seen, as exact bytes."""

    raw: bytes

    @classmethod
    def of(cls, engagement: EncodedCbor, e_reader_key: EncodedCbor, handover: bytes) -> Transcript:
        """Concatenate DeviceEngagementBytes, EReaderKeyBytes and Handover to an array."""
        return cls(b"\x83" + engagement.raw + e_reader_key.raw + handover)

    @property
    def salt(self) -> bytes:
        """SHA-256 of SessionTranscriptBytes."""
        return hashlib.sha256(EncodedCbor.wrap(self.raw).raw).digest()

    @property
    def session_id(self) -> bytes:
        """16 bytes that no other session has: both sides' ephemeral keys are in the transcript."""
        return self.salt[:16]


class Cipher:
    """One side's view of the session: seals with its own key, opens with the other's."""

    def __init__(
        self, own: tuple[bytes, bytes], peer: tuple[bytes, bytes]
    ) -> None:  # (key, identifier)
        self._own = (AESGCM(own[0]), own[1])
        self._peer = (AESGCM(peer[0]), peer[1])
        self._sent = 0
        self._received = 0

    @classmethod
    def for_reader(
        cls,
        e_reader_key: ec.EllipticCurvePrivateKey,
        e_device_key: ec.EllipticCurvePublicKey,
        transcript: Transcript,
    ) -> Cipher:
        """Derive SKReader and SKDevice on the gate's side."""
        reader, device = _session_keys(e_reader_key, e_device_key, transcript)
        return cls((reader, _READER_IDENTIFIER), (device, _DEVICE_IDENTIFIER))

    @classmethod
    def for_device(
        cls,
        e_device_key: ec.EllipticCurvePrivateKey,
        e_reader_key: ec.EllipticCurvePublicKey,
        transcript: Transcript,
    ) -> Cipher:
        """Derive SKReader and SKDevice on the holder's side."""
        reader, device = _session_keys(e_device_key, e_reader_key, transcript)
        return cls((device, _DEVICE_IDENTIFIER), (reader, _READER_IDENTIFIER))

    def seal(self, plaintext: bytes) -> bytes:
        """Encrypt the next message of this direction."""
        self._sent += 1
        key, identifier = self._own
        return key.encrypt(identifier + self._sent.to_bytes(4, "big"), plaintext, b"")

    def open(self, ciphertext: bytes) -> bytes:
        """Decrypt the next message of the other direction.

        Raises:
            ProtocolViolation: another key, a repeated or reordered message, or changed bytes.
        """
        self._received += 1
        key, identifier = self._peer
        try:
            return key.decrypt(identifier + self._received.to_bytes(4, "big"), ciphertext, b"")
        except (InvalidTag, ValueError):
            raise ProtocolViolation("session data does not decrypt in this session") from None


def mac_key(
    own: ec.EllipticCurvePrivateKey, peer: ec.EllipticCurvePublicKey, transcript: Transcript
) -> bytes:
    """EMacKey, from the device key and the reader's ephemeral key (ISO/IEC 18013-5 9.1.3.5)."""
    return _derive(own.exchange(ec.ECDH(), peer), transcript.salt, b"EMacKey")


def new_key(random_bytes: Callable[[int], bytes]) -> ec.EllipticCurvePrivateKey:
    """Draw a P-256 private key with 128 extra bits against bias (FIPS 186-5 A.2.1)."""
    scalar = int.from_bytes(random_bytes(48), "big") % (_P256_ORDER - 1) + 1
    return ec.derive_private_key(scalar, ec.SECP256R1())


def encode_key_bytes(key: ec.EllipticCurvePublicKey) -> EncodedCbor:
    """Return a public key as EReaderKeyBytes or EDeviceKeyBytes."""
    return EncodedCbor.wrap(cbor.encode(cose.encode_key(key)))


def encode_establishment(e_reader_key: EncodedCbor, ciphertext: bytes) -> bytes:
    """Return SessionEstablishment: the first message, from reader to phone."""
    return cbor.encode({"eReaderKey": e_reader_key, "data": ciphertext})


def decode_establishment(message: bytes) -> tuple[EncodedCbor, bytes]:
    """Return EReaderKeyBytes and the ciphertext. Raises MalformedCbor."""
    mapping = cbor.need(cbor.load(message), dict)
    return cbor.field(mapping, "eReaderKey", EncodedCbor), cbor.field(mapping, "data", bytes)


def encode_data(ciphertext: bytes | None, status: int | None = None) -> bytes:
    """Return SessionData."""
    content: dict[str, object] = {}
    if ciphertext is not None:
        content["data"] = ciphertext
    if status is not None:
        content["status"] = status
    return cbor.encode(content)


def decode_data(message: bytes) -> tuple[bytes | None, int | None]:
    """Return ciphertext and status of SessionData. Raises MalformedCbor."""
    mapping = cbor.need(cbor.load(message), dict)
    data = cbor.field(mapping, "data", bytes) if "data" in mapping else None
    status = cbor.field(mapping, "status", int) if "status" in mapping else None
    if data is None and status is None:
        raise MalformedCbor("SessionData holds neither data nor status")
    return data, status


def _session_keys(
    own: ec.EllipticCurvePrivateKey, peer: ec.EllipticCurvePublicKey, transcript: Transcript
) -> tuple[bytes, bytes]:
    secret, salt = own.exchange(ec.ECDH(), peer), transcript.salt
    return _derive(secret, salt, b"SKReader"), _derive(secret, salt, b"SKDevice")


def _derive(secret: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=info).derive(secret)
