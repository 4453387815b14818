"""Nothing that can happen is without words, and small groups are not counted out."""

from __future__ import annotations

import os
import re
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.ports import Crossing, OpenResult
from gate.console import record_words
from gate.console.admin.plot import HALF_PX, plot
from gate.console.deps import Screen
from gate.console.kiosk import words as kiosk_words
from gate.console.logbook import MINIMUM_COUNT, Day, Logbook, Tally, quarter
from gate.console.pages import ROOT
from gate.errors import LedgerFault
from gate.ledger.checkpoint import generate
from gate.ledger.columns import Column, Hex, Within
from gate.ledger.encoding import batch_of
from gate.ledger.record import (
    KINDS,
    SCHEMA,
    SEQ_MAX,
    TILE,
    Act,
    Decided,
    FaultCode,
    Faulted,
    Mode,
    Moved,
    Record,
    Stopped,
)
from gate.ledger.store import Ledger
from gate.nightly import NOTHING_SHOWN
from gate.passage.decision import Deny, DenyReason, Grant, Lane
from models.types import Advice

SEOUL = timezone(timedelta(hours=9))
HANGUL = re.compile("[가-힣]")


@pytest.mark.parametrize(
    ("closed_list", "table"),
    [
        (DenyReason, record_words.REASONS),
        (Lane, record_words.LANES),
        (OpenResult, record_words.RESULTS),
        (Crossing, record_words.CROSSINGS),
        (FaultCode, record_words.FAULTS),
        (Act, record_words.ACTS),
        (Mode, record_words.MODES),
    ],
)
def test_every_word_of_the_log_has_korean_and_english(
    closed_list: type[Enum], table: dict[Enum, tuple[str, str]]
) -> None:
    assert set(table) == set(closed_list)
    for ko, en in table.values():
        assert HANGUL.search(ko)
        assert en.isascii()
    assert len({en for _, en in table.values()}) == len(table)


