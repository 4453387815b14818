"""Engagement over NFC: the NDEF Handover Select message and what goes into the transcript.

Source: ISO/IEC 18013-5 8.2.1 and 8.2.2 (device engagement, static handover), NFC Forum Connection
Handover 1.5 (Hs, ac), NFC Forum NDEF 1.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from gate.card import cbor, cose
from gate.card.cbor import EncodedCbor, MalformedCbor
from gate.errors import ProtocolViolation

_TNF_WELL_KNOWN: Final = 1
_TNF_EXTERNAL: Final = 4
_HANDOVER_VERSION: Final = 0x15
_ENGAGEMENT_TYPE: Final = b"iso.org:18013:deviceengagement"
_NFC_TYPE: Final = b"iso.org:18013:nfc"
_ENGAGEMENT_ID: Final = b"mdoc"
_NFC_ID: Final = b"nfc"
_CIPHER_SUITE: Final = 1
_MAX_MESSAGE_BYTES: Final = 4096


@dataclass(frozen=True)
class NdefRecord:
    """One short or long NDEF record, never chunked."""

    tnf: int
    kind: bytes
    payload: bytes
    identifier: bytes = b""


@dataclass(frozen=True)
class NfcLimits:
    """What the phone takes in one command and gives in one response (ISO/IEC 18013-5 8.2.2.2)."""

    command_bytes: int
    response_bytes: int


@dataclass(frozen=True, repr=False)
class DeviceEngagement:
    """What the phone said before the session: its ephemeral key, with the bytes it said it in."""

    encoded: EncodedCbor
    """DeviceEngagementBytes."""
    e_device_key: ec.EllipticCurvePublicKey
    limits: NfcLimits


def encode_device_engagement(e_device_key: ec.EllipticCurvePublicKey) -> bytes:
    """Return DeviceEngagement for NFC: version and security, no other transports."""
    key = EncodedCbor.wrap(cbor.encode(cose.encode_key(e_device_key)))
    return cbor.encode({0: "1.0", 1: [_CIPHER_SUITE, key]})


def decode_device_engagement(content: bytes, limits: NfcLimits) -> DeviceEngagement:
    """Check DeviceEngagement. Raises MalformedCbor."""
    mapping = cbor.need(cbor.load(content), dict)
    if not cbor.field(mapping, 0, str).startswith("1."):
        raise MalformedCbor("DeviceEngagement is not of version 1")
    security = cbor.field(mapping, 1, list)
    if len(security) != 2 or security[0] != _CIPHER_SUITE:
        raise MalformedCbor("DeviceEngagement asks for an unknown cipher suite")
    key = cose.decode_key(cbor.need(security[1], EncodedCbor).load())
    return DeviceEngagement(EncodedCbor.wrap(content), key, limits)


def handover_bytes(select: bytes, request: bytes | None = None) -> bytes:
    """Return NFCHandover: `[Hs, null]` for static, `[Hs, Hr]` for negotiated handover."""
    return (
        b"\x82"
        + cbor.byte_string(select)
        + (b"\xf6" if request is None else cbor.byte_string(request))
    )


def encode_handover_select(engagement: bytes, limits: NfcLimits) -> bytes:
    """Return the static Handover Select message that offers data transfer over NFC."""
    # Alternative carrier: state active, one carrier reference, one auxiliary reference.
    carrier = b"\x01" + _counted(_NFC_ID) + b"\x01" + _counted(_ENGAGEMENT_ID)
    inner = encode_ndef([NdefRecord(_TNF_WELL_KNOWN, b"ac", carrier)])
    configuration = (
        b"\x01"
        + _counted(b"\x01" + limits.command_bytes.to_bytes(2, "big"))
        + _counted(b"\x02" + limits.response_bytes.to_bytes(2, "big"))
    )
    return encode_ndef(
        [
            NdefRecord(_TNF_WELL_KNOWN, b"Hs", bytes([_HANDOVER_VERSION]) + inner),
            NdefRecord(_TNF_EXTERNAL, _ENGAGEMENT_TYPE, engagement, _ENGAGEMENT_ID),
            NdefRecord(_TNF_EXTERNAL, _NFC_TYPE, configuration, _NFC_ID),
        ]
    )


def decode_handover_select(message: bytes) -> DeviceEngagement:
    """Find the engagement and the NFC carrier in a static Handover Select message.

    Raises:
        ProtocolViolation: malformed, no engagement, or no data transfer over NFC (also when the
            phone wants negotiated handover: it then offers a TNEP service record instead).
    """
    records = decode_ndef(message)
    if records[0].kind != b"Hs" or records[0].tnf != _TNF_WELL_KNOWN:
        raise ProtocolViolation("the phone's NDEF message is no static Handover Select")
    if records[0].payload[:1] not in (b"\x15", b"\x14", b"\x13", b"\x12"):
        raise ProtocolViolation("the phone's Handover Select is of another version")
    engagement = _only(records, _ENGAGEMENT_TYPE)
    return decode_device_engagement(engagement.payload, _limits(_only(records, _NFC_TYPE).payload))


def encode_ndef(records: list[NdefRecord]) -> bytes:
    """Return the records as one NDEF message."""
    out = bytearray()
    for index, record in enumerate(records):
        flags = record.tnf
        flags |= 0x80 if index == 0 else 0
        flags |= 0x40 if index == len(records) - 1 else 0
        flags |= 0x10 if len(record.payload) < 256 else 0
        flags |= 0x08 if record.identifier else 0
        out += bytes([flags, len(record.kind)])
        out += len(record.payload).to_bytes(1 if flags & 0x10 else 4, "big")
        if record.identifier:
            out.append(len(record.identifier))
        out += record.kind + record.identifier + record.payload
    return bytes(out)


def decode_ndef(message: bytes) -> list[NdefRecord]:
    """Split one NDEF message into its records.

    Raises:
        ProtocolViolation: torn, chunked, trailing bytes, or flags out of order.
    """
    if not message or len(message) > _MAX_MESSAGE_BYTES:
        raise ProtocolViolation("NDEF message is empty or too long")
    records: list[NdefRecord] = []
    at = 0
    while True:
        header = message[at : at + 2]
        if len(header) < 2:
            raise ProtocolViolation("NDEF record is torn")
        flags, kind_bytes = header
        if flags & 0x20 or bool(flags & 0x80) != (not records):
            raise ProtocolViolation("NDEF record is chunked or out of order")
        at += 2
        length_bytes = 1 if flags & 0x10 else 4
        payload_bytes = int.from_bytes(message[at : at + length_bytes], "big")
        at += length_bytes
        id_bytes = 0
        if flags & 0x08:
            id_bytes = int.from_bytes(message[at : at + 1], "big")
            at += 1
        end = at + kind_bytes + id_bytes + payload_bytes
        if end > len(message):
            raise ProtocolViolation("NDEF record is torn")
        kind = message[at : at + kind_bytes]
        identifier = message[at + kind_bytes : at + kind_bytes + id_bytes]
        records.append(
            NdefRecord(flags & 0x07, kind, message[end - payload_bytes : end], identifier)
        )
        at = end
        if flags & 0x40:
            if at != len(message):
                raise ProtocolViolation("bytes after the NDEF message")
            return records


def _limits(payload: bytes) -> NfcLimits:
    """Read the NFC carrier configuration: version 1, then length-type-value fields."""
    fields: dict[int, int] = {}
    at = 1
    while at < len(payload):
        size = payload[at]
        value = payload[at + 1 : at + 1 + size]
        if size < 2 or len(value) != size or value[0] in fields:
            raise ProtocolViolation("NFC carrier configuration is malformed")
        fields[value[0]] = int.from_bytes(value[1:], "big")
        at += 1 + size
    command, response = fields.get(1, 0), fields.get(2, 0)
    # Lowest values that ISO/IEC 18013-5 allows: one short APDU.
    if payload[:1] != b"\x01" or command < 255 or response < 256:
        raise ProtocolViolation("NFC carrier configuration is malformed")
    return NfcLimits(min(command, 0xFFFF), min(response, 0xFFFF))


def _only(records: list[NdefRecord], kind: bytes) -> NdefRecord:
    found = [r for r in records if r.tnf == _TNF_EXTERNAL and r.kind == kind]
    if len(found) != 1:
        raise ProtocolViolation(f"Handover Select holds {len(found)} records {kind.decode()}")
    return found[0]


def _counted(value: bytes) -> bytes:
    return bytes([len(value)]) + value
