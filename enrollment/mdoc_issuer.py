"""Issue the staff pass: salt and digest the elements, sign the mobile security object.

Source: ISO/IEC 18013-5 8.3.2.1.2.2 (IssuerSigned) and 9.1.2.4 (MSO).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from enrollment.pki import DocumentSigner
from gate.card import cbor, cose, mdoc
from gate.card.cbor import EncodedCbor
from gate.card.cose import Sign1

_SALT_BYTES: Final = 16
_CREDENTIAL_ID_BYTES: Final = 16


def issue_mdoc(
    elements: Mapping[str, object],
    device_key_public: ec.EllipticCurvePublicKey,
    ds: DocumentSigner,
    status_index: int,
    status_uri: str,
    valid_from: datetime,
    valid_until: datetime,
    random_bytes: Callable[[int], bytes],
    *,
    doc_type: str = mdoc.DEFAULT_DOC_TYPE,
) -> bytes:
    """Return IssuerSigned: what goes onto the card.

    Args:
        elements: `credential_id` (16 bytes), `access_groups` (texts), `expiry_date` (date or
            datetime), and any of the optional byte elements; see gate.card.mdoc.ALL_ELEMENTS.
        device_key_public: P-256 key whose private half never leaves the phone.
        ds: signs; its certificate travels with the card.
        status_index: the credential's place in the status list.
        status_uri: name of that list, equal to the list's `sub`.
        valid_from: timezone-aware; also the date of signing.
        valid_until: timezone-aware, not after the document signer's certificate ends.
        random_bytes: salts come from here.
        doc_type: docType and namespace.

    Raises:
        ValueError: an unknown, missing or wrongly typed element, or dates that no gate accepts.
    """
    _check_dates(ds, valid_from, valid_until)
    items = [
        EncodedCbor.wrap(
            cbor.encode(
                {
                    "digestID": number,
                    "random": random_bytes(_SALT_BYTES),
                    "elementIdentifier": identifier,
                    "elementValue": value,
                }
            )
        )
        for number, (identifier, value) in enumerate(_element_values(elements).items())
    ]
    digests = {n: hashlib.sha256(item.raw).digest() for n, item in enumerate(items)}
    mso = {
        "version": "1.0",
        "digestAlgorithm": "SHA-256",
        "valueDigests": {doc_type: digests},
        "deviceKeyInfo": {"deviceKey": cose.encode_key(device_key_public)},
        "docType": doc_type,
        "validityInfo": {
            "signed": mdoc.encode_tdate(valid_from),
            "validFrom": mdoc.encode_tdate(valid_from),
            "validUntil": mdoc.encode_tdate(valid_until),
        },
        "status": {"status_list": {"idx": status_index, "uri": status_uri}},
    }
    issuer_auth = Sign1.create(
        ds.key,
        EncodedCbor.wrap(cbor.encode(mso)).raw,
        unprotected={cose.HEADER_X5CHAIN: ds.certificate.public_bytes(serialization.Encoding.DER)},
    )
    return cbor.encode({"nameSpaces": {doc_type: items}, "issuerAuth": issuer_auth.to_cbor()})


def _check_dates(ds: DocumentSigner, valid_from: datetime, valid_until: datetime) -> None:
    if not valid_from < valid_until:
        raise ValueError("the card would end before it begins")
    certificate = ds.certificate
    if valid_from < certificate.not_valid_before_utc:
        raise ValueError("the card would begin before its document signer's certificate")
    if valid_until > certificate.not_valid_after_utc:
        raise ValueError("the card would outlive its document signer's certificate")


def _element_values(elements: Mapping[str, object]) -> dict[str, object]:
    """Check every element and return its CBOR form, in the order of ALL_ELEMENTS."""
    unknown = elements.keys() - set(mdoc.ALL_ELEMENTS)
    missing = set(mdoc.MANDATORY_ELEMENTS) - elements.keys()
    if unknown or missing:
        raise ValueError(f"elements unknown: {sorted(unknown)}, missing: {sorted(missing)}")
    return {
        identifier: _element_value(identifier, elements[identifier])
        for identifier in mdoc.ALL_ELEMENTS
        if identifier in elements
    }


def _element_value(identifier: str, value: object) -> object:
    if identifier == mdoc.EXPIRY_DATE:
        if isinstance(value, datetime):
            return mdoc.encode_tdate(value)
        if isinstance(value, date):
            return mdoc.encode_full_date(value)
        raise ValueError("expiry_date is neither a date nor a datetime")
    if identifier == mdoc.ACCESS_GROUPS:
        if isinstance(value, str | bytes) or not isinstance(value, list | tuple):
            raise ValueError("access_groups is not a list of texts")
        if not all(isinstance(group, str) for group in value):
            raise ValueError("access_groups is not a list of texts")
        return list(value)
    if not isinstance(value, bytes):
        raise ValueError(f"{identifier} is not bytes")
    if identifier == mdoc.CREDENTIAL_ID and len(value) != _CREDENTIAL_ID_BYTES:
        raise ValueError("credential_id is not 16 bytes")
    return value