def values(column: Column, name: str) -> st.SearchStrategy[object]:
    if name == "bytes_in":
        return st.integers(0, 63).map(lambda kib: kib * 1024)
    match column.rule:
        case Within(low=low, high=high):
            step = TILE if high == SEQ_MAX else 1
            rule: st.SearchStrategy[object] = st.integers(low // step, high // step)
            rule = rule.map(lambda n: n * step)
        case Hex(digits=digits):
            rule = st.text("0123456789abcdef", min_size=digits, max_size=digits)
        case kind if issubclass(kind, Enum):
            rule = st.sampled_from(list(kind))
        case _:
            rule = st.booleans()
    return st.none() | rule if column.optional else rule


def records() -> st.SearchStrategy[Record]:
    def one(kind: type[Record]) -> st.SearchStrategy[Record]:
        if kind is Decided:
            lanes = st.sampled_from([Lane.FACE, Lane.PIN])
            grants = lanes.map(lambda lane: Decided.of(Grant(lane)))
            denials = st.builds(Deny, st.sampled_from(DenyReason), st.sampled_from(Lane))
            return grants | denials.map(Decided.of)
        fields = st.fixed_dictionaries({name: values(c, name) for name, c in SCHEMA[kind].items()})
        return fields.filter(lambda found: fits(kind, found)).map(lambda found: kind(**found))

    def fits(kind: type[Record], found: dict[str, object]) -> bool:
        try:
            kind(**found)
        except ValueError:
            return False
        return True

    return st.one_of([one(kind) for kind in KINDS.values()])


@given(records())
def test_every_record_can_be_said(record: Record) -> None:
    for ko, en in (record_words.kind(record), record_words.sentence(record)):
        assert HANGUL.search(ko)
        assert en
        assert not HANGUL.search(en)


def test_every_screen_and_every_advice_has_words_and_a_drawn_icon() -> None:
    assert set(kiosk_words.SCREENS) == set(Screen)
    assert set(kiosk_words.ADVICE) == set(Advice) - {Advice.NONE}
    drawn = (ROOT / "kiosk" / "templates" / "icons.svg").read_text()
    every = [
        kiosk_words.NO_LINK,
        kiosk_words.PIN_CHOICE,
        *kiosk_words.SCREENS.values(),
        *kiosk_words.ADVICE.values(),
    ]
    for said in every:
        assert HANGUL.search(said.ko)
        assert said.en.isascii()
        assert bool(said.more_ko) == bool(said.more_en)
        assert f'id="i-{said.icon}"' in drawn


def test_a_refusal_names_no_reason_to_bystanders() -> None:
    refusal = kiosk_words.SCREENS[Screen.REFUSED]
    said = " ".join([refusal.ko, refusal.en, refusal.more_ko, refusal.more_en])
    for ko, en in record_words.REASONS.values():
        assert ko not in said
        assert en not in said.lower()


@given(st.integers(0, 10_000))
def test_a_tally_never_shows_a_small_group(count: int) -> None:
    shown = Tally.of(count).shown
    assert shown == (None if 0 < count < MINIMUM_COUNT else count)


@given(st.lists(st.integers(0, 400), min_size=96, max_size=96))
def test_bars_stay_inside_the_plot_and_small_groups_look_alike(counts: list[int]) -> None:
    tallies = tuple(Tally.of(n) for n in counts)
    drawn = plot(Day(tallies, tallies, Tally.of(0), Tally.of(0), ()))
    assert len(drawn.bars) == 2 * sum(n > 0 for n in counts)
    for bar in drawn.bars:
        assert 0 < bar.height <= HALF_PX
        assert 0 <= bar.x <= drawn.width
        assert 0 <= bar.y <= 2 * drawn.middle
    assert len({bar.height for bar in drawn.bars if bar.few}) <= 1


def write(path: Path, when: datetime, *entries: Record) -> None:
    ledger = Ledger.open(path, generate("example/gate", os.urandom), "example/gate")
    for entry in entries:
        ledger.append(entry, when)
    ledger.close()


def test_a_day_counts_its_own_decisions_only(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    noon = datetime(2026, 3, 4, 12, 7, tzinfo=SEOUL)
    ledger = Ledger.open(path, generate("example/gate", os.urandom), "example/gate")
    ledger.append(Decided.of(Grant(Lane.FACE)), noon - timedelta(hours=13))
    for _ in range(6):
        ledger.append(Decided.of(Grant(Lane.PIN)), noon)
        ledger.append(Moved(OpenResult.OPENED, Crossing.ONE), noon)
    for _ in range(7):
        ledger.append(Decided.of(Deny(DenyReason.WRONG_PIN, Lane.PIN)), noon)
    ledger.append(Decided.of(Deny(DenyReason.NO_MATCH, Lane.FACE)), noon)
    ledger.append(Faulted(FaultCode.CAMERA), noon)

    day = Logbook(path).day(noon)  # while the writer has it open
    ledger.close()
    assert day == Logbook(path).day(noon)

    assert day.granted == Tally(6)
    assert day.denied == Tally(8)
    assert day.reasons == (("wrong_pin", Tally(7)), ("no_match", Tally(None)))
    slot = 12 * 4
    assert [i for i, t in enumerate(day.grants) if t != Tally(0)] == [slot]
    assert day.denials[slot] == Tally(8)
    begin, end = quarter(batch_of(noon), noon)
    assert begin == datetime(2026, 3, 4, 12, 0, tzinfo=SEOUL)
    assert end - begin == timedelta(minutes=15)
    assert [type(e.record) for e in Logbook(path).newest(2)] == [Faulted, Decided]


def test_reading_changes_no_byte_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    write(path, datetime(2026, 3, 4, tzinfo=UTC), Stopped(clean=True))
    before = {item.name: item.read_bytes() for item in tmp_path.iterdir()}
    Logbook(path).newest(9)
    assert Logbook(path).checkpoint_note().startswith("example/gate\n1\n")
    assert {item.name: item.read_bytes() for item in tmp_path.iterdir()} == before


@pytest.mark.parametrize("content", [None, b"", b"not a database at all" * 99])
def test_a_log_that_cannot_be_read_is_one_clear_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "log.sqlite"
    if content is not None:
        path.write_bytes(content)
    for question in (Logbook(path).checkpoint_note, lambda: Logbook(path).newest(1)):
        with pytest.raises(LedgerFault) as fault:
            question()
        assert fault.value.advice
        assert "\n" not in fault.value.diagnostics()


def test_reading_works_while_another_thread_writes(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    now = datetime(2026, 3, 4, tzinfo=UTC)
    ledger = Ledger.open(path, generate("example/gate", os.urandom), "example/gate")
    done = threading.Event()

    def writer() -> None:
        for _ in range(60):
            ledger.append(Faulted(FaultCode.CAMERA), now)
        done.set()

    thread = threading.Thread(target=writer)
    thread.start()
    sizes: list[int] = []
    while not done.is_set():
        sizes.append(len(Logbook(path).newest(100)))
    thread.join()
    ledger.close()
    assert sizes == sorted(sizes)
    assert len(Logbook(path).newest(100)) == 60


def test_a_probe_that_failed_is_not_read_as_one_that_found_nothing() -> None:
    assert record_words.sentence(NOTHING_SHOWN)[1] == "failed: it has shown nothing"
    shown = replace(NOTHING_SHOWN, needles=9, controls_planted=8, controls_found=8)
    assert "8/8 controls found" in record_words.sentence(shown)[1]
