"""Sealing: needs only the site's public template key, so an issuer can never open."""

from __future__ import annotations

import os
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gate.template.context import SealContext
from gate.template.envelope import CIPHERTEXT_MAX, NONCE_BYTES, Envelope
from gate.template.wrapping import CONTENT_KEY_BYTES, TAG_BYTES, kid_of, wrap

RandomBytes = Callable[[int], bytes]
"""Returns that many unpredictable bytes."""


def seal(
    plaintext: bytes,
    context: SealContext,
    site_public_key: ec.EllipticCurvePublicKey,
    random_bytes: RandomBytes = os.urandom,
) -> bytes:
    """Return the envelope bytes of `plaintext`, openable only in this context at this site.

    Args:
        plaintext: 1 to 4080 bytes.
        context: what the object is bound to.
        site_public_key: the site's template key, P-256.
        random_bytes: source of the content key and the nonce.

    Raises:
        ValueError: empty or too long plaintext, or a key on another curve.
    """
    if not 0 < len(plaintext) <= CIPHERTEXT_MAX - TAG_BYTES:
        raise ValueError("plaintext is empty or too long to seal")
    if not isinstance(site_public_key.curve, ec.SECP256R1):
        raise ValueError("the site's template key is not on P-256")
    content_key = random_bytes(CONTENT_KEY_BYTES)
    nonce = random_bytes(NONCE_BYTES)
    return Envelope(
        purpose=context.purpose,
        model_id=context.model_id,
        kid=kid_of(site_public_key),
        wrapped=wrap(content_key, context.hpke_info(), site_public_key),
        nonce=nonce,
        ciphertext=AESGCM(content_key).encrypt(nonce, plaintext, context.aad()),
    ).encode()
