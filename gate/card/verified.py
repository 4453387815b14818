"""What is left of a card once every verification step has passed, and the refusals."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class Consent(Enum):
    """Whether the biometric consent of this credential is live, by the signed status list."""

    LIVE = "live"
    WITHDRAWN = "withdrawn"


class CardRefusal(Enum):
    """Which verification step failed. Numbered steps: gate/card/response.py."""

    UNREADABLE = "unreadable"
    """No well-formed answer: torn, truncated, not CBOR, wrong session key."""
    UNTRUSTED_ISSUER = "untrusted_issuer"
    ISSUER_PROFILE = "issuer_profile"
    """Document signer certificate with the wrong usage, dates or shape."""
    MSO_SIGNATURE = "mso_signature"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    """Also: this gate's clock is behind the card's date."""
    DOC_TYPE = "doc_type"
    NAMESPACE = "namespace"
    DIGEST = "digest"
    DEVICE_AUTH = "device_auth"
    """Right data, wrong device key: a clone, or a replay of another session."""
    REVOKED = "revoked"
    STATUS_STALE = "status_stale"
    """The status list is missing, expired or badly signed: fail closed."""


@dataclass(frozen=True)
class Refused:
    """The card was read but not accepted."""

    step: CardRefusal


@dataclass(frozen=True, repr=False)
class VerifiedCard:
    """The least the gate needs. No name, and nothing of it is ever logged.

    Byte fields are exactly the element values that the issuer signed.
    """

    credential_id: bytes
    """16 random bytes."""
    access_groups: tuple[str, ...]
    expiry: datetime
    valid_until: datetime
    """End of the issuer's signature; the card ends with the earlier of the two."""
    status_uri: str
    status_index: int
    """Where the status list says whether this card still stands."""
    consent: Consent
    sealed_template: bytes | None
    """gate.template.envelope bytes, or None for a card without a template."""
    template_aux: bytes | None
    consent_record: bytes | None
    pin_verifier: bytes | None
    """gate.template.envelope bytes of the sealed argon2id verifier, or None."""
    session_id: bytes
    """16 bytes that name this card session to the key agent; another one at every tap."""
