"""From answers to a state and a count of persons."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.osdp_codes import Command, Nak, Reply
from firmware_bridge.osdp_panel import Answer
from firmware_bridge.ports import Link
from firmware_bridge.turnstile_readings import TurnstileReadings

MAX_GAP_S = 0.3

CALM = bytes([0, 0, 1, 1, 1])


def inputs(*states: bytes) -> TurnstileReadings:
    readings = TurnstileReadings(0, MAX_GAP_S)
    for number, state in enumerate(states):
        readings.note(Answer(Command.POLL, Reply.ISTATR, state), number * 0.05)
    return readings


def test_before_the_first_reading_everything_is_an_alarm():
    status = TurnstileReadings(0, MAX_GAP_S).status(Link.ONLINE)
    assert status.tamper
    assert status.fire
    assert not status.ready


def test_closed_loops_are_calm():
    status = inputs(CALM).status(Link.ONLINE)
    assert (status.tamper, status.fire, status.ready) == (False, False, True)


def test_a_broken_wire_is_the_alarm():
    assert not inputs(bytes([0, 0, 0, 1, 1])).status(Link.ONLINE).ready
    assert inputs(bytes([0, 0, 1, 0, 1])).status(Link.ONLINE).tamper
    assert inputs(bytes([0, 0, 1, 1, 0])).status(Link.ONLINE).fire


def test_a_device_with_too_few_inputs_is_never_calm():
    status = inputs(bytes([0, 0])).status(Link.ONLINE)
    assert (status.tamper, status.fire, status.ready) == (True, True, False)


def test_a_person_already_in_the_beam_is_not_counted():
    assert inputs(bytes([1, 1, 1, 1, 1])).passages_a == 0


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=30))
def test_each_rising_edge_is_one_person(beams):
    states = [CALM, *(bytes([a, b, 1, 1, 1]) for a, b in beams)]
    readings = inputs(*states)
    walked = [(False, False), *beams]
    for index, counted in ((0, readings.passages_a), (1, readings.passages_b)):
        line = "".join("1" if beam[index] else "0" for beam in walked)
        assert counted == line.count("01")


def test_the_output_is_the_entry_output():
    readings = TurnstileReadings(1, MAX_GAP_S)
    readings.note(Answer(Command.OSTAT, Reply.OSTATR, bytes([1, 0])), 0.0)
    assert not readings.relay_active
    readings.note(Answer(Command.OSTAT, Reply.OSTATR, bytes([0, 1])), 0.0)
    assert readings.relay_active
    readings.note(Answer(Command.OSTAT, Reply.OSTATR, b""), 0.0)
    assert readings.relay_active  # a report without our output says nothing


def test_local_state():
    readings = inputs(CALM)
    readings.note(Answer(Command.LSTAT, Reply.LSTATR, bytes([1, 1])), 0.0)
    status = readings.status(Link.ONLINE)
    assert status.tamper
    assert status.power_fault


def test_silence_is_a_gap():
    readings = inputs(CALM)
    gaps = readings.gaps
    readings.note(Answer(Command.POLL, Reply.ACK, b""), MAX_GAP_S)
    assert readings.gaps == gaps
    readings.note(Answer(Command.POLL, Reply.ACK, b""), 2.5 * MAX_GAP_S)
    assert readings.gaps == gaps + 1


def test_a_query_that_the_device_does_not_know_is_not_asked_again():
    readings = TurnstileReadings(0, MAX_GAP_S)
    readings.note(Answer(Command.LSTAT, Reply.NAK, bytes([Nak.UNKNOWN_COMMAND])), 0.0)
    assert not readings.supports(Command.LSTAT)
    assert readings.supports(Command.OSTAT)


@given(st.integers(0, 255), st.binary(max_size=20))
def test_no_answer_upsets_it(code, data):
    readings = inputs(CALM)
    readings.note(Answer(Command.POLL, code, data), 1.0)
    readings.status(Link.ONLINE)
