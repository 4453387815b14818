"""Step 9, rule by rule: pseudonyms, keys, gaps, pruning, clocks, deaths."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from firmware_bridge.ports import Crossing, OpenResult
from gate.ledger.checkpoint import Checkpoint, Signer
from gate.ledger.encoding import batch_of, encode
from gate.ledger.merkle import Frontier, leaf_hash
from gate.ledger.record import (
    CardKeyDestroyed,
    Decided,
    KeyPurpose,
    KeyUsed,
    Missed,
    Mode,
    Moved,
    Pack,
    PolicyChanged,
    Pruned,
    Record,
    SelfTested,
    Started,
    Stopped,
    VerifierDied,
)
from gate.ledger.verify import Report
from gate.ledger.verify.audit import Asked, Found, audit
from gate.ledger.verify.proofs import parse_vkey
from gate.ledger.verify.report import Problems
from gate.passage.decision import DenyReason, Lane
from gate.template.outcome import KeyOutcome

SIGNER = Signer("gate.example/main", bytes(range(32)))
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
FIRST = batch_of(NOON)
START = Started(Mode.DEMO, Pack.EDGE, "ab" * 32, sandbox_ok=True, key_agent_ok=True)
TEMPLATE = KeyUsed(KeyPurpose.TEMPLATE, KeyOutcome.RELEASED)
PIN = KeyUsed(KeyPurpose.PIN, KeyOutcome.RELEASED)
FAILED = KeyUsed(KeyPurpose.TEMPLATE, KeyOutcome.FAILED)
MOVE = Moved(OpenResult.OPENED, Crossing.ONE)
STOP = Stopped(clean=True)
DEATH = VerifierDied(0, 8, 1, True, 2, 4, False, True, True, 4096, 64, 0)


def grant(lane: Lane = Lane.FACE) -> Decided:
    return Decided(granted=True, reason=None, lane=lane)


def denial(card: int = 0) -> Decided:
    return Decided(granted=False, reason=DenyReason.NO_MATCH, lane=Lane.FACE, card=card)


def audited(
    rows: Sequence[tuple[int, Record]], asked: Asked | None = None, pruned: int = 0
) -> Report:
    """Audit a log that a gate with its key wrote: (batch after the first, record) in order."""
    frontier, bodies = Frontier(), []
    for seq, (batch, record) in enumerate(rows):
        bodies.append(encode(seq, FIRST + batch, record))
        frontier.append(leaf_hash(bodies[-1]))
    note = SIGNER.sign(Checkpoint(SIGNER.name, frontier.size, frontier.root()))
    found = Found(
        list(enumerate(bodies))[pruned:],
        [(frontier.size, note)],
        [leaf_hash(body) for body in bodies[:pruned]],
    )
    return audit(found, parse_vkey(SIGNER.vkey), asked or Asked(), Problems())


def at_once(*records: Record) -> list[tuple[int, Record]]:
    return [(0, record) for record in records]


def judged(report: Report, wanted: str | None) -> None:
    if wanted is None:
        assert report.ok, report.problems
    else:
        assert any(wanted in problem for problem in report.problems), report.problems


@pytest.mark.parametrize(
    ("records", "wanted"),
    [
        ([START, denial(1), denial(2), denial(1), denial(3)], None),
        ([START, denial(), denial(1), denial()], None),
        ([START, denial(2)], "names card 2 after only 0"),
        ([START, denial(1), denial(3)], "names card 3 after only 1"),
        ([START, denial(1), denial(65_535)], "names card 65535"),
        ([START, denial(1), STOP, START, denial(1)], None),
        ([START, denial(1), STOP, START, denial(2)], "names card 2 after only 0"),
        ([START, denial(1), START, denial(2)], "names card 2 after only 0"),
        ([START, denial(1), CardKeyDestroyed(1), denial(1)], None),
        ([START, denial(1), CardKeyDestroyed(1), denial(2)], "names card 2 after only 0"),
        ([START, denial(1), CardKeyDestroyed(0)], "counts other cards"),
        ([START, denial(1), CardKeyDestroyed(2)], "counts other cards"),
        ([START, CardKeyDestroyed(0)], None),
        ([START, denial(1), Missed(9), denial(3)], "names card 3 after only 1"),
        ([START, denial(1), Missed(9), denial(2)], None),
    ],
)
def test_pseudonyms_count_up(records: list[Record], wanted: str | None) -> None:
    judged(audited(at_once(*records)), wanted)


def test_the_last_pseudonym_is_shared() -> None:
    rows = at_once(START, *(denial(card) for card in range(1, 65_536)), denial(65_535))
    judged(audited(rows), None)


@pytest.mark.parametrize(("batches", "wanted"), [(95, None), (96, None), (97, "older than a day")])
def test_a_key_for_pseudonyms_lives_for_a_day(batches: int, wanted: str | None) -> None:
    judged(audited([(0, START), (5, denial(1)), (5 + batches, denial(1))]), wanted)
    rows = [(0, START), (5, denial(1)), (5 + batches, CardKeyDestroyed(1)), (200, denial(1))]
    judged(audited(rows), None)


@pytest.mark.parametrize(
    ("records", "wanted"),
    [
        ([TEMPLATE, grant(), MOVE], None),
        ([PIN, grant(Lane.PIN), MOVE], None),
        ([TEMPLATE, PIN, grant(Lane.PIN), MOVE], None),
        ([FAILED, FAILED, denial(1)], None),
        ([TEMPLATE, denial(1), TEMPLATE, denial(1)], None),
        ([grant(), MOVE], "without a key for its lane"),
        ([PIN, grant(), MOVE], "without a key for its lane"),
        ([TEMPLATE, grant(Lane.PIN), MOVE], "without a key for its lane"),
        ([FAILED, grant(), MOVE], "without a key for its lane"),
        ([TEMPLATE, denial(1), grant(), MOVE], "without a key for its lane"),
        ([TEMPLATE, TEMPLATE, denial(1)], "a second template key"),
        ([PIN, TEMPLATE, PIN, denial(1)], "a second pin key"),
        ([Missed(1), grant(), MOVE], None),
        ([TEMPLATE, Missed(1), TEMPLATE, denial(1)], None),
        ([Missed(1), denial(1), grant(), MOVE], "without a key for its lane"),
        ([Missed(1), denial(1), TEMPLATE, TEMPLATE, denial(1)], "a second template key"),
        ([Missed(1), MOVE], "has no grant"),
    ],
)
def test_keys_and_grants(records: list[Record], wanted: str | None) -> None:
    judged(audited(at_once(START, *records)), wanted)


@pytest.mark.parametrize(
    ("belows", "pruned", "wanted"),
    [
        ([256], 256, None),
        ([256, 512], 512, None),
        ([], 256, "256 bodies are missing, but the log says only 0"),
        ([256], 512, "512 bodies are missing, but the log says only 256"),
        ([512], 256, "says that 512 bodies were pruned, but 256 are missing"),
        ([256], 0, "says that 256 bodies were pruned, but 0 are missing"),
        ([256], 100, "not a number of whole tiles"),
        ([512, 256], 512, "prunes what was pruned"),
        ([256, 256], 256, "prunes what was pruned"),
        ([1024], 512, "or what is not there"),
    ],
)
def test_bodies_are_missing_exactly_where_the_log_says(
    belows: list[int], pruned: int, wanted: str | None
) -> None:
    rows = at_once(START, *[denial()] * 599, *[Pruned(below) for below in belows])
    judged(audited(rows, pruned=pruned), wanted)


@pytest.mark.parametrize(
    ("after", "wanted"),
    [
        ([MOVE, denial(1)], None),
        ([MOVE, MOVE], "has no grant"),
        ([denial(7), MOVE], "has no grant"),
        ([START, MOVE], "has no grant"),
        ([STOP, denial()], "where no gate was running"),
        ([denial(7), denial(4)], None),
        ([denial(3), denial(50), denial(51)], None),
        ([CardKeyDestroyed(40), denial(1)], None),
        ([CardKeyDestroyed(40), denial(2)], "names card 2 after only 0"),
        ([denial(50), CardKeyDestroyed(49)], "counts other cards"),
    ],
)
def test_what_was_pruned_is_not_held_against_what_follows(
    after: list[Record], wanted: str | None
) -> None:
    rows = at_once(START, *[denial()] * 255, *after, *([] if STOP in after else [Pruned(256)]))
    if STOP in after:
        rows += at_once(Pruned(256))
    judged(audited(rows, pruned=256), wanted)


def test_a_time_that_has_not_come_yet_is_found() -> None:
    rows = [(0, START), (300, denial())]
    judged(audited(rows), None)
    judged(audited(rows, Asked(now=NOON + timedelta(days=4))), None)
    judged(audited(rows, Asked(now=NOON + timedelta(days=2))), "time that has not come yet")


def test_a_clock_that_goes_back_and_forth_is_found() -> None:
    once = [(9, START), (3, denial()), *[(3, denial())] * 1000, (1, denial())]
    report = audited(once)
    judged(report, None)
    assert report.counts["clock_steps_back"] == 2
    judged(audited([(9, START), (3, denial()), (8, denial()), (2, denial())]), "again and again")
    # A gate that starts with a wrong clock each time is no liar.
    judged(audited([(9, START), (3, denial()), (9, START), (3, denial())]), None)


def test_policies_that_nobody_published_are_found() -> None:
    rows = at_once(START, PolicyChanged("cd" * 32), START, STOP)
    report = audited(rows)
    judged(report, None)
    assert report.counts["policies"] == 2
    judged(audited(rows, Asked(policies={"ab" * 32, "cd" * 32})), None)
    report = audited(rows, Asked(policies={"ab" * 32}))
    judged(report, "step 5: entry 1 names a policy that is none of those given")
    assert len(report.problems) == 1


@pytest.mark.parametrize(
    ("change", "clean"),
    [
        ({}, True),
        ({"lifetime_ds": 600}, True),
        ({"exit_code": -9}, False),
        ({"threads": 2}, False),
        ({"seccomp_mode": 1}, False),
        ({"no_new_privs": False}, False),
        ({"dumpable": True}, False),
        ({"core_limit_zero": False}, False),
        ({"file_limit_zero": False}, False),
        ({"pages_left": 1}, False),
        ({"bytes_out": 63}, False),
        ({"bytes_out": 16 * 68}, False),
        ({"landlock_abi": 3}, False),
        ({"bytes_in": 0, "bytes_out": 16, "seccomp_mode": 0, "exit_code": -9}, True),
        ({"bytes_in": 0, "bytes_out": 16, "seccomp_mode": 0}, True),
        ({"bytes_in": 0, "bytes_out": 16, "seccomp_mode": 0, "exit_code": -31}, False),
        ({"bytes_in": 0, "bytes_out": 16, "seccomp_mode": 0, "dumpable": True}, False),
        ({"bytes_in": 0, "bytes_out": 32, "seccomp_mode": 0}, False),
    ],
)
def test_unclean_deaths_are_counted(change: dict[str, int], clean: bool) -> None:
    death = VerifierDied(**{**vars(DEATH), **change})
    report = audited(at_once(START, SelfTested(60, 60, 4), death))
    judged(report, None)
    assert report.counts["verifiers_unclean"] == (not clean)


def test_the_report_is_json() -> None:
    assert json.dumps(dict(audited(at_once(START, STOP)).counts))
