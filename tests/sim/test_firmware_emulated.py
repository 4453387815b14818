"""The firmware as it would be written into the part, run in QEMU and driven by our control panel.

Times are this computer's. An emulated part under load loses time, so a pulse is never shorter than
asked but may look longer; its upper limit is proven in tests/unit/test_firmware_core_rules.py.
"""

from __future__ import annotations

import hashlib
import os
import select
import shutil
import subprocess
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firmware_bridge.errors import DeviceFault
from firmware_bridge.firmware.emulator import (
    FIRE,
    PASSAGE_A,
    PASSAGE_B,
    POWER,
    QUIET,
    READY,
    TAMPER,
    EmulatedController,
)
from firmware_bridge.firmware.host_core import SOURCES, build
from firmware_bridge.firmware.key_page import key_page
from firmware_bridge.firmware.slow_line import SlowLine
from firmware_bridge.osdp_codes import Command
from firmware_bridge.osdp_frame import encode
from firmware_bridge.osdp_turnstile import OsdpTurnstile, generate_key
from firmware_bridge.ports import Crossing, Link, OpenResult

NEEDED = {
    "make": "make",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi and libnewlib-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
}
MISSING = [package for tool, package in NEEDED.items() if shutil.which(tool) is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"needs the Debian packages {', '.join(MISSING)}"
)
KEY = generate_key()
PATIENCE_S = 40.0
DEADLINE_MS = 5_000
SYSTICK_CONTROL = 0xE000E010


@pytest.fixture(scope="module")
def firmware(tmp_path_factory) -> Path:
    return build("all", tmp_path_factory.mktemp("firmware")) / "firmware.bin"


@pytest.fixture
def device(firmware) -> Iterator[EmulatedController]:
    with EmulatedController(firmware, key_page(KEY, serial=4711)) as controller:
        controller.power_on()
        yield controller


def panel(path: str, **options: object) -> OsdpTurnstile:
    return OsdpTurnstile(path, KEY, reply_delay_ms=1500, max_gap_ms=20_000, **options)


@pytest.fixture
def turnstile(device) -> Iterator[OsdpTurnstile]:
    turnstile = panel(device.device_path)
    try:
        assert turnstile.wait_online(PATIENCE_S)
        yield turnstile
    finally:
        turnstile.close()


def until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def open_surely(turnstile: OsdpTurnstile, device: EmulatedController, pulse_ms: int = 500) -> None:
    """Open once. A computer that stands still may cost attempts; none may open twice."""
    before = rises(device)
    for _ in range(20):
        result = turnstile.open(pulse_ms, DEADLINE_MS)
        if result is OpenResult.OPENED:
            assert device.wait_for(lambda: rises(device) == before + 1)
            return
        assert result is not OpenResult.REFUSED or device.entry_edges
        if rises(device) > before:
            return
        turnstile.wait_online(PATIENCE_S)
        time.sleep(0.3)
    pytest.fail("never opened")


def rises(device: EmulatedController) -> int:
    return sum(edge.active for edge in device.entry_edges)


def at_rest(device: EmulatedController) -> bool:
    return not device.entry_active and not device.fire_release_active


# --- build ------------------------------------------------------------------------------------


