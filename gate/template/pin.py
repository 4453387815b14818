"""The PIN of the card + PIN lane: Argon2id (RFC 9106) inside an envelope.

The envelope is what protects a short PIN: who reads a card cannot try PINs offline.
"""

from __future__ import annotations

import os
import re

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from gate.errors import TemplateRejected
from gate.template.context import Purpose, SealContext
from gate.template.seal import RandomBytes, seal

_PIN = re.compile(r"[0-9]{4,12}")
# RFC 9106 section 4, second recommended option, but one lane: a gate has two cores to share.
_MEMORY_KIB, _ITERATIONS, _LANES = 65536, 3, 1
_PHC = re.compile(r"\$argon2id\$v=19\$m=(\d{1,6}),t=(\d{1,2}),p=(\d)\$[\w+/]{11,88}\$[\w+/]{22,88}")


def is_pin(text: str) -> bool:
    """Whether `text` has the form of a PIN: 4 to 12 ASCII digits."""
    return _PIN.fullmatch(text) is not None


def seal_pin(
    pin: str,
    context: SealContext,
    site_public_key: ec.EllipticCurvePublicKey,
    random_bytes: RandomBytes = os.urandom,
) -> bytes:
    """Return the envelope bytes of a PIN verifier.

    Args:
        pin: 4 to 12 ASCII digits.
        context: of purpose PIN, see `SealContext.for_pin`.
        site_public_key: the site's template key, P-256.
        random_bytes: source of salt, content key and nonce.

    Raises:
        ValueError: not a PIN, or a context of another purpose.
    """
    if not is_pin(pin):
        raise ValueError("a PIN is 4 to 12 digits")
    if context.purpose is not Purpose.PIN:
        raise ValueError("a PIN needs a context of purpose PIN")
    kdf = Argon2id(
        salt=random_bytes(16),
        length=32,
        iterations=_ITERATIONS,
        lanes=_LANES,
        memory_cost=_MEMORY_KIB,
    )
    phc = kdf.derive_phc_encoded(pin.encode("ascii"))
    return seal(phc.encode("ascii"), context, site_public_key, random_bytes)


def check_pin(pin: str, opened: bytes) -> bool:
    """Whether `pin` is the card's PIN. The comparison takes constant time.

    Args:
        pin: as typed; anything that is no PIN is simply wrong.
        opened: plaintext of the card's PIN envelope.

    Raises:
        TemplateRejected: `opened` is not an Argon2id verifier of bearable cost.
    """
    try:
        phc = opened.decode("ascii")
    except ValueError:
        phc = ""
    match = _PHC.fullmatch(phc)
    # A hostile issuer could otherwise make every gate compute for minutes.
    bearable = match is not None and (
        8 <= int(match[1]) <= 262144 and 1 <= int(match[2]) <= 10 and 1 <= int(match[3]) <= 4
    )
    if not bearable:
        raise TemplateRejected("opened object is not a PIN verifier")
    typed = pin.encode("ascii") if is_pin(pin) else b""
    try:
        Argon2id.verify_phc_encoded(typed, phc)
    except InvalidKey:
        return False
    except ValueError:
        raise TemplateRejected("opened object is not a PIN verifier") from None
    return typed != b""
