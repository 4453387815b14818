"""The reader's duties over NFC, and the NDEF messages they carry."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from gate.card import cbor, engagement, nfc
from gate.card.engagement import NdefRecord, NfcLimits
from gate.card.nfc import Nfc
from gate.errors import ProtocolViolation


class Answers:
    def __init__(self, *answers):
        self.answers, self.commands = list(answers), []

    def exchange(self, apdu):
        self.commands.append(apdu)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x90",
        b"\x53\x01\x00\x00\x90\x00",  # a byte behind it
        b"\x53\x02\x00\x90\x00",  # torn
        b"\x54\x01\x00\x90\x00",  # another data object
        b"\x53\x84\x00\x00\x00\x01\x00\x90\x00",
        b"\x53\x90\x00",
        b"\x90\x00",
        b"\x6f\x00",
        b"\x01\x61\x01",  # never ends
        b"x" * 256 + b"\x61\x00",  # too long
    ],
    ids=range(11),
)
def test_answers_to_envelope_that_are_refused(answer):
    with pytest.raises(ProtocolViolation):
        Nfc(Answers(answer)).transceive(b"message", 255)


def test_envelope_is_chained_in_short_apdus():
    channel = Answers(b"\x90\x00", b"\x90\x00", b"\x53\x02ok\x90\x00")
    assert Nfc(channel).transceive(bytes(600), 0xFFFF) == b"ok"
    assert [c[:5].hex() for c in channel.commands] == ["10c30000ff", "10c30000ff", "00c300005e"]
    assert b"".join(c[5 : 5 + c[4]] for c in channel.commands) == b"\x53\x82\x02\x58" + bytes(600)
    assert [len(c) for c in channel.commands] == [260, 260, 100]  # only the last one has Le


def test_envelope_extended_respects_the_phones_limit():
    channel = Answers(b"\x90\x00", b"\x53\x02ok\x90\x00")
    assert Nfc(channel, extended_length=True).transceive(bytes(600), 400) == b"ok"
    assert [c[:7].hex() for c in channel.commands] == [
        "10c30000000190",
        "00c30000 0000cc".replace(" ", ""),
    ]


def test_refused_in_the_middle_of_a_chain():
    with pytest.raises(ProtocolViolation, match="6700"):
        Nfc(Answers(b"\x67\x00")).transceive(bytes(600), 255)


@pytest.mark.parametrize(
    "container",
    [
        "",
        "000f20",
        "000F2000FF00FF0406E1047FFFFFFF",  # not readable
        "000F20000100FF0406E1047FFF00FF",  # reads of one byte
        "000F2000FF00FF0506E1047FFF00FF",  # no NDEF file
    ],
)
def test_capability_containers_that_are_refused(container):
    ok = b"\x90\x00"
    channel = Answers(ok, ok, bytes.fromhex(container) + ok)
    with pytest.raises(ProtocolViolation):
        Nfc(channel).read_handover_select()


RECORDS = st.lists(
    st.builds(
        NdefRecord,
        st.integers(0, 5),
        st.binary(max_size=30),
        st.binary(max_size=300),
        st.binary(max_size=8),
    ),
    min_size=1,
    max_size=4,
)


@given(RECORDS)
def test_ndef_both_ways(records):
    assert engagement.decode_ndef(engagement.encode_ndef(records)) == records


@given(st.binary(max_size=80))
def test_any_bytes_as_ndef(message):
    try:
        records = engagement.decode_ndef(message)
    except ProtocolViolation:
        return
    assert records


def test_static_handover_bytes():
    limits = NfcLimits(0xFFFF, 0xFFFF)
    key = ec.derive_private_key(5, ec.SECP256R1()).public_key()
    select = engagement.encode_handover_select(engagement.encode_device_engagement(key), limits)
    phone = engagement.decode_handover_select(select)
    assert (phone.e_device_key, phone.limits) == (key, limits)
    handover = cbor.load(engagement.handover_bytes(select))
    assert handover == [select, None]
    assert cbor.load(engagement.handover_bytes(select, b"Hr")) == [select, b"Hr"]


def test_negotiated_handover_is_told_apart():
    offer = engagement.encode_ndef([NdefRecord(1, b"Tp", b"\x10\x13urn:nfc:sn:handover")])
    with pytest.raises(ProtocolViolation, match="static"):
        engagement.decode_handover_select(offer)


def test_apdu_constants_are_the_standards():
    assert nfc.NDEF_AID.hex().upper() == "D2760000850101"
    assert nfc.MDOC_AID.hex().upper() == "A0000002480400"
