"""The signed question to the phone: DeviceRequest with reader authentication.

Asks for named elements only, never for a name, and promises not to keep them
(`intentToRetain = false`). Source: ISO/IEC 18013-5 8.3.2.1.2.1 and 9.1.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gate.card import cbor, cose
from gate.card.cbor import EncodedCbor, MalformedCbor
from gate.card.cose import Sign1
from gate.card.session import Transcript


@dataclass(frozen=True)
class ItemsRequest:
    """What a reader asks of one docType, as a holder reads it."""

    doc_type: str
    elements: dict[str, tuple[str, ...]]
    """Element identifiers by namespace."""
    retains: bool
    """Whether the reader means to keep any of them."""


def reader_authentication(transcript: Transcript, items: EncodedCbor) -> bytes:
    """Return ReaderAuthenticationBytes, by concatenation of what both sides saw."""
    head = b"\x83" + cbor.encode("ReaderAuthentication")
    return EncodedCbor.wrap(head + transcript.raw + items.raw).raw


def build_device_request(
    doc_type: str,
    elements: Sequence[str],
    transcript: Transcript,
    key: ec.EllipticCurvePrivateKey,
    certificate: x509.Certificate,
) -> bytes:
    """Return DeviceRequest for `elements` of the namespace named like `doc_type`."""
    name_spaces = {doc_type: dict.fromkeys(elements, False)}
    items = EncodedCbor.wrap(cbor.encode({"docType": doc_type, "nameSpaces": name_spaces}))
    reader_auth = Sign1.create(
        key,
        reader_authentication(transcript, items),
        detached=True,
        unprotected={cose.HEADER_X5CHAIN: certificate.public_bytes(serialization.Encoding.DER)},
    )
    document = {"itemsRequest": items, "readerAuth": reader_auth.to_cbor()}
    return cbor.encode({"version": "1.0", "docRequests": [document]})


def parse_device_request(content: bytes) -> tuple[EncodedCbor, ItemsRequest, Sign1 | None]:
    """Return the one document request and its readerAuth, unchecked. Raises MalformedCbor."""
    request = cbor.need(cbor.load(content), dict)
    if not cbor.field(request, "version", str).startswith("1."):
        raise MalformedCbor("DeviceRequest is not of version 1")
    documents = cbor.field(request, "docRequests", list)
    if len(documents) != 1:
        raise MalformedCbor("DeviceRequest asks for not exactly one document")
    document = cbor.need(documents[0], dict)
    encoded = cbor.field(document, "itemsRequest", EncodedCbor)
    auth = Sign1.parse(document["readerAuth"]) if "readerAuth" in document else None
    return encoded, _items(cbor.need(encoded.load(), dict)), auth


def _items(items: dict[object, object]) -> ItemsRequest:
    elements: dict[str, tuple[str, ...]] = {}
    retains = False
    for name, wanted in cbor.field(items, "nameSpaces", dict).items():
        entries = cbor.need(wanted, dict)
        elements[cbor.need(name, str)] = tuple(cbor.need(entry, str) for entry in entries)
        retains = retains or any(cbor.need(intent, bool) for intent in entries.values())
    return ItemsRequest(cbor.field(items, "docType", str), elements, retains)
