"""What is on a card, in words. No secret and nothing that opens anything."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from enrollment.errors import EnrolmentRefused, UnknownCard
from enrollment.issue import access_groups_of, consent_on, credential_id_of
from enrollment.registry import Registry, State
from enrollment.site import Site
from enrollment.wallet import Wallet
from gate.card import mdoc
from gate.errors import GateError
from gate.template.envelope import Envelope


def describe(wallet: Wallet, now: datetime, site: Site | None) -> dict[str, Any]:
    """Return the facts of one card for its holder.

    Args:
        wallet: the card.
        now: aware.
        site: checks the consent record and looks the card up in its registry; else unchecked.

    Raises:
        GateError: the card's elements are malformed, or the registry cannot be read.
    """
    elements = wallet.elements
    sealed = elements.get(mdoc.SEALED_TEMPLATE)
    mso = wallet.mso
    state = (
        "expired" if now > mso.valid_until else "not yet valid" if now < mso.valid_from else "ok"
    )
    return {
        "card": credential_id_of(wallet).hex(),
        "type": wallet.doc_type,
        "valid_from": mso.valid_from.isoformat(),
        "valid_until": mso.valid_until.isoformat(),
        "dates": state,
        "opens": list(access_groups_of(wallet)),
        "pin": mdoc.PIN_VERIFIER in elements,
        "face": Envelope.decode(sealed).model_id if isinstance(sealed, bytes) else None,
        "face_bytes": len(sealed) if isinstance(sealed, bytes) else 0,
        "status": None if site is None else _status(wallet, site.registry),
        "consent": _consent(wallet, None if site is None else site.consent_public_key),
    }


def in_words(facts: dict[str, Any]) -> str:
    """Return the facts as text."""
    face = (
        f"one face template, sealed ({facts['face_bytes']} bytes, model {facts['face']}); only a "
        "gate of the site opens it, and only while consent lives"
        if facts["face"]
        else "none"
    )
    rows = [
        ("card", facts["card"]),
        ("type", facts["type"]),
        ("valid", f"{facts['valid_from'][:10]} to {facts['valid_until'][:10]} ({facts['dates']})"),
        ("status", _STATUS_WORDS[facts["status"]]),
        ("opens", ", ".join(facts["opens"])),
        ("PIN", "set, sealed to the site" if facts["pin"] else "none"),
        ("face", face),
        ("consent", facts["consent"] or "none, none needed"),
    ]
    return "\n".join(f"{name:<8} {value}" for name, value in rows)


_STATES = {
    State.VALID: "valid",
    State.REVOKED: "revoked",
    State.CONSENT_WITHDRAWN: "consent_withdrawn",
}
_STATUS_WORDS = {
    None: "not checked; name the site with --site",
    "valid": "not revoked",
    "revoked": "REVOKED: no gate of the site opens to it",
    "consent_withdrawn": "consent WITHDRAWN: no gate opens the face template; card and PIN work",
    "unknown": "NOT in this site's registry (issued elsewhere, or expired and forgotten)",
}


def _status(wallet: Wallet, registry: Registry) -> str:
    """Say what the issuer's registry says; gates learn it with the next status list."""
    try:
        return _STATES[registry.find(credential_id_of(wallet)).state]
    except UnknownCard:
        return "unknown"


def _consent(wallet: Wallet, key: Ed25519PublicKey | None) -> str | None:
    if mdoc.CONSENT_RECORD not in wallet.elements:
        return None
    if key is None:
        return "recorded (not checked; name the site with --site)"
    try:
        record = consent_on(wallet, key)
    except EnrolmentRefused as error:
        return f"NOT valid: {error.what}"
    except GateError as error:
        return f"NOT readable: {error.what}"
    return f"{record.state.value} on {record.given_at:%Y-%m-%d}, until {record.expires_at:%Y-%m-%d}"
