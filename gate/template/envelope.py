"""The envelope of a sealed object: what a card carries, and how it opens.

Layout, version 1: version (1), purpose (1), model id length (1) and model id, kid (8),
wrapped key (113), nonce (12), ciphertext with tag (17 to 4096).
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gate.errors import TemplateRejected
from gate.template.context import FORMAT_VERSION, Purpose, SealContext, check_model_id
from gate.template.wrapping import CONTENT_KEY_BYTES, KID_BYTES, WRAPPED_BYTES

__all__ = ["ENVELOPE_MAX", "Envelope", "Purpose", "SealContext", "open_envelope"]

NONCE_BYTES = 12
CIPHERTEXT_MAX = 4096
ENVELOPE_MAX = 3 + 64 + KID_BYTES + WRAPPED_BYTES + NONCE_BYTES + CIPHERTEXT_MAX
_TAG_BYTES = 16


@dataclass(frozen=True, repr=False)
class Envelope:
    """One sealed object, not yet opened. Nothing in it is trusted before it opens."""

    purpose: Purpose
    model_id: str
    kid: bytes
    """Which template key the content key is wrapped to, see `wrapping.kid_of`."""
    wrapped: bytes
    """HPKE enc || ciphertext of the 32-byte content key."""
    nonce: bytes
    ciphertext: bytes
    version: int = FORMAT_VERSION

    def encode(self) -> bytes:
        """Return the bytes that the card carries."""
        model_id = self.model_id.encode("ascii")
        head = bytes([self.version, self.purpose, len(model_id)]) + model_id
        return head + self.kid + self.wrapped + self.nonce + self.ciphertext

    @classmethod
    def decode(cls, data: bytes) -> Envelope:
        """Return the envelope in `data`, strictly.

        Raises:
            TemplateRejected: not a version 1 envelope, torn, or too long.
        """
        if len(data) > ENVELOPE_MAX:
            raise TemplateRejected("sealed object is too long")
        if len(data) < 3 or data[0] != FORMAT_VERSION:
            raise TemplateRejected("not a version 1 sealed object")
        at = 3 + data[2]
        try:
            purpose = Purpose(data[1])
            model_id = data[3:at].decode("ascii")
            check_model_id(model_id)
        except ValueError:
            raise TemplateRejected("sealed object has an unknown purpose or model") from None
        end = at + KID_BYTES + WRAPPED_BYTES + NONCE_BYTES
        ciphertext = data[end:]
        if not _TAG_BYTES < len(ciphertext) <= CIPHERTEXT_MAX:
            raise TemplateRejected("sealed object is torn")
        return cls(
            purpose,
            model_id,
            kid=data[at : at + KID_BYTES],
            wrapped=data[at + KID_BYTES : end - NONCE_BYTES],
            nonce=data[end - NONCE_BYTES : end],
            ciphertext=ciphertext,
        )


def open_envelope(envelope: Envelope, content_key: bytes, context: SealContext) -> bytes:
    """Return the plaintext of a sealed object.

    Args:
        envelope: as decoded from the card.
        content_key: 32 bytes, as the key agent unwrapped them.
        context: what THIS card says about itself, not what the envelope says.

    Raises:
        TemplateRejected: sealed for another purpose, model or context, or damaged.
    """
    if envelope.purpose is not context.purpose:
        raise TemplateRejected("sealed for another purpose")
    if envelope.model_id != context.model_id:
        raise TemplateRejected(
            "sealed for another model", "enrol the person again with this gate's model pack"
        )
    if len(content_key) != CONTENT_KEY_BYTES:
        raise TemplateRejected("content key has the wrong length")
    try:
        return AESGCM(content_key).decrypt(envelope.nonce, envelope.ciphertext, context.aad())
    except InvalidTag:
        raise TemplateRejected("sealed object does not open in this context") from None
