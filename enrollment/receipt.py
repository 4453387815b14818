"""The consent receipt: a JSON file for the person, which verifies on their own device.

It repeats the record in words and holds the explanation as it was shown. Verifying checks the
signature, that the words say what the signed bytes say, and that the explanation is the one the
record names.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from enrollment.consent import ITEMS, PURPOSE, SCHEMA_VERSION, ConsentRecord, State, verify
from enrollment.errors import ConsentInvalid
from enrollment.notice import Notice

TYPE = "consentgate.consent-receipt.1"
MAX_RECEIPT_BYTES = 32 * 1024


def make_receipt(record: ConsentRecord, notice: Notice | None) -> bytes:
    """Return the receipt: UTF-8 JSON.

    Args:
        record: given or withdrawn.
        notice: the explanation that was shown when consent was given; None when it is no longer
            at hand at a withdrawal, which must never fail for that.
    """
    receipt = {
        "type": TYPE,
        "consent": _words(record),
        "notice": None if notice is None else notice.text,
        "signed_record": base64.b64encode(record.signed).decode(),
    }
    return json.dumps(receipt, ensure_ascii=False, indent=2).encode() + b"\n"


def verify_receipt(raw: bytes, public_key: Ed25519PublicKey) -> ConsentRecord:
    """Return the record behind a receipt, or refuse the receipt.

    Raises:
        ConsentInvalid: malformed, not signed by this key, or its words differ from the record.
    """
    try:
        if len(raw) > MAX_RECEIPT_BYTES:
            raise ValueError
        receipt = json.loads(raw)
        if set(receipt) != {"type", "consent", "notice", "signed_record"}:
            raise ValueError
        if receipt["type"] != TYPE:
            raise ValueError
        signed = base64.b64decode(receipt["signed_record"], validate=True)
        notice: str | None = receipt["notice"]
        notice_sha256 = None if notice is None else hashlib.sha256(notice.encode()).digest()
    except (ValueError, TypeError, AttributeError, RecursionError, binascii.Error):
        raise ConsentInvalid("not a consent receipt", "give the JSON file handed out") from None
    record = verify(signed, public_key)
    if receipt["consent"] != _words(record):
        raise ConsentInvalid("the receipt's words are not what was signed", "it was changed")
    if notice_sha256 is None and record.state is State.GIVEN:
        raise ConsentInvalid("the receipt lacks the explanation shown", "it was changed")
    if notice_sha256 not in (None, record.notice_sha256):
        raise ConsentInvalid("the receipt's explanation is not the one shown", "it was changed")
    return record


def _words(record: ConsentRecord) -> dict[str, Any]:
    """Spell the record out under the names of ISO/IEC TS 27560."""
    return {
        "schema_version": SCHEMA_VERSION,
        "record_id": record.record_id.hex(),
        "consent_state": record.state.value,
        "notice_language": record.language.value,
        "privacy_notice_sha256": record.notice_sha256.hex(),
        "given_at": record.given_at.isoformat(),
        "expires_at": record.expires_at.isoformat(),
        "withdrawn_at": record.withdrawn_at.isoformat() if record.withdrawn_at else None,
        "purpose": PURPOSE,
        "pii_categories": list(ITEMS),
        "demo": record.demo,
    }
