"""The Secure Channel's arithmetic, checked against a second way to compute it."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.osdp_codes import Command, Reply, Scs
from firmware_bridge.osdp_crypto import (
    NotAuthenticError,
    SecureSession,
    SessionKeys,
    client_cryptogram,
    compute_mac,
    derive_session_keys,
    initial_rmac,
    server_cryptogram,
)
from firmware_bridge.osdp_frame import Frame, FrameDecoder, encode

KEY = bytes.fromhex("8bf3a1c0d24e5f60718293a4b5c6d7e8")
RND_A = bytes.fromhex("0102030405060708")
RND_B = bytes.fromhex("a1a2a3a4a5a6a7a8")
BLOCK = st.binary(min_size=16, max_size=16)


def aes(key: bytes, block: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return encryptor.update(block) + encryptor.finalize()


def xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def pair() -> tuple[SecureSession, SecureSession]:
    """Panel and device of one fresh session."""
    keys = derive_session_keys(KEY, RND_A)
    rmac = initial_rmac(keys, server_cryptogram(keys, RND_A, RND_B))
    return SecureSession(keys, rmac), SecureSession(keys, rmac)


def parse(raw: bytes) -> Frame:
    (frame,) = FrameDecoder().feed(raw)
    return frame


def test_keys_and_proofs_follow_annex_d():
    keys = derive_session_keys(KEY, RND_A)
    seed = bytes.fromhex("010203040506") + bytes(8)
    assert keys.enc == aes(KEY, b"\x01\x82" + seed)
    assert keys.mac1 == aes(KEY, b"\x01\x01" + seed)
    assert keys.mac2 == aes(KEY, b"\x01\x02" + seed)
    assert client_cryptogram(keys, RND_A, RND_B) == aes(keys.enc, RND_A + RND_B)
    server = server_cryptogram(keys, RND_A, RND_B)
    assert server == aes(keys.enc, RND_B + RND_A)
    assert initial_rmac(keys, server) == aes(keys.mac2, aes(keys.mac1, server))


@settings(max_examples=150)
@given(BLOCK, BLOCK, BLOCK, st.binary(min_size=1, max_size=80))
def test_mac_block_by_block(mac1, mac2, iv, message):
    padded = message
    if len(padded) % 16:
        padded += b"\x80"
        padded += bytes(-len(padded) % 16)
    blocks = [padded[i : i + 16] for i in range(0, len(padded), 16)]
    chain = iv
    for block in blocks[:-1]:
        chain = aes(mac1, xor(chain, block))
    expected = aes(mac2, xor(chain, blocks[-1]))
    assert compute_mac(SessionKeys(bytes(16), mac1, mac2), iv, message) == expected


@settings(max_examples=60)
@given(st.lists(st.tuples(st.binary(max_size=48), st.binary(max_size=48)), max_size=6))
def test_a_conversation_stays_in_step(turns):
    panel, device = pair()
    for sqn, (command, reply) in enumerate(turns):
        heard = parse(panel.seal_command(3, sqn % 4, Command.OUT, command))
        assert device.open_command(heard) == command
        assert command == b"" or command not in heard.data or len(command) < 3
        said = parse(device.seal_reply(3, sqn % 4, Reply.OSTATR, reply))
        assert panel.open_reply(said) == reply


@settings(max_examples=120)
@given(st.data())
def test_no_bit_of_a_reply_can_be_changed(data):
    panel, device = pair()
    device.open_command(parse(panel.seal_command(0, 1, Command.ISTAT)))
    good = device.seal_reply(0, 1, Reply.ISTATR, b"\x00\x01\x01")
    body = bytearray(good[1:-2])
    bit = data.draw(st.integers(0, len(body) * 8 - 1))
    body[bit // 8] ^= 1 << bit % 8
    frame = parse(good)
    end = len(body) - 4
    forged = Frame(
        frame.address,
        frame.is_reply,
        frame.sqn,
        frame.security,
        body[7],
        bytes(body[8:end]),
        bytes(body[end:]),
        bytes(body[:end]),
    )
    with pytest.raises(NotAuthenticError):
        panel.open_reply(forged)
    assert panel.open_reply(frame) == b"\x00\x01\x01"  # a failed check changed nothing


def test_a_replayed_reply_is_refused():
    panel, device = pair()
    device.open_command(parse(panel.seal_command(0, 1, Command.OSTAT)))
    old = parse(device.seal_reply(0, 1, Reply.OSTATR, b"\x01"))
    assert panel.open_reply(old) == b"\x01"
    for sqn in (2, 3, 1):  # the same sequence number comes round again
        device.open_command(parse(panel.seal_command(0, sqn, Command.OSTAT)))
        with pytest.raises(NotAuthenticError):
            panel.open_reply(old)
        assert panel.open_reply(parse(device.seal_reply(0, sqn, Reply.OSTATR, b"\x00"))) == b"\x00"


def test_a_replayed_command_is_refused():
    panel, device = pair()
    out = parse(panel.seal_command(0, 1, Command.OUT, b"\x00\x05\x05\x00"))
    device.open_command(out)
    panel.open_reply(parse(device.seal_reply(0, 1, Reply.ACK)))
    with pytest.raises(NotAuthenticError):
        device.open_command(out)


def test_a_command_of_an_old_session_is_worthless_in_a_new_one():
    panel, _ = pair()
    out = parse(panel.seal_command(0, 1, Command.OUT, b"\x00\x05\x05\x00"))
    keys = derive_session_keys(KEY, bytes(8))
    device = SecureSession(keys, initial_rmac(keys, server_cryptogram(keys, bytes(8), RND_B)))
    with pytest.raises(NotAuthenticError):
        device.open_command(out)


@pytest.mark.parametrize("security", [b"", bytes([Scs.CCRYPT, 1]), bytes([Scs.RMAC_I, 1])])
def test_clear_text_is_never_a_reply_of_the_session(security):
    panel, _ = pair()
    panel.seal_command(0, 1, Command.OSTAT)
    raw = encode(0, 1, Reply.OSTATR, b"\x01", is_reply=True, security=security)
    with pytest.raises(NotAuthenticError):
        panel.open_reply(parse(raw))


@pytest.mark.parametrize("scs", [Scs.COMMAND_MAC, Scs.COMMAND_MAC_ENC])
def test_a_command_block_is_never_a_reply(scs):
    panel, device = pair()
    command = parse(panel.seal_command(0, 1, Command.OSTAT, b"x" if scs == 0x17 else b""))
    assert command.scs == scs
    with pytest.raises(NotAuthenticError):
        panel.open_reply(command)
    device.open_command(command)


def test_wrong_padding_under_a_valid_mac_is_refused():
    panel, device = pair()
    device.open_command(parse(panel.seal_command(0, 1, Command.ISTAT)))
    keys = derive_session_keys(KEY, RND_A)
    for data in (bytes(16), b"", b"\x01" * 15):

        def mac(covered: bytes) -> bytes:
            return compute_mac(keys, device._command_mac, covered)[:4]

        raw = encode(
            0, 1, Reply.ISTATR, data, is_reply=True, security=bytes([Scs.REPLY_MAC_ENC]), mac=mac
        )
        with pytest.raises(NotAuthenticError):
            panel.open_reply(parse(raw))


def test_nothing_prints_a_key():
    keys = derive_session_keys(KEY, RND_A)
    session = pair()[0]
    for text in (repr(keys), repr(session), str(session)):
        assert keys.enc.hex() not in text
        assert repr(keys.mac1) not in text
