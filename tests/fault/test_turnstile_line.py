"""Break the line in every way; no call may lie, no relay may move for nothing.

The invariant behind every case: OPENED means exactly one pulse, REFUSED and NOT_DELIVERED mean
none now and none later, UNKNOWN means at most one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from firmware_bridge.osdp_codes import Command
from firmware_bridge.osdp_turnstile import OsdpTurnstile, generate_key
from firmware_bridge.ports import Crossing, Link, OpenResult
from firmware_bridge.sim.turnstile import SimTurnstile

KEY = generate_key()
SLOW = 10_000


@pytest.fixture
def sim() -> Iterator[SimTurnstile]:
    sim = SimTurnstile(KEY, rest_ms=0)
    yield sim
    sim.close()


@pytest.fixture
def turnstile(sim: SimTurnstile) -> Iterator[OsdpTurnstile]:
    turnstile = OsdpTurnstile(sim.device_path, KEY)
    assert turnstile.wait_online(10)
    yield turnstile
    turnstile.close()


def until(condition: Callable[[], bool], timeout_s: float = 15.0) -> bool:
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def check(sim: SimTurnstile, result: OpenResult, before: int = 0) -> None:
    """Compare what was said with what moved, now and a little later."""
    time.sleep(0.3)
    pulses = sim.openings - before
    if result is OpenResult.OPENED:
        assert pulses == 1
    elif result is OpenResult.UNKNOWN:
        assert pulses <= 1
    else:
        assert pulses == 0


# --- one damaged exchange ---------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["drop_commands", "corrupt_commands"])
def test_an_opening_that_the_device_never_understood(sim, turnstile, fault):
    sim.faults.only = Command.OUT
    setattr(sim.faults, fault, 1)
    result = turnstile.open(1000, SLOW)
    check(sim, result)
    # The new session shows that nothing moved, so it was sent again; never without a look.
    # A machine too busy to look in time must say that it does not know.
    assert result in (OpenResult.OPENED, OpenResult.UNKNOWN)
    assert turnstile.wait_online(10)


@pytest.mark.parametrize("fault", ["drop_replies", "corrupt_replies"])
def test_an_opening_whose_answer_was_lost(sim, turnstile, fault):
    sim.faults.only = Command.OUT
    setattr(sim.faults, fault, 1)
    result = turnstile.open(3000, SLOW)
    check(sim, result)
    assert result is OpenResult.OPENED  # read back in a new session while the pulse lasts
    assert sim.openings == 1


def test_an_answer_lost_and_the_pulse_over_is_unknown_and_not_repeated(sim, turnstile):
    sim.faults.only = Command.OUT
    sim.faults.drop_replies = 1
    result = turnstile.open(100, SLOW)
    check(sim, result)
    assert result is OpenResult.UNKNOWN
    assert sim.openings == 1


def test_a_read_back_that_was_lost(sim, turnstile):
    sim.faults.only = Command.OSTAT
    sim.faults.drop_replies = 1
    result = turnstile.open(3000, SLOW)
    check(sim, result)
    assert result is OpenResult.OPENED


def test_an_opening_during_a_pulse_whose_answer_was_lost_is_unknown(sim, turnstile):
    assert turnstile.open(3000, SLOW) is OpenResult.OPENED
    sim.faults.only = Command.OUT
    sim.faults.drop_replies = 1
    # The output is active, but that may be the first pulse: it proves nothing.
    assert turnstile.open(3000, 3000) is OpenResult.UNKNOWN
    assert sim.openings == 1


def test_openings_that_never_get_through_give_up(sim, turnstile):
    sim.faults.only = Command.OUT
    sim.faults.drop_commands = 1000
    result = turnstile.open(1000, 3000)
    check(sim, result)
    assert result in (OpenResult.NOT_DELIVERED, OpenResult.UNKNOWN)
    assert 1000 - sim.faults.drop_commands <= 2
    assert sim.openings == 0


@pytest.mark.parametrize("fault", ["drop_commands", "corrupt_commands", "drop_replies"])
def test_a_damaged_poll_heals_by_itself(sim, turnstile, fault):
    sim.faults.only = Command.POLL
    setattr(sim.faults, fault, 3)
    assert until(lambda: getattr(sim.faults, fault) == 0)
    assert turnstile.wait_online(10)
    assert turnstile.open(500, SLOW) is OpenResult.OPENED
    check(sim, OpenResult.OPENED)


def test_replies_byte_by_byte(sim, turnstile):
    sim.faults.split = True
    result = turnstile.open(1000, SLOW)
    check(sim, result)
    assert result is OpenResult.OPENED


# --- slow and stuck lines ---------------------------------------------------------------------


def test_a_stuck_line_never_opens_late(sim, turnstile):
    sim.faults.stall = True
    result = turnstile.open(500, 400)
    assert result in (OpenResult.NOT_DELIVERED, OpenResult.UNKNOWN)
    assert until(lambda: turnstile.status().link is Link.OFFLINE)
    assert turnstile.open(500, 100) in (OpenResult.NOT_DELIVERED, OpenResult.UNKNOWN)
    time.sleep(0.5)
    sim.faults.stall = False
    # What was stuck arrives now: it was one OUT at most, if it had been sent at all.
    sim.replug()
    assert until(lambda: turnstile.status().link is Link.ONLINE)
    assert sim.openings <= (1 if result is OpenResult.UNKNOWN else 0)


def test_while_offline_nothing_is_queued(sim, turnstile):
    sim.unplug()
    assert until(lambda: turnstile.status().link is Link.OFFLINE)
    for _ in range(3):
        assert turnstile.open(500, 50) is OpenResult.NOT_DELIVERED
    sim.replug()
    assert turnstile.wait_online(10)
    time.sleep(0.3)
    assert sim.edges == []


def test_a_deadline_in_the_past_sends_nothing(sim, turnstile):
    assert turnstile.open(500, 0) is OpenResult.NOT_DELIVERED
    assert turnstile.open(500, -100) is OpenResult.NOT_DELIVERED
    time.sleep(0.2)
    assert sim.edges == []


def test_replies_later_than_the_standard_allows_mean_offline(sim, turnstile):
    sim.faults.delay_replies_ms = 400
    assert until(lambda: turnstile.status().link is Link.OFFLINE)
    fault = turnstile.fault
    assert fault is not None
    assert "did not answer" in fault.what
    sim.faults.delay_replies_ms = 0
    assert turnstile.wait_online(15)


def test_a_restarted_controller_is_back_at_once(sim, turnstile):
    for _ in range(3):
        sim.restart()
        assert turnstile.open(100, SLOW) in (OpenResult.OPENED, OpenResult.UNKNOWN)
        time.sleep(0.15)
    assert sim.openings <= 3


# --- cables -----------------------------------------------------------------------------------


def test_unplugged_mid_pulse(sim, turnstile):
    assert turnstile.open(600, SLOW) is OpenResult.OPENED
    sim.unplug()
    assert until(lambda: turnstile.status().link is Link.OFFLINE)
    assert until(lambda: len(sim.edges) == 2)  # the device ends its pulse by itself
    assert turnstile.watch_crossing(200) is Crossing.UNOBSERVED
    assert turnstile.open(500, 200) is OpenResult.NOT_DELIVERED
    sim.replug()
    assert turnstile.wait_online(10)
    assert len(sim.edges) == 2
    assert turnstile.open(500, SLOW) is OpenResult.OPENED


def test_unplugged_with_the_answer_under_way_is_unknown(sim, turnstile):
    sim.faults.only = Command.OUT
    sim.faults.drop_replies = 1
    # The cable is out before the answer is: the device has obeyed, the gate cannot know.
    result: list[OpenResult] = []
    caller = threading.Thread(target=lambda: result.append(turnstile.open(500, 1000)))
    caller.start()
    assert until(lambda: sim.openings == 1)
    sim.unplug()
    caller.join()
    assert result == [OpenResult.UNKNOWN]
    sim.replug()
    assert turnstile.wait_online(10)
    assert sim.openings == 1


def test_unplugged_and_replugged_many_times(sim, turnstile):
    for _ in range(5):
        sim.unplug()
        assert until(lambda: turnstile.status().link is Link.OFFLINE)
        sim.replug()
        assert turnstile.wait_online(10)
    assert sim.edges == []


def test_a_crossing_during_an_outage_is_not_called_nobody(sim, turnstile):
    assert turnstile.open(1000, SLOW) is OpenResult.OPENED
    sim.unplug()
    sim.person_walks()
    time.sleep(0.7)
    sim.replug()
    assert turnstile.wait_online(10)
    assert turnstile.watch_crossing(100) is Crossing.UNOBSERVED


def test_unplugged_while_watching(sim, turnstile):
    assert turnstile.open(500, SLOW) is OpenResult.OPENED
    sim.unplug()
    assert turnstile.watch_crossing(700) is Crossing.UNOBSERVED


def test_closing_while_a_caller_waits(sim, turnstile):
    sim.unplug()
    assert until(lambda: turnstile.status().link is Link.OFFLINE)
    result: list[OpenResult] = []
    caller = threading.Thread(target=lambda: result.append(turnstile.open(500, 60_000)))
    caller.start()
    time.sleep(0.1)
    turnstile.close()
    caller.join(10)
    assert result == [OpenResult.NOT_DELIVERED]


# --- keys -------------------------------------------------------------------------------------


def test_a_wrong_key_is_told_apart_and_opens_nothing(sim, turnstile):
    sim.set_key(generate_key())
    assert until(lambda: turnstile.status().link is Link.WRONG_KEY)
    fault = turnstile.fault
    assert fault is not None
    assert "same key" in fault.diagnostics()
    assert KEY.hex() not in fault.diagnostics()
    assert turnstile.open(500, 700) is OpenResult.NOT_DELIVERED
    sim.set_key(KEY)
    assert turnstile.wait_online(10)
    assert turnstile.fault is None
    assert sim.edges == []


def test_a_storm_of_faults_never_breaks_the_promise(sim, turnstile):
    for number in range(8):
        before = sim.openings
        faults = sim.faults
        faults.only = (Command.OUT, Command.OSTAT, Command.POLL)[number % 3]
        fault = ("drop_commands", "corrupt_replies", "drop_replies", "corrupt_commands")[number % 4]
        setattr(faults, fault, 1)
        result = turnstile.open(200, 1500)
        check(sim, result, before)
        setattr(faults, fault, 0)
