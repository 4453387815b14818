"""What may be said of an opening whose answer is missing."""

from __future__ import annotations

import pytest

from firmware_bridge.osdp_codes import Command, Nak, Reply
from firmware_bridge.osdp_identity import DeviceIdentity
from firmware_bridge.osdp_opening import Opening
from firmware_bridge.osdp_panel import Answer
from firmware_bridge.ports import OpenResult
from firmware_bridge.turnstile_readings import TurnstileReadings


def see(readings: TurnstileReadings, *, relay: bool = False, beam: bool = False) -> None:
    readings.note(Answer(Command.OSTAT, Reply.OSTATR, bytes([relay])), 0.0)
    readings.note(Answer(Command.ISTAT, Reply.ISTATR, bytes([beam, 0, 1, 1, 1])), 0.0)


def doubtful(
    *, timer_count: int = 5, relay_before: bool = False
) -> tuple[Opening, TurnstileReadings]:
    readings = TurnstileReadings(0, 0.3)
    see(readings, relay=relay_before)
    opening = Opening(timer_count=timer_count, deadline=100.0)
    opening.send(readings, 10.0)
    opening.in_doubt = True
    return opening, readings


def test_what_never_left_is_not_delivered():
    opening = Opening(timer_count=5, deadline=1.0)
    assert opening.waiting
    assert opening.untold() is OpenResult.NOT_DELIVERED


def test_what_left_without_an_answer_is_unknown():
    opening, _ = doubtful()
    assert not opening.waiting
    assert opening.untold() is OpenResult.UNKNOWN


def test_an_active_output_is_this_opening():
    opening, readings = doubtful()
    see(readings, relay=True)
    assert opening.judge(readings, 10.1) is OpenResult.OPENED


def test_an_output_that_was_active_before_proves_nothing():
    opening, readings = doubtful(relay_before=True)
    assert opening.judge(readings, 10.1) is OpenResult.UNKNOWN
    see(readings, relay=False)
    assert opening.judge(readings, 10.1) is OpenResult.UNKNOWN


def test_an_inactive_output_in_time_allows_one_more_attempt_and_no_third():
    opening, readings = doubtful()
    assert opening.judge(readings, 10.4) is None
    assert opening.waiting
    assert opening.untold() is OpenResult.NOT_DELIVERED
    opening.send(readings, 20.0)
    assert opening.judge(readings, 20.1) is OpenResult.NOT_DELIVERED


@pytest.mark.parametrize(("timer_count", "now"), [(5, 10.5), (1, 10.11), (255, 10.5), (255, 30.0)])
def test_an_inactive_output_too_late_proves_nothing(timer_count, now):
    opening, readings = doubtful(timer_count=timer_count)
    assert opening.judge(readings, now) is OpenResult.UNKNOWN


def test_an_accepted_command_is_never_sent_again():
    opening, readings = doubtful()
    opening.accepted = True
    assert opening.judge(readings, 10.1) is OpenResult.UNKNOWN


def test_a_person_who_crossed_is_no_proof_of_nothing():
    opening, readings = doubtful()
    see(readings, beam=True)
    assert opening.judge(readings, 10.1) is OpenResult.UNKNOWN


def test_an_output_that_cannot_be_read_proves_nothing():
    opening, readings = doubtful()
    readings.note(Answer(Command.OSTAT, Reply.NAK, bytes([Nak.UNKNOWN_COMMAND])), 0.0)
    assert opening.judge(readings, 10.1) is OpenResult.UNKNOWN


def test_a_controller_says_what_it_is():
    identity = Answer(Command.ID, Reply.PDID, bytes([1, 2, 3, 4, 5, 6, 0, 0, 0, 1, 2, 3]))
    capabilities = Answer(Command.CAP, Reply.PDCAP, bytes([1, 1, 5, 2, 2, 1, 9, 1, 0]))
    assert DeviceIdentity.from_answers(identity, capabilities) == DeviceIdentity(
        vendor="010203", model=4, version=5, serial=6, firmware="1.2.3", inputs=5, outputs=1
    )


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x01\x02", b"\x01\x02\x03\x04"])
def test_a_controller_that_mumbles_is_no_fault(data):
    nak = Answer(Command.ID, Reply.NAK, data)
    DeviceIdentity.from_answers(nak, nak)
    DeviceIdentity.from_answers(
        Answer(Command.ID, Reply.PDID, data), Answer(Command.CAP, Reply.PDCAP, data)
    )
