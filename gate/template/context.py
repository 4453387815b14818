"""What a sealed object is bound to: change any of it and the object does not open.

Shared by those who seal, those who open and the key agent, so nothing here can open anything.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

FORMAT_VERSION = 1
CREDENTIAL_ID_BYTES = 16
HASH_BYTES = 32
MODEL_ID_MAX = 64


class Purpose(IntEnum):
    """What a sealed object holds. Part of the format, of the AAD and of the HPKE info."""

    TEMPLATE = 1
    PIN = 2

    @property
    def label(self) -> bytes:
        """The first bytes of every HPKE info of this purpose.

        No label is the start of another, so a key sealed for one purpose cannot be asked for
        under the other.
        """
        return b"consentgate/1/%s\x00" % self.name.lower().encode()


def sha256(data: bytes) -> bytes:
    """Return the 32-byte hash that `SealContext` takes for consent record and auxiliary data."""
    return hashlib.sha256(data).digest()


@dataclass(frozen=True, repr=False)
class SealContext:
    """The facts of one credential that its sealed object is bound to.

    Args:
        purpose: template or PIN.
        credential_id: 16 random bytes of the card.
        model_id: printable ASCII, 1 to 64 characters; the embedder a template belongs to.
        consent_hash: SHA-256 of the consent record as signed on the card.
        aux_hash: SHA-256 of template_aux (ISO/IEC 24745 auxiliary data).
        expiry: end of the credential, with a time zone, in whole seconds.

    Raises:
        ValueError: a field has the wrong form.
    """

    purpose: Purpose
    credential_id: bytes
    model_id: str
    consent_hash: bytes
    aux_hash: bytes
    expiry: datetime

    def __post_init__(self) -> None:
        if len(self.credential_id) != CREDENTIAL_ID_BYTES:
            raise ValueError("credential_id is not 16 bytes")
        if len(self.consent_hash) != HASH_BYTES or len(self.aux_hash) != HASH_BYTES:
            raise ValueError("a context hash is not 32 bytes")
        check_model_id(self.model_id)
        if self.expiry.tzinfo is None or self.expiry.microsecond:
            raise ValueError("expiry needs a time zone and whole seconds")

    @classmethod
    def for_template(
        cls,
        credential_id: bytes,
        model_id: str,
        consent_record: bytes,
        template_aux: bytes,
        expiry: datetime,
    ) -> SealContext:
        """Return the context of the biometric template of one card."""
        return cls(
            Purpose.TEMPLATE,
            credential_id,
            model_id,
            sha256(consent_record),
            sha256(template_aux),
            expiry,
        )

    @classmethod
    def for_pin(cls, credential_id: bytes, expiry: datetime) -> SealContext:
        """Return the context of the PIN verifier of one card. It has no consent and no model."""
        none = sha256(b"")
        return cls(Purpose.PIN, credential_id, "argon2id", none, none, expiry)

    def _body(self) -> bytes:
        # Every field has a fixed length or its length in front: no two contexts share an encoding.
        model_id = self.model_id.encode("ascii")
        return b"".join(
            (
                self.credential_id,
                struct.pack(">B", len(model_id)),
                model_id,
                self.consent_hash,
                self.aux_hash,
                struct.pack(">q", int(self.expiry.timestamp())),
            )
        )

    def aad(self) -> bytes:
        """Return the additional authenticated data of the AES-256-GCM encryption."""
        head = b"consentgate/1/aad\x00" + bytes([FORMAT_VERSION, self.purpose])
        return head + self._body()

    def hpke_info(self) -> bytes:
        """Return the `info` of the HPKE key wrap (RFC 9180 section 5.1)."""
        return self.purpose.label + self._body()


def check_model_id(model_id: str) -> None:
    """Refuse a model id that has no single-byte-per-character form.

    Raises:
        ValueError: empty, longer than 64, or not printable ASCII.
    """
    printable = model_id.isascii() and model_id.isprintable() and model_id != ""
    if not printable or len(model_id) > MODEL_ID_MAX:
        raise ValueError("model_id is not 1 to 64 printable ASCII characters")
