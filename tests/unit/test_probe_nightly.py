"""The nightly probe starts once when due and nobody is there, and is logged whatever happens."""

import json
import resource
import subprocess
import sys
import time as clock
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import IO

import pytest
from pydantic import ValidationError

from gate.errors import LedgerFault
from gate.ledger.record import Probed
from gate.nightly import LONGEST, NOTHING_SHOWN, Nightly
from gate.settings import ProbeSection

REPORT = {
    "needles": 300,
    "controls_planted": 8,
    "controls_found": 8,
    "decoy_hits": 0,
    "residues": 0,
    "searched": [{}] * 9,
    "not_searched": [{}],
}
EVENING = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)


class Night:
    """A gate's surroundings for one night."""

    def __init__(self, code: str, at: time | None = time(3, 0)) -> None:
        self.now = EVENING
        self.idle = True
        self.records: list[Probed] = []
        self.starts = 0
        self.code = code
        self.fault: Exception | None = None
        self.nightly = Nightly(
            at,
            start=self._start,
            idle=lambda: self.idle,
            append=self._append,
            now=lambda: self.now,
        )

    def _start(self, report: IO[bytes]) -> subprocess.Popen[bytes]:
        self.starts += 1
        if self.fault is not None:
            raise self.fault
        return subprocess.Popen(
            [sys.executable, "-c", self.code],
            stdin=subprocess.DEVNULL,
            stdout=report,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )

    def _append(self, record: Probed) -> None:
        self.records.append(record)

    def step_until(self, done: Callable[[], bool]) -> None:
        end_s = clock.monotonic() + 30
        while not done():
            assert clock.monotonic() < end_s
            self.nightly.step()
            clock.sleep(0.01)


def says(document: object) -> str:
    return f"print({json.dumps(document)!r})"


def test_it_runs_once_a_night_and_is_logged() -> None:
    night = Night(says(REPORT))
    night.nightly.step()
    assert night.starts == 0
    night.now = EVENING + timedelta(hours=5, minutes=1)
    night.step_until(lambda: bool(night.records))
    (record,) = night.records
    assert (record.needles, record.searched, record.not_searched) == (300, 9, 1)
    for _ in range(5):
        night.nightly.step()
    assert night.starts == 1
    night.now += timedelta(days=1)
    night.step_until(lambda: len(night.records) == 2)
    assert night.starts == 2
    night.nightly.close()


def test_it_waits_until_nobody_stands_there() -> None:
    night = Night(says(REPORT))
    night.now = EVENING + timedelta(hours=6)
    night.idle = False
    night.nightly.step()
    assert night.starts == 0
    night.idle = True
    night.nightly.step()
    assert night.starts == 1
    night.nightly.close()


def test_without_a_time_it_never_runs() -> None:
    night = Night(says(REPORT), at=None)
    for days in range(3):
        night.now = EVENING + timedelta(days=days, hours=7)
        night.nightly.step()
    assert night.starts == 0
    night.nightly.close()


@pytest.mark.parametrize(
    "code", ["print('no report')", "raise SystemExit(2)", says({"needles": 1}), says([1])]
)
def test_a_probe_that_fails_is_logged_as_having_shown_nothing(code: str) -> None:
    night = Night(code)
    night.now = EVENING + timedelta(hours=6)
    night.step_until(lambda: bool(night.records))
    assert night.records == [NOTHING_SHOWN]


def test_a_probe_that_cannot_start_is_logged() -> None:
    night = Night("")
    night.fault = OSError(12, "no memory")
    night.now = EVENING + timedelta(hours=6)
    night.nightly.step()
    assert night.records == [NOTHING_SHOWN]


def test_a_probe_that_hangs_is_ended_and_logged() -> None:
    night = Night("import time; time.sleep(600)")
    night.now = EVENING + timedelta(hours=6)
    night.nightly.step()
    night.nightly.step()
    assert night.records == []
    night.now += LONGEST + timedelta(minutes=1)
    night.nightly.step()
    assert night.records == [NOTHING_SHOWN]


def test_a_probe_that_is_ended_may_tidy_up_first(tmp_path: Path) -> None:
    left = tmp_path / "picture"
    code = (
        "import pathlib, signal, sys, time\n"
        f"left = pathlib.Path({str(left)!r})\n"
        "signal.signal(signal.SIGTERM, lambda *_: (left.unlink(), sys.exit(1)))\n"
        "left.touch()\n"
        "time.sleep(600)"
    )
    night = Night(code)
    night.now = EVENING + timedelta(hours=6)
    night.step_until(left.exists)
    night.nightly.close()
    assert not left.exists()


def test_a_probe_that_does_not_listen_is_killed() -> None:
    night = Night("import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)")
    nightly = Nightly(
        time(3, 0),
        start=night._start,
        idle=lambda: True,
        append=night._append,
        now=lambda: night.now,
        end_s=0.1,
    )
    night.now = EVENING + timedelta(hours=6)
    nightly.step()
    night.now += LONGEST + timedelta(minutes=1)
    nightly.step()
    assert night.records == [NOTHING_SHOWN]


def test_no_room_for_the_report_does_not_end_the_gate() -> None:
    night = Night(says(REPORT))
    night.now = EVENING + timedelta(hours=6)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        night.nightly.step()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert night.records == [NOTHING_SHOWN]
    assert night.starts == 0


def test_a_log_that_fails_does_not_end_the_gate() -> None:
    night = Night(says(REPORT))

    def full(record: Probed) -> None:
        night.records.append(record)
        raise LedgerFault("the disk is full", "free some space")

    nightly = Nightly(
        time(3, 0), start=night._start, idle=lambda: True, append=full, now=lambda: night.now
    )
    night.nightly = nightly
    night.now = EVENING + timedelta(hours=6)
    night.step_until(lambda: bool(night.records))
    nightly.step()


def test_a_night_without_photographs_is_refused() -> None:
    with pytest.raises(ValidationError, match="faces"):
        ProbeSection.model_validate({"nightly": "03:00"})
    with pytest.raises(ValidationError, match="zone"):
        ProbeSection.model_validate({"nightly": "03:00+09:00", "faces": "x"})
    with pytest.raises(ValidationError):
        ProbeSection.model_validate({"nightly": "three", "faces": "x"})
    assert ProbeSection.model_validate({"nightly": "03:00", "faces": "x"}).nightly == time(3, 0)
    assert ProbeSection().nightly is None
