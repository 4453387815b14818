"""The simulated turnstile's own rules, without time passing."""

from __future__ import annotations

import pytest

from firmware_bridge.osdp_codes import OutputControl, Reply
from firmware_bridge.sim.mechanics import Mechanics, Walk


def at(mechanics: Mechanics, *times: float) -> None:
    for now in times:
        mechanics.advance(now)


def drive(mechanics: Mechanics, timer_count: int = 5) -> bool:
    return mechanics.drive(0, OutputControl.TIMED_ON, timer_count)


def edges(mechanics: Mechanics) -> list[tuple[float, bool]]:
    return [(round(edge.at, 3), edge.active) for edge in mechanics.edges]


def test_a_pulse_ends_by_itself():
    m = Mechanics()
    assert drive(m)
    at(m, 0.49)
    assert m.relay_active
    at(m, 0.5)
    assert edges(m) == [(0.0, True), (0.5, False)]


def test_the_hard_maximum_rules_over_the_line():
    m = Mechanics(hard_max_ms=1000)
    drive(m, 65535)
    at(m, 60.0)
    assert edges(m) == [(0.0, True), (1.0, False)]


def test_the_relay_rests():
    m = Mechanics(rest_ms=300)
    drive(m)
    assert not drive(m)  # it is active
    at(m, 0.7)
    assert not drive(m)
    at(m, 0.8)
    assert drive(m)


@pytest.mark.parametrize("control", [c for c in OutputControl if c is not OutputControl.TIMED_ON])
def test_only_a_timed_pulse_moves_the_relay(control):
    m = Mechanics()
    assert not m.drive(0, control, 5)
    assert not m.drive(1, OutputControl.TIMED_ON, 5)
    assert not m.drive(0, OutputControl.TIMED_ON, 0)
    assert m.edges == []


def test_fire_releases_and_refuses():
    m = Mechanics()
    drive(m)
    at(m, 0.1)
    m.set_fire(True)
    assert edges(m) == [(0.0, True), (0.1, False)]
    at(m, 5.0)
    assert not drive(m)
    m.walk()
    at(m, 6.0)
    assert [p.walk for p in m.persons] == [Walk.PASSED_IN]  # the way is free without any relay


def test_a_jammed_turnstile_refuses():
    m = Mechanics()
    m.set_jammed(True)
    assert not drive(m)


def test_a_shut_barrier_blocks_and_the_way_out_is_free():
    m = Mechanics()
    m.walk()
    m.walk_out()
    at(m, 1.0)
    assert [p.walk for p in m.persons] == [Walk.BLOCKED, Walk.PASSED_OUT]


def test_the_barrier_shuts_behind_one_person():
    m = Mechanics()
    drive(m)
    m.walk()
    at(m, 1.0)
    m.walk()
    at(m, 2.0)
    assert [p.walk for p in m.persons] == [Walk.PASSED_IN, Walk.BLOCKED]


def test_the_barrier_shuts_by_itself():
    m = Mechanics(barrier_ms=2000)
    drive(m)
    at(m, 2.1)
    m.walk()
    assert [p.walk for p in m.persons] == [Walk.BLOCKED]


def test_two_close_behind_each_other_both_pass_and_both_are_sensed():
    m = Mechanics()
    drive(m)
    m.walk(2)
    at(m, 3.0)
    assert [p.walk for p in m.persons] == [Walk.PASSED_IN] * 2
    beams = [data[0] for code, data in iter(m.next_change, None) if code == Reply.ISTATR]
    assert beams == [1, 0, 1, 0]


def test_a_person_can_walk_by_itself_after_each_opening():
    m = Mechanics(auto_walk_after_ms=400)
    drive(m)
    at(m, 3.0)
    drive(m)
    at(m, 6.0)
    assert len(m.persons) == 2


def test_every_edge_is_told_once_whoever_asks():
    m = Mechanics()
    m.walk_out()
    at(m, 1.0)
    told = [m.report_inputs()[1], m.report_inputs()[1], m.report_inputs()[1]]
    assert told == [1, 0, 0]
    assert m.next_change() is None


def test_reading_the_output_tells_earlier_changes_too():
    m = Mechanics()
    drive(m)
    at(m, 1.0)
    assert m.report_outputs() == b"\x00"
    assert m.next_change() is None
