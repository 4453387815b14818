"""The control panel against a device in memory, and against attackers on the wire."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.osdp_codes import SCBK_DEFAULT, Command, Nak, OutputControl, Reply, Scs
from firmware_bridge.osdp_crypto import (
    SecureSession,
    client_cryptogram,
    derive_session_keys,
    initial_rmac,
    server_cryptogram,
)
from firmware_bridge.osdp_frame import Frame, FrameDecoder, crc16, encode
from firmware_bridge.osdp_panel import Answer, ControlPanel, Ended, EndReason, Event, Secured
from firmware_bridge.sim.mechanics import Mechanics
from firmware_bridge.sim.peripheral import SESSION_TIMEOUT_S, Peripheral

KEY = bytes.fromhex("8bf3a1c0d24e5f60718293a4b5c6d7e8")
OUT = bytes([0, OutputControl.TIMED_ON, 5, 0])


def counting_random(start: int = 1) -> Callable[[int], bytes]:
    numbers = count(start)
    return lambda length: next(numbers).to_bytes(length, "big")


class Bench:
    """A panel and a device on one wire; the wire shows and changes what passes."""

    def __init__(self, device_key: bytes = KEY, address: int = 0) -> None:
        self.now = 100.0
        self.panel = ControlPanel(KEY, address=address, random_bytes=counting_random(), baud=115200)
        self.mechanics = Mechanics()
        self.mechanics.advance(self.now)
        self.device = Peripheral(
            device_key, address=address, wiring=self.mechanics, random_bytes=counting_random(900)
        )
        self.commands: list[bytes] = []
        self.replies: list[bytes] = []
        self.change: Callable[[bytes], bytes] = lambda reply: reply

    def run(self) -> list[Event]:
        """Move bytes until the panel has nothing more to send."""
        events: list[Event] = []
        while output := self.panel.take_output():
            self.commands.append(output)
            for reply in self.device.receive(output, self.now):
                self.replies.append(reply)
                events += self.panel.receive(self.change(reply), self.now)
        return events

    def connect(self) -> None:
        self.panel.begin(self.now)
        (event,) = self.run()
        assert isinstance(event, Secured)

    def ask(self, command: int, data: bytes = b"") -> list[Event]:
        self.panel.send(command, data, self.now)
        return self.run()


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.connect()
    return bench


def parse(raw: bytes) -> Frame:
    (frame,) = FrameDecoder().feed(raw)
    return frame


def reason(events: list[Event]) -> EndReason:
    (event,) = events
    assert isinstance(event, Ended)
    return event.reason


# --- the good way ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "data", "code", "length"),
    [
        (Command.POLL, b"", Reply.ACK, 0),
        (Command.ID, b"\x00", Reply.PDID, 12),
        (Command.CAP, b"\x00", Reply.PDCAP, 12),
        (Command.ISTAT, b"", Reply.ISTATR, 5),
        (Command.OSTAT, b"", Reply.OSTATR, 1),
        (Command.LSTAT, b"", Reply.LSTATR, 2),
        (Command.OUT, OUT, Reply.ACK, 0),
    ],
)
def test_every_command_gets_its_reply(bench, command, data, code, length):
    (answer,) = bench.ask(command, data)
    assert isinstance(answer, Answer)
    assert (answer.command, answer.code, len(answer.data)) == (command, code, length)


def test_the_sequence_goes_1_2_3_1_and_starts_over_only_with_a_session(bench):
    for _ in range(5):
        bench.ask(Command.POLL)
    assert [parse(raw).sqn for raw in bench.commands] == [0, 1, 2, 3, 1, 2, 3]


def test_nothing_but_the_handshake_is_ever_sent_outside_a_session(bench):
    bench.ask(Command.OUT, OUT)
    for raw in bench.commands:
        frame = parse(raw)
        in_session = frame.scs in (Scs.COMMAND_MAC, Scs.COMMAND_MAC_ENC)
        assert in_session or frame.code in (Command.CHLNG, Command.SCRYPT)
    out = parse(bench.commands[-1])
    assert out.scs == Scs.COMMAND_MAC_ENC
    assert OUT not in out.data


def test_each_session_has_a_fresh_challenge(bench):
    first = parse(bench.commands[0]).data
    bench.connect()
    assert parse(bench.commands[-2]).data != first


def test_connecting_moves_nothing_and_asks_for_nothing(bench):
    for _ in range(3):
        bench.connect()
    assert bench.mechanics.edges == []
    assert {parse(raw).code for raw in bench.commands} == {Command.CHLNG, Command.SCRYPT}


def test_a_session_that_was_silent_too_long_is_built_anew(bench):
    bench.now += SESSION_TIMEOUT_S + 1
    assert reason(bench.ask(Command.POLL)) is EndReason.NOT_AUTHENTIC
    bench.connect()


# --- keys --------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [SCBK_DEFAULT, bytes(16), b"\xff" * 16, b"short"])
def test_no_public_or_empty_key_is_accepted(key):
    with pytest.raises(ValueError, match="key"):
        ControlPanel(key, address=0, random_bytes=counting_random(), baud=9600)


@pytest.mark.parametrize("address", [-1, 127, 128])
def test_broadcast_is_no_address_of_a_door(address):
    with pytest.raises(ValueError, match="address"):
        ControlPanel(KEY, address=address, random_bytes=counting_random(), baud=9600)


def test_a_device_with_another_key_is_told_apart():
    bench = Bench(device_key=bytes(range(16)))
    bench.panel.begin(bench.now)
    assert reason(bench.run()) is EndReason.WRONG_KEY
    assert len(bench.commands) == 1  # our own proof was never sent


def test_a_device_that_offers_the_default_key_is_refused():
    bench = Bench()
    bench.panel.begin(bench.now)
    challenge = parse(bench.panel.take_output())
    keys = derive_session_keys(SCBK_DEFAULT, challenge.data)
    rnd_b = bytes(8)
    data = bytes(8) + rnd_b + client_cryptogram(keys, challenge.data, rnd_b)
    reply = encode(0, 0, Reply.CCRYPT, data, is_reply=True, security=bytes([Scs.CCRYPT, 0]))
    assert reason(bench.panel.receive(reply, bench.now)) is EndReason.DEFAULT_KEY
    assert bench.panel.take_output() == b""


def test_a_late_answer_to_an_earlier_challenge_is_not_called_a_wrong_key():
    bench = Bench()
    bench.panel.begin(bench.now)
    (late,) = bench.device.receive(bench.panel.take_output(), bench.now)
    bench.panel.begin(bench.now)
    assert bench.panel.receive(late, bench.now) == []
    (event,) = bench.run()
    assert isinstance(event, Secured)


def test_a_late_reply_of_the_session_before_does_not_disturb_the_handshake(bench):
    bench.panel.send(Command.POLL, b"", bench.now)
    (late,) = bench.device.receive(bench.panel.take_output(), bench.now)
    bench.panel.begin(bench.now)
    assert bench.panel.receive(late, bench.now) == []
    (event,) = bench.run()
    assert isinstance(event, Secured)


def test_a_wrong_rmac_i_ends_the_handshake():
    bench = Bench()
    bench.panel.begin(bench.now)

    def forge(reply: bytes) -> bytes:
        frame = parse(reply)
        if frame.code != Reply.RMAC_I:
            return reply
        return encode(0, 1, Reply.RMAC_I, bytes(16), is_reply=True, security=frame.security)

    bench.change = forge
    assert reason(bench.run()) is EndReason.NOT_AUTHENTIC
    assert not bench.panel.secure


@pytest.mark.parametrize("stage", [Reply.CCRYPT, Reply.RMAC_I])
def test_a_device_that_refuses_the_secure_channel_gets_no_command(stage):
    bench = Bench()
    bench.panel.begin(bench.now)

    def refuse(reply: bytes) -> bytes:
        frame = parse(reply)
        if frame.code != stage:
            return reply
        return encode(0, frame.sqn, Reply.NAK, bytes([5]), is_reply=True)

    bench.change = refuse
    assert reason(bench.run()) is EndReason.NO_SECURE_CHANNEL
    with pytest.raises(RuntimeError):
        bench.panel.send(Command.OUT, OUT, bench.now)


# --- attackers on the wire ---------------------------------------------------------------------


def replaced(bench: Bench, command: int, forged: Callable[[bytes], bytes]) -> EndReason:
    bench.change = forged
    result = reason(bench.ask(command))
    assert not bench.panel.secure
    with pytest.raises(RuntimeError):
        bench.panel.send(Command.OUT, OUT, bench.now)
    return result


@pytest.mark.parametrize("code", [Reply.ACK, Reply.NAK, Reply.OSTATR, Reply.RMAC_I])
def test_a_clear_reply_inside_the_session_ends_it(bench, code):
    def clear(reply: bytes) -> bytes:
        return encode(0, parse(reply).sqn, code, b"\x01", is_reply=True)

    assert replaced(bench, Command.OSTAT, clear) is EndReason.NOT_AUTHENTIC


def test_a_busy_reply_in_clear_ends_the_session(bench):
    def busy(_: bytes) -> bytes:
        return encode(0, 0, Reply.BUSY, is_reply=True)

    assert replaced(bench, Command.POLL, busy) is EndReason.UNEXPECTED


def test_a_replayed_reply_ends_the_session(bench):
    bench.ask(Command.OSTAT)
    old = bench.replies[-1]
    bench.ask(Command.POLL)
    bench.ask(Command.POLL)
    assert replaced(bench, Command.OSTAT, lambda _: old) is EndReason.NOT_AUTHENTIC


def test_a_reply_of_an_earlier_session_ends_this_one(bench):
    bench.ask(Command.OSTAT)
    old = bench.replies[-1]
    bench.connect()
    assert replaced(bench, Command.OSTAT, lambda _: old) is EndReason.NOT_AUTHENTIC


def test_a_reply_made_with_the_default_key_ends_the_session(bench):
    keys = derive_session_keys(SCBK_DEFAULT, parse(bench.commands[0]).data)
    proof = server_cryptogram(keys, bytes(8), bytes(8))
    attacker = SecureSession(keys, initial_rmac(keys, proof))

    def forge(reply: bytes) -> bytes:
        return attacker.seal_reply(0, parse(reply).sqn, Reply.OSTATR, b"\x01")

    assert replaced(bench, Command.OSTAT, forge) is EndReason.NOT_AUTHENTIC


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_flipped_bit_with_a_repaired_crc_ends_the_session(data):
    bench = Bench()
    bench.connect()

    def flip(reply: bytes) -> bytes:
        frame = parse(reply)
        body = bytearray(frame.covered + frame.mac)
        bit = data.draw(st.integers(7 * 8, len(body) * 8 - 1))  # from the code on
        body[bit // 8] ^= 1 << bit % 8
        return bytes(body) + crc16(bytes(body)).to_bytes(2, "little")

    assert replaced(bench, Command.ISTAT, flip) is EndReason.NOT_AUTHENTIC


def test_a_broken_frame_ends_the_session_at_once(bench):
    def damage(reply: bytes) -> bytes:
        return reply[:-1] + bytes([reply[-1] ^ 1])

    assert replaced(bench, Command.POLL, damage) is EndReason.CORRUPT


def test_a_wrong_sequence_number_ends_the_session(bench):
    def other(reply: bytes) -> bytes:
        return encode(0, (parse(reply).sqn + 1) % 4, Reply.ACK, is_reply=True)

    assert replaced(bench, Command.POLL, other) is EndReason.UNEXPECTED


def test_a_reply_that_nobody_asked_for_ends_the_session(bench):
    bench.ask(Command.POLL)
    assert reason(bench.panel.receive(bench.replies[-1], bench.now)) is EndReason.UNEXPECTED


def test_no_answer_ends_the_session_and_is_not_repeated(bench):
    bench.panel.send(Command.OUT, OUT, bench.now)
    assert bench.panel.take_output()
    deadline = bench.panel.deadline
    assert bench.panel.expire(deadline - 0.001) == []
    assert reason(bench.panel.expire(deadline)) is EndReason.NO_REPLY
    assert bench.panel.take_output() == b""
    assert bench.panel.deadline is None


def test_one_command_at_a_time(bench):
    bench.panel.send(Command.POLL, b"", bench.now)
    with pytest.raises(RuntimeError):
        bench.panel.send(Command.POLL, b"", bench.now)


def test_echo_and_other_devices_are_ignored(bench):
    bench.panel.send(Command.POLL, b"", bench.now)
    output = bench.panel.take_output()
    assert bench.panel.receive(output, bench.now) == []
    stranger = encode(9, 1, Reply.ACK, is_reply=True)
    assert bench.panel.receive(stranger, bench.now) == []
    (reply,) = bench.device.receive(output, bench.now)
    assert isinstance(bench.panel.receive(b"\xff\x00" + reply, bench.now)[0], Answer)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=8))
def test_no_bytes_upset_the_panel(chunks):
    bench = Bench()
    bench.connect()
    bench.panel.send(Command.OSTAT, b"", bench.now)
    for chunk in chunks:
        assert not any(isinstance(e, Answer) for e in bench.panel.receive(chunk, bench.now))


def test_nothing_prints_the_key(bench):
    assert KEY.hex() not in repr(bench.panel)
    assert repr(KEY) not in repr(bench.panel)


# --- the simulated device is strict too ----------------------------------------------------------


@pytest.mark.parametrize("command", [Command.POLL, Command.OUT, Command.OSTAT])
def test_the_device_obeys_nothing_in_clear_text(command):
    bench = Bench()
    (reply,) = bench.device.receive(encode(0, 0, command, OUT), bench.now)
    frame = parse(reply)
    assert (frame.code, frame.data) == (Reply.NAK, bytes([Nak.ENCRYPTION_REQUIRED]))
    assert bench.mechanics.edges == []


def test_the_device_obeys_a_repeated_frame_once(bench):
    bench.panel.send(Command.OUT, OUT, bench.now)
    output = bench.panel.take_output()
    first = bench.device.receive(output, bench.now)
    assert bench.device.receive(output, bench.now) == first
    assert len(bench.mechanics.edges) == 1


def test_the_device_drops_its_session_on_a_forged_command(bench):
    forged = encode(0, 2, Command.OUT, OUT)
    (reply,) = bench.device.receive(forged, bench.now)
    assert parse(reply).code == Reply.NAK
    assert not bench.device.in_session
    assert bench.mechanics.edges == []


def test_the_device_refuses_key_changes(bench):
    (answer,) = bench.ask(0x75, bytes([1, 16]) + bytes(16))
    assert (answer.code, answer.data) == (Reply.NAK, bytes([Nak.UNKNOWN_COMMAND]))