def test_two_builds_in_two_places_are_the_same_bytes(firmware, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(SOURCES, copy / "sources", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    again = build("all", copy / "out", sources=copy / "sources") / "firmware.bin"
    assert digest(again) == digest(firmware)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_program_leaves_the_key_page_alone_and_fits(firmware):
    assert len(firmware.read_bytes()) < 16 * 1024


# --- opening ----------------------------------------------------------------------------------


def test_our_panel_opens_it(device, turnstile):
    for number, pulse_ms in enumerate((500, 1200), start=1):
        open_surely(turnstile, device, pulse_ms)
        assert device.wait_for(lambda n=number: len(device.entry_edges) == 2 * n)
        rose, fell = device.entry_edges[-2:]
        assert (rose.active, fell.active) == (True, False)
        time.sleep(0.4)  # its rest
    assert device.fire_release_edges == []


def test_it_says_what_it_is(turnstile):
    assert until(lambda: turnstile.identity is not None)
    identity = turnstile.identity
    assert (identity.inputs, identity.outputs, identity.serial) == (7, 2, 4711)
    assert identity.firmware == "1.0.0"


def test_starting_and_connecting_move_nothing(device, turnstile):
    assert device.entry_edges == []
    assert device.fire_release_edges == []
    turnstile.close()
    assert at_rest(device)


def test_persons_are_counted(device, turnstile):
    for loop in (PASSAGE_A, PASSAGE_A, PASSAGE_B):
        device.set_loop(loop, closed=True)
        time.sleep(0.3)
        device.set_loop(loop, closed=False)
        time.sleep(0.3)
    assert until(lambda: turnstile.status().passages_b == 1)
    assert turnstile.status().passages_a == 2


def test_one_person_crosses(device, turnstile):
    open_surely(turnstile, device)
    device.set_loop(PASSAGE_A, closed=True)
    time.sleep(0.2)
    device.set_loop(PASSAGE_A, closed=False)
    assert turnstile.watch_crossing(20_000) is Crossing.ONE


@pytest.mark.parametrize("loop", [READY, TAMPER])
def test_a_wire_that_breaks_bars_the_way_and_is_told(device, turnstile, loop):
    device.set_loop(loop, closed=False)
    assert until(lambda: turnstile.status().tamper or not turnstile.status().ready)
    assert turnstile.open(500, DEADLINE_MS) is OpenResult.REFUSED
    device.set_loop(loop, closed=True)
    assert until(lambda: turnstile.status().ready and not turnstile.status().tamper)
    open_surely(turnstile, device)


def test_lost_mains_are_told(device, turnstile):
    device.set_loop(POWER, closed=False)
    assert until(lambda: turnstile.status().power_fault)


# --- fire ------------------------------------------------------------------------------------


def test_fire_ends_a_pulse_releases_and_bars_openings(device, turnstile):
    open_surely(turnstile, device, 5000)
    device.set_loop(FIRE, closed=False)
    assert device.wait_for(lambda: device.fire_release_active)
    assert not device.entry_active
    assert until(lambda: turnstile.status().fire)
    assert turnstile.open(500, DEADLINE_MS) is OpenResult.REFUSED
    device.set_loop(FIRE, closed=True)
    assert device.wait_for(lambda: not device.fire_release_active)
    assert until(lambda: not turnstile.status().fire)
    open_surely(turnstile, device)


def test_fire_releases_without_line_key_or_counter(firmware):
    with EmulatedController(firmware, None, eeprom=False) as device:
        device.power_on()
        assert device.wait_for(lambda: at_rest(device))
        device.set_loop(FIRE, closed=False)
        assert device.wait_for(lambda: device.fire_release_active)


def test_a_fire_at_power_on_releases(firmware):
    with EmulatedController(firmware, key_page(KEY), closed=QUIET - {FIRE}) as device:
        device.power_on()
        assert device.wait_for(lambda: device.fire_release_active)
        assert not device.entry_active


# --- what breaks ------------------------------------------------------------------------------


def test_the_relay_falls_when_the_line_falls_silent(device, turnstile):
    open_surely(turnstile, device, 5000)
    turnstile.close()
    rose = device.entry_edges[-1].at
    assert device.wait_for(lambda: not device.entry_active)
    assert device.entry_edges[-1].at >= rose
    assert rises(device) == 1


def test_a_power_cycle_moves_nothing_and_the_line_comes_back(firmware):
    with EmulatedController(firmware, key_page(KEY)) as device:
        sessions = set()
        for _ in range(3):
            device.power_on()
            turnstile = panel(device.device_path)
            try:
                assert turnstile.wait_online(PATIENCE_S)
                assert device.entry_edges == []
                open_surely(turnstile, device)
            finally:
                turnstile.close()
            device.power_off()
            sessions.add(device.eeprom.read_bytes()[:128])
        assert len(sessions) == 3  # each start was counted


def test_a_whole_session_replayed_after_power_up_opens_nothing(firmware):
    with EmulatedController(firmware, key_page(KEY)) as device:
        device.power_on()
        with SlowLine(device.device_path) as line:
            turnstile = panel(line.device_path)
            try:
                assert turnstile.wait_online(PATIENCE_S)
                open_surely(turnstile, device)
            finally:
                turnstile.close()
        device.power_off()
        device.power_on()
        attacker = os.open(device.device_path, os.O_RDWR | os.O_NOCTTY)
        try:
            tty.setraw(attacker)
            for piece in line.said:
                os.write(attacker, piece)
                time.sleep(0.01)
            turnstile = panel(device.device_path)
            try:
                assert turnstile.wait_online(PATIENCE_S)  # it has heard all of the above
                assert device.entry_edges == []
            finally:
                turnstile.close()
        finally:
            os.close(attacker)


@pytest.mark.parametrize("baud", [9600, 115200])
def test_a_slow_line_that_trickles(firmware, baud):
    page = key_page(KEY, baud=baud)
    with EmulatedController(firmware, page) as device:
        device.power_on()
        with SlowLine(device.device_path, baud=baud, piece=3) as line:
            turnstile = panel(line.device_path, baud=baud)
            try:
                assert turnstile.wait_online(PATIENCE_S)
                open_surely(turnstile, device)
                assert device.wait_for(lambda: not device.entry_active)
            finally:
                turnstile.close()


def test_a_program_that_hangs_is_reset_and_its_relay_falls(device, turnstile):
    open_surely(turnstile, device, 5000)
    device.write_word(SYSTICK_CONTROL, 0)  # no tick: the main loop never goes round again
    assert device.wait_for(lambda: device.resets() > 0)
    assert device.wait_for(lambda: not device.entry_active)
    # QEMU forgot the inputs' levels meanwhile, so there was a fire alarm as well.
    assert device.wait_for(lambda: not device.fire_release_active)
    assert until(lambda: turnstile.status().link is Link.ONLINE and turnstile.status().ready)
    assert not device.entry_active
    # It also tells no edge of a pin that it reset by itself; the pin is read instead.
    assert until(lambda: turnstile.open(5000, DEADLINE_MS) is OpenResult.OPENED)
    assert device.wait_for(lambda: device.entry_active)


def test_a_core_that_lost_count_is_overruled(firmware, device, turnstile):
    symbols = subprocess.run(
        ["arm-none-eabi-nm", str(firmware.with_suffix(".elf"))],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    controller = next(line.split() for line in symbols.splitlines() if line.endswith(" controller"))
    entry_word = int(controller[0], 16) + 12  # struct turnstile: entry, a gap, entry_left_ms
    open_surely(turnstile, device, 5000)
    assert device.read_word(entry_word) & 0xFF == 1
    device.write_word(entry_word, 0xFFFF0001)  # more than a minute from now
    assert device.wait_for(lambda: not device.entry_active)
    assert device.read_word(entry_word) & 0xFF == 1  # the core still thinks that it is on


def test_without_its_counter_it_takes_no_session(firmware):
    with EmulatedController(firmware, key_page(KEY), eeprom=False) as device:
        device.power_on()
        turnstile = panel(device.device_path)
        try:
            assert until(lambda: "refuses the Secure Channel" in str(turnstile.fault))
            assert turnstile.open(500, 500) is OpenResult.NOT_DELIVERED
        finally:
            turnstile.close()
        assert at_rest(device)


def test_another_doors_key_opens_nothing(firmware):
    with EmulatedController(firmware, key_page(generate_key())) as device:
        device.power_on()
        turnstile = panel(device.device_path)
        try:
            assert until(lambda: turnstile.status().link is Link.WRONG_KEY)
            assert turnstile.open(500, 500) is OpenResult.NOT_DELIVERED
        finally:
            turnstile.close()
        assert at_rest(device)


def test_a_controller_without_a_key_stays_silent(firmware):
    with EmulatedController(firmware, None) as device:
        device.power_on()
        assert device.wait_for(lambda: at_rest(device))
        line = os.open(device.device_path, os.O_RDWR | os.O_NOCTTY)
        try:
            tty.setraw(line)
            for _ in range(5):
                os.write(line, encode(0, 0, Command.ID, b"\x00"))
                assert select.select([line], [], [], 0.2)[0] == []
        finally:
            os.close(line)


def test_a_missing_program_is_a_clear_fault(tmp_path):
    with EmulatedController(tmp_path / "none.bin", None) as device:
        with pytest.raises(DeviceFault, match="did not start"):
            device.power_on()
        device.power_off()
