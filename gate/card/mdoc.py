"""The structures of an mdoc: IssuerSigned, mobile security object (MSO), DeviceResponse.

Shapes only; whether they are true is decided in gate.card.response. Source: ISO/IEC 18013-5 8.3.2
and 9.1.2; the status reference is the mdoc form of the Token Status List specification.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import cbor2

from gate.card import cbor
from gate.card.cbor import EncodedCbor, MalformedCbor
from gate.card.cose import Mac0, Sign1

DEFAULT_DOC_TYPE: Final = "org.consentgate.staffpass.1"
"""docType and namespace of the staff pass."""

CREDENTIAL_ID: Final = "credential_id"
ACCESS_GROUPS: Final = "access_groups"
EXPIRY_DATE: Final = "expiry_date"
SEALED_TEMPLATE: Final = "sealed_template"
TEMPLATE_AUX: Final = "template_aux"
CONSENT_RECORD: Final = "consent_record"
PIN_VERIFIER: Final = "pin_verifier"

MANDATORY_ELEMENTS: Final = (CREDENTIAL_ID, ACCESS_GROUPS, EXPIRY_DATE)
OPTIONAL_ELEMENTS: Final = (SEALED_TEMPLATE, TEMPLATE_AUX, CONSENT_RECORD, PIN_VERIFIER)
ALL_ELEMENTS: Final = MANDATORY_ELEMENTS + OPTIONAL_ELEMENTS

_TDATE: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_FULL_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


@dataclass(frozen=True)
class StatusReference:
    """Where the issuer publishes whether this credential still holds."""

    uri: str
    index: int


@dataclass(frozen=True, repr=False)
class MobileSecurityObject:
    """What the issuer signed: digests of the elements, the device key, dates, docType."""

    doc_type: str
    digests: Mapping[str, Mapping[int, bytes]]
    device_key: object
    """COSE_Key as received; read by the device authentication step."""
    signed: datetime
    valid_from: datetime
    valid_until: datetime
    status: StatusReference | None

    @classmethod
    def parse(cls, payload: bytes) -> MobileSecurityObject:
        """Read MobileSecurityObjectBytes. Raises MalformedCbor."""
        mso = cbor.need(cbor.need(cbor.load(payload), EncodedCbor).load(), dict)
        if not cbor.field(mso, "version", str).startswith("1."):
            raise MalformedCbor("MSO is not of version 1")
        if cbor.field(mso, "digestAlgorithm", str) != "SHA-256":
            raise MalformedCbor("MSO does not use SHA-256")
        validity = cbor.field(mso, "validityInfo", dict)
        return cls(
            doc_type=cbor.field(mso, "docType", str),
            digests={
                cbor.need(name, str): _digests(cbor.need(entries, dict))
                for name, entries in cbor.field(mso, "valueDigests", dict).items()
            },
            device_key=cbor.field(cbor.field(mso, "deviceKeyInfo", dict), "deviceKey", dict),
            signed=_date_entry(validity, "signed"),
            valid_from=_date_entry(validity, "validFrom"),
            valid_until=_date_entry(validity, "validUntil"),
            status=_status(mso),
        )


@dataclass(frozen=True, repr=False)
class IssuerSignedItem:
    """One element with the salt and number its digest was made with."""

    encoded: EncodedCbor
    """IssuerSignedItemBytes as received: what the digest is over."""
    digest_id: int
    identifier: str
    value: object

    @classmethod
    def parse(cls, value: object) -> IssuerSignedItem:
        """Read IssuerSignedItemBytes. Raises MalformedCbor."""
        encoded = cbor.need(value, EncodedCbor)
        item = cbor.need(encoded.load(), dict)
        if len(cbor.field(item, "random", bytes)) < 16:
            raise MalformedCbor("element salt is shorter than 16 bytes")
        if "elementValue" not in item:
            raise MalformedCbor("element without a value")
        return cls(
            encoded,
            cbor.field(item, "digestID", int),
            cbor.field(item, "elementIdentifier", str),
            item["elementValue"],
        )


@dataclass(frozen=True, repr=False)
class IssuerSigned:
    """Everything of a document that the issuer made."""

    name_spaces: Mapping[str, tuple[IssuerSignedItem, ...]]
    issuer_auth: Sign1

    @classmethod
    def parse(cls, value: object) -> IssuerSigned:
        """Check the shape. Raises MalformedCbor."""
        mapping = cbor.need(value, dict)
        spaces = cbor.field(mapping, "nameSpaces", dict) if "nameSpaces" in mapping else {}
        return cls(
            {
                cbor.need(name, str): tuple(map(IssuerSignedItem.parse, cbor.need(items, list)))
                for name, items in spaces.items()
            },
            Sign1.parse(mapping.get("issuerAuth")),
        )

    def to_cbor(self) -> dict[str, object]:
        """Return the map for an encoder."""
        return {
            "nameSpaces": {
                name: [item.encoded for item in items] for name, items in self.name_spaces.items()
            },
            "issuerAuth": self.issuer_auth.to_cbor(),
        }


@dataclass(frozen=True, repr=False)
class DeviceSigned:
    """What the phone adds: its proof of holding the device key in this session."""

    name_spaces: EncodedCbor
    signature: Sign1 | None
    mac: Mac0 | None

    @classmethod
    def parse(cls, value: object) -> DeviceSigned:
        """Check the shape. Raises MalformedCbor."""
        mapping = cbor.need(value, dict)
        auth = cbor.field(mapping, "deviceAuth", dict)
        if len(auth) != 1:
            raise MalformedCbor("deviceAuth holds not exactly one proof")
        return cls(
            cbor.field(mapping, "nameSpaces", EncodedCbor),
            Sign1.parse(auth["deviceSignature"]) if "deviceSignature" in auth else None,
            Mac0.parse(auth["deviceMac"]) if "deviceMac" in auth else None,
        )

    def to_cbor(self) -> dict[str, object]:
        """Return the map for an encoder."""
        proof: dict[str, object] = {}
        if self.signature is not None:
            proof["deviceSignature"] = self.signature.to_cbor()
        if self.mac is not None:
            proof["deviceMac"] = self.mac.to_cbor()
        return {"nameSpaces": self.name_spaces, "deviceAuth": proof}


@dataclass(frozen=True, repr=False)
class Document:
    """One document of a response. `device_signed` is None when the phone left it out."""

    doc_type: str
    issuer_signed: IssuerSigned
    device_signed: DeviceSigned | None

    def to_cbor(self) -> dict[str, object]:
        """Return the map for an encoder."""
        content: dict[str, object] = {
            "docType": self.doc_type,
            "issuerSigned": self.issuer_signed.to_cbor(),
        }
        if self.device_signed is not None:
            content["deviceSigned"] = self.device_signed.to_cbor()
        return content


def parse_device_response(content: bytes) -> Document:
    """Return the one document of a DeviceResponse.

    Raises:
        MalformedCbor: malformed, an error status, or not exactly one document.
    """
    response = cbor.need(cbor.load(content), dict)
    if not cbor.field(response, "version", str).startswith("1."):
        raise MalformedCbor("DeviceResponse is not of version 1")
    if cbor.field(response, "status", int) != 0:
        raise MalformedCbor("DeviceResponse reports an error")
    documents = cbor.field(response, "documents", list)
    if len(documents) != 1:
        raise MalformedCbor(f"DeviceResponse holds {len(documents)} documents, one was asked for")
    document = cbor.need(documents[0], dict)
    return Document(
        cbor.field(document, "docType", str),
        IssuerSigned.parse(document.get("issuerSigned")),
        DeviceSigned.parse(document["deviceSigned"]) if "deviceSigned" in document else None,
    )


def encode_device_response(document: Document | None) -> bytes:
    """Return DeviceResponse with one document, or with none when the holder gives nothing."""
    content: dict[str, object] = {"version": "1.0", "status": 0}
    if document is not None:
        content["documents"] = [document.to_cbor()]
    return cbor.encode(content)


def encode_tdate(moment: datetime) -> cbor2.CBORTag:
    """Return a tdate in UTC without fractions, as ISO/IEC 18013-5 9.1.2.4 wants it."""
    text = moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
    return cbor2.CBORTag(cbor.TAG_TDATE, text)


def encode_full_date(day: date) -> cbor2.CBORTag:
    """Return a full-date (RFC 8943)."""
    return cbor2.CBORTag(cbor.TAG_FULL_DATE, day.isoformat())


def decode_tdate(value: object) -> datetime:
    """Return a tdate as UTC. Raises MalformedCbor."""
    text = cbor.tagged_text(value, cbor.TAG_TDATE)
    if not _TDATE.fullmatch(text):
        raise MalformedCbor("tdate is no RFC 3339 date-time")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise MalformedCbor("tdate is no RFC 3339 date-time") from None


def decode_expiry(value: object) -> datetime:
    """Return the moment an expiry ends: a tdate itself, or the end (UTC) of a full-date.

    Raises:
        MalformedCbor: neither.
    """
    if type(value) is cbor2.CBORTag and value.tag == cbor.TAG_TDATE:
        return decode_tdate(value)
    text = cbor.tagged_text(value, cbor.TAG_FULL_DATE)
    if not _FULL_DATE.fullmatch(text):
        raise MalformedCbor("full-date is no RFC 3339 date")
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC) + timedelta(days=1)
    except (ValueError, OverflowError):
        raise MalformedCbor("full-date is no RFC 3339 date") from None


def _digests(entries: Mapping[Any, Any]) -> dict[int, bytes]:
    return {cbor.need(number, int): cbor.need(digest, bytes) for number, digest in entries.items()}


def _date_entry(validity: Mapping[Any, Any], name: str) -> datetime:
    return decode_tdate(validity.get(name))


def _status(mso: Mapping[Any, Any]) -> StatusReference | None:
    if "status" not in mso:
        return None
    entry = cbor.field(cbor.field(mso, "status", dict), "status_list", dict)
    return StatusReference(cbor.field(entry, "uri", str), cbor.field(entry, "idx", int))
