"""The adapter and the simulated turnstile over a real serial device (a pty)."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firmware_bridge.errors import DeviceFault
from firmware_bridge.osdp_turnstile import OsdpTurnstile, generate_key, save_key
from firmware_bridge.ports import Crossing, Link, OpenResult, Turnstile
from firmware_bridge.sim.turnstile import SimTurnstile, Walk

KEY = generate_key()
PROGRAM = [sys.executable, "-m", "firmware_bridge.sim.turnstile"]
SLOW = 10_000
"""A time in ms that no loaded machine misses."""


def connect(sim: SimTurnstile, baud: int = 115200) -> OsdpTurnstile:
    """An adapter that a busy test machine cannot hurry."""
    turnstile = OsdpTurnstile(sim.device_path, KEY, baud=baud, reply_delay_ms=SLOW, max_gap_ms=SLOW)
    assert turnstile.wait_online(10)
    return turnstile


@pytest.fixture
def sim() -> Iterator[SimTurnstile]:
    sim = SimTurnstile(KEY, rest_ms=0)
    yield sim
    sim.close()


@pytest.fixture
def turnstile(sim: SimTurnstile) -> Iterator[OsdpTurnstile]:
    turnstile = connect(sim)
    yield turnstile
    turnstile.close()


def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_it_is_the_port_that_the_gate_asks_for(turnstile):
    port: Turnstile = turnstile
    assert until(lambda: port.status().link is Link.ONLINE)


def test_the_controller_says_what_it_is(turnstile):
    assert until(lambda: turnstile.identity is not None)
    assert (turnstile.identity.inputs, turnstile.identity.outputs) == (5, 1)


def test_one_opening_is_one_pulse_of_the_asked_length(sim, turnstile):
    assert turnstile.open(300, SLOW) is OpenResult.OPENED
    assert until(lambda: len(sim.edges) == 2)
    up, down = sim.edges
    assert (up.active, down.active) == (True, False)
    assert down.at - up.at >= 0.299  # 0.3 s, less what a float loses
    assert until(lambda: not turnstile.status().relay_active)


def test_connecting_closing_and_restarting_move_nothing(sim):
    for _ in range(3):
        turnstile = connect(sim)
        sim.restart()
        time.sleep(0.1)
        turnstile.close()
        turnstile.close()
    sim.unplug()
    sim.replug()
    assert sim.edges == []


def test_closing_during_a_pulse_leaves_the_pulse_to_the_device(sim, turnstile):
    assert turnstile.open(400, SLOW) is OpenResult.OPENED
    turnstile.close()
    assert until(lambda: len(sim.edges) == 2)
    assert sim.edges[1].at - sim.edges[0].at >= 0.399  # 0.4 s, less what a float loses
    assert turnstile.open(400) is OpenResult.NOT_DELIVERED
    assert turnstile.status().link is Link.OFFLINE


def test_one_person(sim, turnstile):
    sim.set_auto_walk(50)
    assert turnstile.open(500, SLOW) is OpenResult.OPENED
    assert turnstile.watch_crossing(SLOW) is Crossing.ONE
    assert turnstile.status().passages_a == 1


def test_a_person_who_was_faster_than_the_watch_is_counted(sim, turnstile):
    sim.set_auto_walk(0)
    assert turnstile.open(500, SLOW) is OpenResult.OPENED
    assert until(lambda: turnstile.status().passages_a == 1)
    assert turnstile.watch_crossing(SLOW) is Crossing.ONE


def test_two_close_behind_each_other(sim, turnstile):
    assert turnstile.open(500, SLOW) is OpenResult.OPENED
    sim.tailgate()
    assert turnstile.watch_crossing(SLOW) is Crossing.TAILGATING


def test_nobody(turnstile):
    assert turnstile.open(300, SLOW) is OpenResult.OPENED
    assert turnstile.watch_crossing(400) is Crossing.NOBODY


def test_who_leaves_is_not_who_enters(sim, turnstile):
    assert turnstile.open(300, SLOW) is OpenResult.OPENED
    sim.person_leaves()
    assert until(lambda: turnstile.status().passages_b == 1)
    assert turnstile.watch_crossing(100) is Crossing.NOBODY


def test_the_device_refuses(sim, turnstile):
    sim.refuse(True)
    assert turnstile.open(500, SLOW) is OpenResult.REFUSED
    assert sim.edges == []
    sim.refuse(False)
    assert turnstile.open(500, SLOW) is OpenResult.OPENED


def test_fire_refuses_and_is_seen(sim, turnstile):
    sim.fire(True)
    assert turnstile.open(500, SLOW) is OpenResult.REFUSED
    assert until(lambda: turnstile.status().fire)
    assert not turnstile.status().ready
    sim.fire(False)
    assert until(lambda: turnstile.status().ready and not turnstile.status().fire)
    assert sim.edges == []


def test_tamper_power_and_jam_are_seen(sim, turnstile):
    sim.tamper(True)
    sim.power_fault(True)
    sim.jam(True)
    assert until(lambda: turnstile.status().tamper and turnstile.status().power_fault)
    assert until(lambda: not turnstile.status().ready)
    sim.tamper(False)
    sim.power_fault(False)
    sim.jam(False)
    assert until(lambda: not turnstile.status().tamper and not turnstile.status().power_fault)


@pytest.mark.parametrize("pulse_ms", [0, -1, 25_501])
def test_a_pulse_that_the_timer_cannot_hold_is_a_mistake(turnstile, pulse_ms):
    with pytest.raises(ValueError, match="25500"):
        turnstile.open(pulse_ms)


def test_many_callers_get_one_pulse_each_or_a_clear_no(sim, turnstile):
    results: list[OpenResult] = []
    threads = [
        threading.Thread(target=lambda: results.append(turnstile.open(100, SLOW))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # While one pulse lasts the device refuses the next: never two pulses for one call.
    assert set(results) <= {OpenResult.OPENED, OpenResult.REFUSED}
    assert results.count(OpenResult.OPENED) == sim.openings >= 1


def test_the_shut_barrier_blocks(sim, turnstile):
    sim.person_walks()
    assert [person.walk for person in sim.persons] == [Walk.BLOCKED]
    assert turnstile.status().passages_a == 0


def test_the_emulated_slow_line_works():
    with SimTurnstile(KEY, baud=9600) as sim:
        turnstile = connect(sim, baud=9600)
        try:
            assert turnstile.open(500, SLOW) is OpenResult.OPENED
            assert sim.openings == 1
        finally:
            turnstile.close()


def test_a_file_in_the_way_is_not_replaced(tmp_path):
    path = tmp_path / "line"
    path.write_text("mine")
    with pytest.raises(DeviceFault, match="no symbolic link"):
        SimTurnstile(KEY, link=path)
    assert path.read_text() == "mine"


def test_closing_the_simulator_removes_its_link(tmp_path):
    sim = SimTurnstile(KEY, link=tmp_path / "line")
    assert stat.S_ISCHR((tmp_path / "line").stat().st_mode)
    sim.close()
    sim.close()
    assert not (tmp_path / "line").is_symlink()


def test_as_a_program(tmp_path: Path):
    save_key(tmp_path / "door.key", KEY)
    process = subprocess.Popen(
        [*PROGRAM, "--link", str(tmp_path / "line"), "--key-file", str(tmp_path / "door.key")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert str(tmp_path / "line") in process.stdout.readline()
        turnstile = OsdpTurnstile(str(tmp_path / "line"), KEY)
        try:
            assert turnstile.wait_online(10)
            assert turnstile.open(100, SLOW) is OpenResult.OPENED
        finally:
            turnstile.close()
        assert "entry relay active" in process.stdout.readline()
        assert "entry relay released" in process.stdout.readline()
        output, _ = process.communicate("quit\n", timeout=20)
        assert output == ""
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def test_as_a_program_it_says_what_is_missing(tmp_path: Path):
    done = subprocess.run(
        [*PROGRAM, "--link", str(tmp_path / "line"), "--key-file", str(tmp_path / "none")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "key file absent" in done.stderr
