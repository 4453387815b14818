"""OSDP framing: known check value, any split, any garbage."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.osdp_codes import Command, Reply, Scs
from firmware_bridge.osdp_frame import MAX_FRAME, Frame, FrameDecoder, crc16, encode

CLEAR = st.builds(
    encode,
    st.integers(0, 127),
    st.integers(0, 3),
    st.integers(0, 255),
    st.binary(max_size=64),
    is_reply=st.booleans(),
)


def decode(data: bytes) -> list[Frame]:
    return FrameDecoder().feed(data)


def test_crc_matches_the_catalogue_check_value():
    # CRC-16/SPI-FUJITSU (0x1021, start 0x1D0F): check value of the CRC catalogue.
    assert crc16(b"123456789") == 0xE5CC


def test_a_poll_looks_as_the_standard_draws_it():
    body = bytes([0x53, 0x00, 0x08, 0x00, 0x04, 0x60])
    assert encode(0, 0, Command.POLL) == b"\xff" + body + crc16(body).to_bytes(2, "little")


@settings(max_examples=150)
@given(
    address=st.integers(0, 127),
    sqn=st.integers(0, 3),
    code=st.integers(0, 255),
    data=st.binary(max_size=128),
    is_reply=st.booleans(),
    secure=st.booleans(),
)
def test_a_frame_comes_back_as_it_was_sent(address, sqn, code, data, is_reply, secure):
    security = bytes([Scs.REPLY_MAC_ENC]) if secure else b""
    mac = (lambda covered: bytes(covered[:4])) if secure else None
    raw = encode(address, sqn, code, data, is_reply=is_reply, security=security, mac=mac)
    (frame,) = decode(raw)
    assert (frame.address, frame.sqn, frame.code) == (address, sqn, code)
    assert (frame.data, frame.is_reply, frame.security) == (data, is_reply, security)
    assert frame.mac == (raw[1:5] if secure else b"")
    assert raw[1:].startswith(frame.covered)


@settings(max_examples=150)
@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=12))
def test_no_bytes_upset_the_decoder_and_the_split_does_not_matter(stream, cuts):
    whole = FrameDecoder()
    expected = whole.feed(stream)
    pieces = FrameDecoder()
    got: list[Frame] = []
    start = 0
    for cut in [*sorted(cuts), len(stream)]:
        got += pieces.feed(stream[start:cut])
        start = max(start, cut)
    assert got == expected
    assert pieces.rejected == whole.rejected


@settings(max_examples=100)
@given(st.lists(CLEAR, max_size=6), st.integers(1, 9))
def test_merged_and_split_frames_all_arrive(frames, step):
    stream = b"".join(frames)
    decoder = FrameDecoder()
    got = [f for i in range(0, len(stream), step) for f in decoder.feed(stream[i : i + step])]
    assert [f.covered for f in got] == [raw[1:-2] for raw in frames]


@settings(max_examples=100)
@given(CLEAR, st.data())
def test_one_wrong_bit_never_passes(raw, data):
    bit = data.draw(st.integers(8, len(raw) * 8 - 1))
    broken = bytearray(raw)
    broken[bit // 8] ^= 1 << bit % 8
    assert all(f.covered != raw[1:-2] for f in decode(bytes(broken)))
    assert not any(f.covered == bytes(broken[1:-2]) for f in decode(bytes(broken)))


@given(st.binary(max_size=30).filter(lambda noise: b"\x53" not in noise))
def test_a_frame_behind_noise_is_found(noise):
    raw = encode(5, 1, Reply.ACK, is_reply=True)
    assert len(decode(noise + raw)) == 1


def test_a_frame_inside_a_broken_one_is_found():
    good = encode(5, 1, Reply.ACK, is_reply=True)
    broken = bytearray(encode(5, 1, Reply.PDID, bytes(12), is_reply=True))
    broken[7] ^= 1
    decoder = FrameDecoder()
    assert [f.code for f in decoder.feed(bytes(broken) + good)] == [Reply.ACK]
    assert decoder.rejected == 1


def test_a_started_frame_can_be_forgotten():
    raw = encode(0, 0, Command.POLL)
    decoder = FrameDecoder()
    assert decoder.feed(raw[:4]) == []
    decoder.reset()
    assert len(decoder.feed(raw)) == 1


@pytest.mark.parametrize(
    "header",
    [
        bytes([0x53, 0, 0xFF, 0xFF, 0x04]),  # longer than any frame
        bytes([0x53, 0, 0x07, 0x00, 0x04]),  # shorter than any frame
        bytes([0x53, 0, 0x07, 0x00, 0x00, 0x60, 0x46]),  # checksum instead of CRC
        bytes([0x53, 0, 0x08, 0x00, 0x44, 0x60, 0, 0]),  # control bit nobody defined
    ],
)
def test_what_is_no_header_does_not_hold_up_the_next_frame(header):
    assert len(decode(header + encode(0, 0, Command.POLL))) == 1


@pytest.mark.parametrize("length", [0, 1, 200])
def test_a_security_block_that_lies_about_its_length_is_refused(length):
    body = bytes([0x53, 0x80, 0x0B, 0x00, 0x0C, length, 0x16, 0x40, 0x00])
    assert decode(body + crc16(body).to_bytes(2, "little")) == []


def test_a_mac_belongs_to_session_frames_only():
    with pytest.raises(ValueError, match="MAC"):
        encode(0, 0, Command.POLL, security=bytes([Scs.COMMAND_MAC]))
    with pytest.raises(ValueError, match="MAC"):
        encode(0, 0, Command.POLL, mac=lambda covered: covered)


def test_a_frame_has_a_longest_length():
    with pytest.raises(ValueError, match="longer"):
        encode(0, 0, Command.POLL, bytes(MAX_FRAME))
