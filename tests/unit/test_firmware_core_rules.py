"""What the controller must keep whatever happens, searched for with random histories.

Our control panel talks to the C core in a time of its own; a monitor beside it counts.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from firmware_bridge.firmware.host_core import HostController, HostCore, build
from firmware_bridge.firmware.key_page import key_page
from firmware_bridge.osdp_codes import Command, Nak, OutputControl, Reply
from firmware_bridge.osdp_frame import crc16, encode
from firmware_bridge.osdp_panel import Answer, ControlPanel, Event, Secured

if shutil.which("gcc") is None or shutil.which("make") is None:
    pytest.skip("needs the Debian packages gcc, libc6-dev and make", allow_module_level=True)

KEY = bytes.fromhex("00112233445566778899aabbccddeeff")
OTHER_KEY = bytes.fromhex("ffeeddccbbaa99887766554433221100")
PASSAGE_A, READY, TAMPER, FIRE, POWER = 1, 4, 8, 16, 32
QUIET = READY | TAMPER | FIRE | POWER
ENTRY, FIRE_RELEASE = 1, 2
MAX_MS, REST_MS, LINK_MS = 5000, 200, 1000
TIMED = OutputControl.TIMED_ON


def a_counter() -> Iterator[bytes]:
    number = 0
    while True:
        number += 1
        yield number.to_bytes(8, "big")


class Door:
    """A controller, a panel, and the time between them."""

    _core: HostCore | None = None
    _folder: tempfile.TemporaryDirectory[str] | None = None

    def __init__(self, *, boots: int = 1, sample: int = QUIET, address: int = 0) -> None:
        if Door._core is None:
            Door._folder = tempfile.TemporaryDirectory(prefix="firmware-")
            Door._core = HostCore(build("library", Door._folder.name) / "libcontroller.so")
        page = key_page(KEY, address=address, random_bytes=lambda n: bytes(range(n)))
        self.page = page
        self.address = address
        self.controller = HostController(Door._core, page, boots=boots, sample=sample)
        assert self.controller.has_key
        self.sample = sample
        self.now = 0.0
        self.wire: list[bytes] = []
        self.replies: list[bytes] = []
        numbers = a_counter()
        self.random = lambda n: next(numbers)[-n:]
        self.panel = self.new_panel(KEY)

    def new_panel(self, key: bytes) -> ControlPanel:
        return ControlPanel(key, address=self.address, random_bytes=self.random, baud=115200)

    def carry(self, data: bytes) -> bytes:
        self.wire.append(data)
        reply = self.controller.receive(data)
        if reply:
            self.replies.append(reply)
        return reply

    def settle(self, panel: ControlPanel) -> list[Event]:
        """Carry bytes to and fro until both sides are silent."""
        events: list[Event] = []
        while output := panel.take_output():
            events += panel.receive(self.carry(output), self.now)
        return events

    def connect(self, panel: ControlPanel | None = None) -> bool:
        panel = panel or self.panel
        panel.begin(self.now)
        return any(isinstance(event, Secured) for event in self.settle(panel))

    def exchange(self, command: int, data: bytes = b"") -> Answer | None:
        self.panel.send(command, data, self.now)
        events = self.settle(self.panel)
        return next((event for event in events if isinstance(event, Answer)), None)

    def open(self, count: int = 5, output: int = 0, control: int = TIMED) -> Answer | None:
        data = bytes([output, control]) + count.to_bytes(2, "little")
        return self.exchange(Command.OUT, data)

    def advance(self, ms: int, sample: int | None = None) -> int:
        """One step. Many small ones are what the board does."""
        if sample is not None:
            self.sample = sample
        self.now += ms / 1000
        return self.controller.advance(self.sample, ms)

    def run(self, ms: int, sample: int | None = None, *, poll: bool = True) -> int:
        """So many milliseconds in steps of one, with a poll now and then."""
        for step in range(ms):
            self.advance(1, sample)
            if poll and step % 50 == 49:
                self.exchange(Command.POLL)
        return self.controller.outputs

    @property
    def entry(self) -> bool:
        return bool(self.controller.outputs & ENTRY)

    @property
    def fire_release(self) -> bool:
        return bool(self.controller.outputs & FIRE_RELEASE)


def refused(answer: Answer | None, reason: Nak = Nak.UNABLE) -> bool:
    return answer is not None and (answer.code, answer.data) == (Reply.NAK, bytes([reason]))


def obeyed(answer: Answer | None) -> bool:
    return answer is not None and answer.code == Reply.ACK


@pytest.fixture
def door() -> Door:
    door = Door()
    assert door.connect()
    return door


# --- random histories ---------------------------------------------------------------------------


class Histories(RuleBasedStateMachine):
    """Everything a line and a building can do, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.door = Door()
        self.on_ms = 0
        self.silent_ms = 0
        self.since_fall_ms = 10_000
        self.open_fire_samples = 0
        self.accepted = 0
        self.rises = 0
        self.was_on = False

    def note(self, elapsed_ms: int = 0) -> None:
        """Count what the relay did."""
        entry = self.door.entry
        if self.was_on:
            self.on_ms += elapsed_ms
        else:
            self.since_fall_ms += elapsed_ms
        if entry and not self.was_on:
            self.rises += 1
            self.on_ms = 0
        if self.was_on and not entry:
            self.since_fall_ms = 0
        self.was_on = entry
        self.the_relay_is_bounded()
        self.fire_wins()
        self.no_opening_without_a_living_session()

    @rule(
        ms=st.one_of(st.integers(0, 30), st.integers(0, 900), st.integers(0, 7000)),
        sample=st.one_of(st.just(QUIET), st.just(QUIET), st.integers(0, 63)),
    )
    def time_passes(self, ms: int, sample: int) -> None:
        self.silent_ms += ms
        self.open_fire_samples = 0 if sample & FIRE else self.open_fire_samples + 1
        self.door.advance(ms, sample)
        self.note(ms)

    @rule(ms=st.sampled_from([500, 1500, 6000]))
    def a_living_line(self, ms: int) -> None:
        for _ in range(0, ms, 500):
            self.time_passes(500, QUIET)
            self.another_command(Command.POLL, b"")

    @rule()
    def connect(self) -> None:
        self.time_passes(100, self.door.sample)  # whatever frame was started is given up
        assert self.door.connect()
        self.silent_ms = 0
        self.note()

    @rule()
    def a_stranger_connects(self) -> None:
        before = self.door.controller.in_session
        assert not self.door.connect(self.door.new_panel(OTHER_KEY))
        assert self.door.controller.in_session == before
        self.note()

    @rule(
        count=st.sampled_from([0, 1, 5, 50, 51, 255, 65535]),
        output=st.sampled_from([0, 0, 0, 0, 1, 2, 255]),
        control=st.sampled_from([5, 5, 5, 5, 0, 1, 2, 3, 4, 6, 255]),
    )
    def open(self, count: int, output: int, control: int) -> None:
        if not self.door.panel.idle:
            self.connect()
        could = (
            not self.was_on
            and self.since_fall_ms >= REST_MS
            and self.open_fire_samples == 0
            and (output, control) == (0, TIMED)
            and count > 0
        )
        answer = self.door.open(count, output, control)
        if answer is None:
            assert not self.door.controller.in_session
        else:
            self.silent_ms = 0
        if obeyed(answer):
            assert could
            assert self.door.entry
            self.accepted += 1
        self.note()

    def calm(self) -> None:
        """Let a fire alarm end and every loop settle: samples count for 10 ms at most."""
        for _ in range(105):
            self.time_passes(10, QUIET)

    @rule(count=st.integers(1, 255), ms=st.integers(1, 6500), gap_ms=st.integers(0, 300))
    def open_hold_and_open_again(self, count: int, ms: int, gap_ms: int) -> None:
        self.calm()
        self.open(count, 0, TIMED)
        for _ in range(0, ms, 250):
            self.time_passes(250, QUIET)
            self.another_command(Command.POLL, b"")
        self.time_passes(gap_ms, QUIET)
        self.open(count, 0, TIMED)

    @rule(silent_ms=st.integers(900, 1500))
    def open_and_fall_silent(self, silent_ms: int) -> None:
        self.calm()
        self.open(50, 0, TIMED)
        self.time_passes(silent_ms, QUIET)

    @rule(samples=st.integers(1, 3))
    def open_and_fire_breaks_out(self, samples: int) -> None:
        self.calm()
        self.open(50, 0, TIMED)
        for _ in range(samples):
            self.time_passes(1, QUIET & ~FIRE)
        self.open(50, 0, TIMED)

    @rule(
        command=st.integers(0, 255).filter(lambda c: c != Command.OUT), data=st.binary(max_size=99)
    )
    def another_command(self, command: int, data: bytes) -> None:
        if not self.door.panel.idle:
            self.connect()
        if self.door.exchange(command, data) is not None:
            self.silent_ms = 0
        self.note()

    @rule(data=st.binary(max_size=60))
    def noise(self, data: bytes) -> None:
        self.door.carry(data)
        self.note()

    @precondition(lambda self: self.door.wire)
    @rule(choose=st.randoms(use_true_random=False))
    def an_old_frame_again(self, choose) -> None:
        self.door.carry(choose.choice(self.door.wire))
        self.note()

    @precondition(lambda self: self.door.panel.idle)
    @rule(count=st.integers(1, 60), bit=st.integers(0, 8 * 30 - 1))
    def a_damaged_opening(self, count: int, bit: int) -> None:
        data = bytes([0, TIMED]) + count.to_bytes(2, "little")
        self.door.panel.send(Command.OUT, data, self.door.now)
        frame = bytearray(self.door.panel.take_output())
        at = 8 + bit % (8 * (len(frame) - 1))  # the byte before the frame is not part of it
        frame[at // 8] ^= 1 << at % 8
        before = self.door.entry
        self.door.carry(bytes(frame))
        assert self.door.entry == before
        self.note()

    @invariant()
    def the_relay_is_bounded(self) -> None:
        assert not (self.was_on and self.on_ms >= MAX_MS)

    @invariant()
    def no_opening_without_a_living_session(self) -> None:
        assert not self.was_on or self.door.controller.in_session
        assert self.silent_ms < LINK_MS or not self.door.controller.in_session

    @invariant()
    def one_opening_a_command(self) -> None:
        assert self.rises <= self.accepted

    @invariant()
    def fire_wins(self) -> None:
        if self.open_fire_samples >= 2:
            assert self.door.controller.outputs == FIRE_RELEASE


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


# --- the relay ----------------------------------------------------------------------------------


def test_a_pulse_lasts_as_long_as_was_asked(door):
    assert obeyed(door.open(5))
    assert door.run(499) == ENTRY
    assert door.run(1) == 0


@pytest.mark.parametrize("count", [50, 51, 255, 65535])
def test_no_pulse_lasts_longer_than_the_maximum(door, count):
    assert obeyed(door.open(count))
    assert door.run(MAX_MS - 1) == ENTRY
    assert door.run(1) == 0


def test_a_pulse_is_not_made_longer_by_asking_again(door):
    assert obeyed(door.open(10))
    door.run(500)
    assert refused(door.open(10))
    assert door.run(500) == 0


def test_the_relay_rests_between_two_pulses(door):
    assert obeyed(door.open(1))
    door.run(100)
    door.advance(REST_MS - 1)
    assert refused(door.open(1))
    door.advance(1)
    assert obeyed(door.open(1))


def test_the_rest_begins_when_the_relay_falls_with_the_line(door):
    assert obeyed(door.open(50))
    door.advance(LINK_MS)
    assert not door.entry
    assert door.connect()
    assert refused(door.open(1))
    door.advance(REST_MS)
    assert obeyed(door.open(1))


@pytest.mark.parametrize("control", [0, 1, 2, 3, 4, 6, 255])
def test_only_timed_on_is_obeyed(door, control):
    assert refused(door.open(5, control=control))
    assert door.controller.outputs == 0


def test_a_timer_of_zero_is_refused(door):
    assert refused(door.open(0))


@pytest.mark.parametrize("output", [1, 2, 255])
def test_nobody_commands_another_output(door, output):
    assert refused(door.open(5, output=output))
    assert door.controller.outputs == 0


@pytest.mark.parametrize("length", [0, 3, 5, 8, 40])
def test_only_one_entry_an_out(door, length):
    assert refused(door.exchange(Command.OUT, bytes(length)), Nak.BAD_LENGTH)


def test_a_silent_line_lets_the_relay_fall(door):
    assert obeyed(door.open(50))
    assert door.run(LINK_MS - 1, poll=False) == ENTRY
    assert door.run(1, poll=False) == 0
    assert not door.controller.in_session


def test_a_panel_that_comes_back_keeps_its_pulse(door):
    assert obeyed(door.open(20))
    door.run(500, poll=False)
    assert door.connect()
    assert door.run(1499) == ENTRY
    assert door.run(1) == 0


def test_no_relay_moves_at_a_start():
    for boots in (1, 2, 3):
        assert Door(boots=boots).controller.outputs == 0


# --- fire, tamper, ready --------------------------------------------------------------------------


def test_fire_releases_at_once_and_ends_the_pulse(door):
    assert obeyed(door.open(50))
    door.advance(1, QUIET & ~FIRE)
    assert door.advance(1) == FIRE_RELEASE
    assert refused(door.open(5))


def test_one_wrong_sample_is_no_fire_but_bars_the_way_until_it_is_clear(door):
    door.advance(1, QUIET & ~FIRE)
    assert refused(door.open(5))
    assert door.advance(1, QUIET) == 0
    assert obeyed(door.open(5))


def test_fire_ends_when_its_loop_was_closed_for_a_while(door):
    door.run(10, QUIET & ~FIRE)
    assert door.run(999, QUIET) == FIRE_RELEASE
    assert refused(door.open(5))
    assert door.run(1) == 0
    assert obeyed(door.open(5))


def test_fire_needs_no_line_and_no_key():
    door = Door(boots=0)
    door.advance(1, QUIET & ~FIRE)
    assert door.advance(1) == FIRE_RELEASE


def test_fire_at_a_start_releases():
    door = Door(sample=QUIET & ~FIRE)
    door.advance(1)
    assert door.advance(1) == FIRE_RELEASE


def test_fire_is_told(door):
    door.run(10, QUIET & ~FIRE, poll=False)
    told = [door.exchange(Command.POLL) for _ in range(3)]
    by_code = {answer.code: answer.data for answer in told if answer}
    assert by_code[Reply.OSTATR] == bytes([0, 1])
    assert by_code[Reply.ISTATR] == bytes([0, 0, 0, 1, 0, 0, 0])


def test_an_opened_housing_ends_the_pulse(door):
    assert obeyed(door.open(50))
    assert door.run(19, QUIET & ~TAMPER) == ENTRY  # not yet believed
    assert door.run(1) == 0
    assert refused(door.open(5))
    assert door.exchange(Command.LSTAT).data == bytes([1, 0])
    door.run(250, QUIET)
    assert obeyed(door.open(5))


def test_a_turnstile_that_is_not_ready_is_not_opened(door):
    door.run(20, QUIET & ~READY)
    assert refused(door.open(5))


def test_lost_mains_are_told(door):
    door.run(30, QUIET & ~POWER, poll=False)
    answer = door.exchange(Command.POLL)
    assert (answer.code, answer.data) == (Reply.LSTATR, bytes([0, 1]))


# --- persons --------------------------------------------------------------------------------------


def person(door: Door) -> None:
    door.run(150, QUIET | PASSAGE_A)
    door.run(100, QUIET)


def concluded(door: Door) -> tuple[bool, bool]:
    """Tailgated, unused; read past the changes not yet told."""
    while door.exchange(Command.POLL).code != Reply.ACK:
        pass
    data = door.exchange(Command.ISTAT).data
    return bool(data[5]), bool(data[6])


def test_one_person_is_neither_tailgating_nor_unused(door):
    assert obeyed(door.open(5))
    person(door)
    door.run(6000)
    assert concluded(door) == (False, False)


def test_a_second_person_in_one_opening_is_tailgating(door):
    assert obeyed(door.open(5))
    person(door)
    person(door)
    assert concluded(door) == (True, False)
    door.run(2000)
    assert obeyed(door.open(5))
    assert concluded(door) == (False, False)


def test_a_second_person_while_the_relay_is_still_on_is_tailgating(door):
    assert obeyed(door.open(40))
    person(door)
    door.run(2000)
    assert door.entry
    person(door)
    assert concluded(door) == (True, False)


def test_nobody_came(door):
    assert obeyed(door.open(5))
    door.run(4900)
    assert concluded(door) == (False, False)
    door.run(200)
    assert concluded(door) == (False, True)


def test_a_bouncing_contact_is_one_person(door):
    assert obeyed(door.open(5))
    for _ in range(5):
        door.run(8, QUIET | PASSAGE_A)
        door.run(5, QUIET)
    person(door)
    assert concluded(door) == (False, False)


def test_every_change_of_an_input_is_told_once_and_in_order(door):
    for _ in range(3):
        door.run(30, QUIET | PASSAGE_A, poll=False)
        door.run(30, QUIET, poll=False)
    told = [door.exchange(Command.ISTAT).data[0] for _ in range(8)]
    assert told == [1, 0, 1, 0, 1, 0, 0, 0]


def test_changes_that_nobody_fetches_do_not_pile_up(door):
    for _ in range(100):
        door.run(20, QUIET | PASSAGE_A, poll=False)
        door.run(20, QUIET, poll=False)
        door.exchange(Command.LSTAT)
    told = 0
    while door.exchange(Command.POLL).code != Reply.ACK:
        told += 1
    assert told == 32


# --- the line -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [0x6E, 0x75, 0x7C, 0x69, 0x6B, 0x80, 0xA1, 0xF1])
def test_keyset_comset_file_transfer_and_the_rest_do_not_exist(door, command):
    assert refused(door.exchange(command, bytes(18)), Nak.UNKNOWN_COMMAND)
    assert door.connect()


@pytest.mark.parametrize("command", [0x60, 0x64, 0x65, 0x66, 0x68, 0x6E, 0x75, 0x7C])
def test_nothing_is_said_or_done_in_clear_text(command):
    door = Door()
    data = bytes([0, TIMED, 5, 0]) if command == Command.OUT else b""
    reply = door.carry(encode(0, 0, command, data))
    assert reply == encode(0, 0, Reply.NAK, bytes([Nak.ENCRYPTION_REQUIRED]), is_reply=True)
    assert door.controller.outputs == 0


def test_the_public_default_key_is_not_even_discussed():
    door = Door()
    reply = door.carry(encode(0, 0, Command.CHLNG, bytes(8), security=b"\x11\x00"))
    nak = bytes([Nak.SECURITY_BLOCK_UNSUPPORTED])
    assert reply == encode(0, 0, Reply.NAK, nak, is_reply=True)


def test_clear_frames_inside_a_session_are_dropped_and_the_session_lives(door):
    for sqn in range(4):
        for command in (0x60, 0x61, 0x62, 0x65, 0x68, 0x75):
            assert door.carry(encode(0, sqn, command, b"\x00\x05\x05\x00")) == b""
    assert obeyed(door.open(5))


def test_a_strangers_challenge_does_not_end_a_session(door):
    assert not door.connect(door.new_panel(OTHER_KEY))
    assert obeyed(door.open(5))


@pytest.mark.parametrize("sqn", range(4))
@pytest.mark.parametrize(
    ("security", "data"), [(b"\x15", b""), (b"\x15", b"\x00\x05\x05\x00"), (b"\x17", bytes(16))]
)
def test_a_wrong_mac_is_dropped_and_the_session_lives(door, sqn, security, data):
    forged = encode(0, sqn, Command.OUT, data, security=security, mac=lambda _: bytes(4))
    assert door.carry(forged) == b""
    assert not door.entry
    assert obeyed(door.open(5))


def test_no_bit_of_an_opening_can_be_changed(door):
    door.panel.send(Command.OUT, bytes([0, TIMED, 5, 0]), door.now)
    frame = door.panel.take_output()[1:]
    length_bits = range(16, 32)  # such a frame is never complete
    for bit in sorted({*range(8 * (len(frame) - 2))} - {*length_bits}):
        changed = bytearray(frame[:-2])
        changed[bit // 8] ^= 1 << bit % 8
        # The CRC is right again: only the MAC can tell.
        said = door.carry(bytes(changed) + crc16(bytes(changed)).to_bytes(2, "little"))
        assert said == b""
        assert not door.entry
    assert door.carry(frame) != b""
    assert door.entry


def test_a_flickering_fire_loop_stays_an_alarm(door):
    for _ in range(5):
        door.run(5, QUIET & ~FIRE)
        assert door.run(900, QUIET) == FIRE_RELEASE


@pytest.mark.parametrize("address", [0, 4, 6, 126, 127])
def test_other_addresses_and_broadcast_are_not_answered(address):
    door = Door(address=5)
    assert door.carry(encode(address, 0, Command.ID, b"\x00")) == b""
    assert door.carry(encode(5, 0, Command.ID, b"\x00")) != b""
    assert door.connect()


def test_a_frame_asked_again_is_answered_again_and_done_once(door):
    assert obeyed(door.open(1))
    frame, reply = door.wire[-1], door.replies[-1]
    door.advance(100)
    door.advance(300)
    assert door.carry(frame) == reply
    assert not door.entry


def test_a_replayed_frame_is_no_sign_of_life(door):
    assert obeyed(door.open(50))
    frame = door.wire[-1]
    for _ in range(LINK_MS):
        door.advance(1)
        door.carry(frame)
    assert not door.entry
    assert not door.controller.in_session


def record_an_opening() -> Door:
    door = Door(boots=7)
    assert door.connect()
    assert obeyed(door.open(5))
    return door


def test_a_whole_session_replayed_after_power_up_opens_nothing():
    recorded = record_an_opening()
    after = Door(boots=8)
    for frame in recorded.wire:
        after.carry(frame)
    assert not after.controller.in_session
    assert after.controller.outputs == 0


def test_it_is_the_count_of_starts_that_stops_the_replay():
    # The same count twice would be the end of it: the test above can fail.
    recorded = record_an_opening()
    after = Door(boots=7)
    for frame in recorded.wire:
        after.carry(frame)
    assert after.entry


def test_without_a_count_of_starts_there_is_no_session():
    assert not Door(boots=0).connect()


def test_nonces_never_come_twice():
    door = Door()
    seen = set()
    for _ in range(300):
        door.carry(encode(0, 0, Command.CHLNG, door.random(8), security=b"\x11\x01"))
        reply = door.replies[-1]
        seen.add(reply[1 + 5 + 3 + 1 + 8 :][:8])
    assert len(seen) == 300


def test_a_started_frame_is_given_up_after_a_while():
    door = Door()
    door.carry(b"\x53\x00\x00\x01\x04")  # announces 256 bytes
    door.advance(100)
    assert door.connect()


def test_two_panels_with_the_key_take_turns_and_nothing_opens_twice(door):
    first = door.panel
    second = door.new_panel(KEY)
    assert door.connect(second)
    first.send(Command.OUT, bytes([0, TIMED, 5, 0]), door.now)
    assert door.carry(first.take_output()) == b""  # of the session before
    assert not door.entry
