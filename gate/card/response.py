"""The numbered steps from a DeviceResponse to a VerifiedCard (ISO/IEC 18013-5 9.3.1).

  1  issuer trust      the document signer was certified by a trusted IACA    UNTRUSTED_ISSUER
  2  issuer profile    usage, dates, shape of that certificate                ISSUER_PROFILE
  3  MSO signature     ES256 by the document signer                           MSO_SIGNATURE
  4  MSO dates         signed and validFrom <= now <= validUntil    NOT_YET_VALID, EXPIRED
  5  docType           asked for = document = MSO                             DOC_TYPE
  6  namespaces        every one that was sent is listed in the MSO           NAMESPACE
  7  digests           SHA-256 over each received tag-24 item                 DIGEST
  8  device            signature or MAC over THIS session's transcript        DEVICE_AUTH
  9  status            listed, fresh, not revoked                 STATUS_STALE, REVOKED
  10 elements          mandatory ones there, types right, expiry  UNREADABLE, EXPIRED

They run in this order and the first that fails names the refusal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from gate.card import cbor, cose, mdoc, session
from gate.card.cbor import EncodedCbor, MalformedCbor
from gate.card.mdoc import Document, MobileSecurityObject, StatusReference
from gate.card.session import Transcript
from gate.card.status_list import Status, StatusList
from gate.card.trust import check_document_signer, load_certificate, p256_key
from gate.card.verified import CardRefusal, Consent, Refused, VerifiedCard

_CREDENTIAL_ID_BYTES: Final = 16


@dataclass(frozen=True, repr=False)
class Expectation:
    """What a response is checked against."""

    doc_type: str
    roots: Sequence[x509.Certificate]
    """Trusted issuing authorities (IACA)."""
    status: StatusList | None
    """The list whose signature was checked, or None when there is none."""
    transcript: Transcript
    e_reader_key: ec.EllipticCurvePrivateKey
    now: datetime


def device_authentication(transcript: Transcript, doc_type: str, name_spaces: EncodedCbor) -> bytes:
    """Return DeviceAuthenticationBytes, by concatenation of what both sides saw."""
    head = b"\x84" + cbor.encode("DeviceAuthentication")
    return EncodedCbor.wrap(head + transcript.raw + cbor.encode(doc_type) + name_spaces.raw).raw


def verify_response(content: bytes, expected: Expectation) -> VerifiedCard | Refused:
    """Take a decrypted DeviceResponse through all steps. Never raises for what the card says."""
    try:
        document = mdoc.parse_device_response(content)
        issuer_auth = document.issuer_signed.issuer_auth
        signer = load_certificate(cose.x5chain(issuer_auth))
        if issuer_auth.payload is None:
            return Refused(CardRefusal.MSO_SIGNATURE)
        mso = MobileSecurityObject.parse(issuer_auth.payload)
    except MalformedCbor:
        return Refused(CardRefusal.UNREADABLE)
    # Steps 1 and 2.
    if signer is None:
        return Refused(CardRefusal.ISSUER_PROFILE)
    refusal = check_document_signer(signer, expected.roots, expected.now)
    if refusal is not None:
        return Refused(refusal)
    # Step 3. From here on the MSO is the issuer's word.
    if not issuer_auth.is_signed_by(p256_key(signer)):
        return Refused(CardRefusal.MSO_SIGNATURE)
    refusal = (
        _check_dates(mso, signer, expected.now)  # step 4
        or _check_doc_type(document, mso, expected.doc_type)  # step 5
        or _check_digests(document, mso)  # steps 6 and 7
        or _check_device(document, mso, expected)  # step 8
    )
    if refusal is not None:
        return Refused(refusal)
    # Step 9.
    if mso.status is None:
        return Refused(CardRefusal.STATUS_STALE)
    status = _read_status(mso.status, expected.status, expected.now)
    if isinstance(status, CardRefusal):
        return Refused(status)
    # Step 10.
    try:
        card = _read_elements(document, expected, mso, mso.status, status)
    except MalformedCbor:
        return Refused(CardRefusal.UNREADABLE)
    return card if expected.now <= card.expiry else Refused(CardRefusal.EXPIRED)


def standing(
    card: VerifiedCard, status_list: StatusList | None, now: datetime
) -> Consent | CardRefusal:
    """Take a verified card through steps 4, 9 and 10 once more, right before a grant.

    Minutes may lie between the tap and the grant: the card may have ended or been revoked, or
    its consent withdrawn, in the meantime.
    """
    if now > min(card.expiry, card.valid_until):
        return CardRefusal.EXPIRED
    return _read_status(StatusReference(card.status_uri, card.status_index), status_list, now)


def _check_dates(
    mso: MobileSecurityObject, signer: x509.Certificate, now: datetime
) -> CardRefusal | None:
    if not signer.not_valid_before_utc <= mso.signed <= signer.not_valid_after_utc:
        return CardRefusal.MSO_SIGNATURE
    if now < mso.signed or now < mso.valid_from:
        return CardRefusal.NOT_YET_VALID
    return CardRefusal.EXPIRED if now > mso.valid_until else None


def _check_doc_type(
    document: Document, mso: MobileSecurityObject, wanted: str
) -> CardRefusal | None:
    return None if document.doc_type == mso.doc_type == wanted else CardRefusal.DOC_TYPE


def _check_digests(document: Document, mso: MobileSecurityObject) -> CardRefusal | None:
    for name, items in document.issuer_signed.name_spaces.items():
        listed = mso.digests.get(name)
        if listed is None:
            return CardRefusal.NAMESPACE
        for item in items:
            if listed.get(item.digest_id) != hashlib.sha256(item.encoded.raw).digest():
                return CardRefusal.DIGEST
    return None


def _check_device(
    document: Document, mso: MobileSecurityObject, expected: Expectation
) -> CardRefusal | None:
    device_signed = document.device_signed
    if device_signed is None:
        return CardRefusal.DEVICE_AUTH
    try:
        device_key = cose.decode_key(mso.device_key)
        claimed = cbor.need(device_signed.name_spaces.load(), dict)
    except MalformedCbor:
        return CardRefusal.DEVICE_AUTH
    if claimed:
        # Elements the phone signs for itself: our issuers authorise none.
        return CardRefusal.NAMESPACE
    signed = device_authentication(
        expected.transcript, document.doc_type, device_signed.name_spaces
    )
    proven = False
    if device_signed.signature is not None:
        proven = device_signed.signature.is_signed_by(device_key, detached_payload=signed)
    elif device_signed.mac is not None:
        key = session.mac_key(expected.e_reader_key, device_key, expected.transcript)
        proven = device_signed.mac.is_tagged_by(key, detached_payload=signed)
    return None if proven else CardRefusal.DEVICE_AUTH


def _read_status(
    reference: StatusReference, status_list: StatusList | None, now: datetime
) -> Consent | CardRefusal:
    if status_list is None or not status_list.is_fresh(now):
        return CardRefusal.STATUS_STALE
    if reference.uri != status_list.uri:
        return CardRefusal.STATUS_STALE
    try:
        status = status_list[reference.index]
    except IndexError:
        return CardRefusal.STATUS_STALE
    if status == Status.VALID:
        return Consent.LIVE
    # Anything that is neither valid nor the one meaning that spares the card is a revocation.
    return Consent.WITHDRAWN if status == Status.CONSENT_WITHDRAWN else CardRefusal.REVOKED


def _read_elements(
    document: Document,
    expected: Expectation,
    mso: MobileSecurityObject,
    reference: StatusReference,
    consent: Consent,
) -> VerifiedCard:
    values: dict[str, object] = {}
    for item in document.issuer_signed.name_spaces.get(expected.doc_type, ()):
        if item.identifier in values:
            raise MalformedCbor("an element was sent twice")
        values[item.identifier] = item.value
    credential_id = cbor.field(values, mdoc.CREDENTIAL_ID, bytes)
    if len(credential_id) != _CREDENTIAL_ID_BYTES:
        raise MalformedCbor("credential_id is not 16 bytes")
    return VerifiedCard(
        credential_id=credential_id,
        access_groups=tuple(
            cbor.need(group, str) for group in cbor.field(values, mdoc.ACCESS_GROUPS, list)
        ),
        expiry=mdoc.decode_expiry(values.get(mdoc.EXPIRY_DATE)),
        valid_until=mso.valid_until,
        status_uri=reference.uri,
        status_index=reference.index,
        consent=consent,
        sealed_template=_optional_bytes(values, mdoc.SEALED_TEMPLATE),
        template_aux=_optional_bytes(values, mdoc.TEMPLATE_AUX),
        consent_record=_optional_bytes(values, mdoc.CONSENT_RECORD),
        pin_verifier=_optional_bytes(values, mdoc.PIN_VERIFIER),
        session_id=expected.transcript.session_id,
    )


def _optional_bytes(values: Mapping[str, object], identifier: str) -> bytes | None:
    return cbor.field(values, identifier, bytes) if identifier in values else None
