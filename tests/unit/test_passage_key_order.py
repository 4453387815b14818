"""The auditor's rule about keys: a grant had one, no passage two, and a second PIN needs none."""

from __future__ import annotations

import os
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from firmware_bridge.ports import Crossing, OpenResult
from gate.errors import KeyAgentFault, TemplateRejected
from gate.ledger.checkpoint import generate
from gate.ledger.record import (
    CardKeyDestroyed,
    Decided,
    KeyPurpose,
    KeyUsed,
    Mode,
    Moved,
    Pack,
    Record,
    Started,
)
from gate.ledger.store import Ledger
from gate.ledger.verify import verify_store
from gate.passage.decision import Deny, DenyReason, Grant, Lane
from gate.passage.key_uses import KeyUses
from gate.template.outcome import KeyOutcome

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
START = Started(Mode.DEMO, Pack.BOOTSTRAP, "ab" * 32, sandbox_ok=True, key_agent_ok=True)
FACE_KEY = KeyUsed(KeyPurpose.TEMPLATE, KeyOutcome.RELEASED)
PIN_KEY = KeyUsed(KeyPurpose.PIN, KeyOutcome.RELEASED)
MOVED = Moved(OpenResult.OPENED, Crossing.ONE)


def wrong(card: int = 1) -> Decided:
    return Decided.of(Deny(DenyReason.WRONG_PIN, Lane.PIN), card)


def pin() -> Decided:
    return Decided.of(Grant(Lane.PIN))


def problems(folder: Path, *records: Record, days: int = 0) -> tuple[str, ...]:
    signer = generate("gate.example/lane", os.urandom)
    path = folder / "log.db"
    with closing(Ledger.open(path, signer, signer.name)) as ledger:
        for place, record in enumerate((START, *records)):
            ledger.append(record, NOW + timedelta(days=days) * (place / (1 + len(records))))
    return verify_store(path, signer.vkey).problems


def test_a_second_pin_of_the_same_card_needs_no_second_key(tmp_path: Path) -> None:
    assert problems(tmp_path, PIN_KEY, wrong(), wrong(), pin(), MOVED) == ()


@pytest.mark.parametrize(
    "records",
    [
        (PIN_KEY, wrong(), wrong(card=2), pin(), MOVED),  # another card
        (wrong(), pin(), MOVED),  # the wrong PIN had no key either
        (PIN_KEY, wrong(), Decided.of(Deny(DenyReason.CARD_REVOKED)), pin(), MOVED),
        (PIN_KEY, wrong(), Decided.of(Grant(Lane.FACE)), MOVED),
        (PIN_KEY, pin(), MOVED, pin(), MOVED),
    ],
)
def test_a_grant_without_its_key_is_found(tmp_path: Path, records: tuple[Record, ...]) -> None:
    (found,) = problems(tmp_path, *records)
    assert "was given without a key for its lane" in found


def test_at_midnight_the_same_card_is_the_first_of_the_new_day(tmp_path: Path) -> None:
    before = (PIN_KEY, wrong(), PIN_KEY, wrong(card=2), CardKeyDestroyed(2))
    assert problems(tmp_path, *before, wrong(card=1), pin(), MOVED) == ()


def test_a_gate_that_was_killed_with_a_key_out_is_no_second_key(tmp_path: Path) -> None:
    later = (FACE_KEY, Decided.of(Grant(Lane.FACE)), MOVED)
    assert problems(tmp_path, FACE_KEY, START, *later) == ()


def test_two_keys_of_one_passage_are_found(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, FACE_KEY, FACE_KEY, Decided.of(Grant(Lane.FACE)), MOVED)
    assert "second template key of one passage" in found


# ---- what a passage notes of its questions ------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (TemplateRejected("damaged"), KeyOutcome.REFUSED),
        (KeyAgentFault("gone"), KeyOutcome.FAILED),
        (KeyAgentFault("slow down", outcome=KeyOutcome.RATE_LIMITED), KeyOutcome.RATE_LIMITED),
        (ValueError("a defect"), KeyOutcome.FAILED),
    ],
)
def test_how_a_question_ended_is_noted(error: Exception, outcome: KeyOutcome) -> None:
    uses = KeyUses()
    with pytest.raises(type(error)), uses.asking(KeyPurpose.PIN):
        raise error
    assert uses.take() == [KeyUsed(KeyPurpose.PIN, outcome)]
    assert uses.take() == []


def test_a_question_that_is_given_up_failed_whatever_comes_later() -> None:
    uses = KeyUses()
    with uses.asking(KeyPurpose.TEMPLATE):
        assert uses.settle(0.01) == [KeyUsed(KeyPurpose.TEMPLATE, KeyOutcome.FAILED)]
    assert uses.settle(0.01) == [], "the late answer is not a second use"


def test_nothing_is_asked_when_the_passage_is_over() -> None:
    uses = KeyUses()
    assert not uses.end()
    with pytest.raises(KeyAgentFault, match="passage ended"), uses.asking(KeyPurpose.PIN):
        pytest.fail("asked")
    assert uses.take() == []


def test_a_decision_is_owed_from_the_question_until_it_stands_in_the_log() -> None:
    uses = KeyUses()
    with uses.asking(KeyPurpose.TEMPLATE):
        pass
    uses.decided()
    assert not uses.end()
    again = KeyUses()
    with again.asking(KeyPurpose.TEMPLATE):
        assert again.end(), "already while it is asked"
