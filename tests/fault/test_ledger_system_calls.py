"""Each system call of a small writer is broken once: killed there, refused with EIO, with ENOSPC.

strace injects the fault at the n-th call of one kind. The writer is forked from a process that
has imported everything, and makes M - n dummy calls of that kind first, so that one strace, which
breaks the M-th call, serves every n. Set ALL_FAULTS=1 (and --timeout=900) to break every call
instead of an even sample of them.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import IO

import pyseccomp
import pytest

from gate.errors import LedgerFault
from gate.ledger.checkpoint import Signer
from gate.ledger.record import Decided, Pruned, Started, Stopped
from gate.ledger.store import Ledger
from gate.ledger.verify import verify_store

WRITER = Path(__file__).with_name("ledger_writer.py")
TRACED = (
    "trace=?openat,?pwrite64,?pread64,?fsync,?fdatasync,?ftruncate,?fallocate,?unlink,?rename,"
    "?mmap,?munmap,?fcntl,?flock,?newfstatat,?fstat,?lseek,?fchmod,?fchown,?mkdir,?close"
)
NO_SPACE = {"openat", "pwrite64", "fsync", "fdatasync", "ftruncate", "fallocate", "mmap", "mkdir"}
SAMPLE = 50
"""Calls broken for each scenario and fault without ALL_FAULTS."""


def _load_writer() -> ModuleType:
    spec = util.spec_from_file_location("ledger_writer", WRITER)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


writer = _load_writer()
SIGNER = Signer(writer.ORIGIN, bytes(range(32)))


@dataclass(frozen=True)
class Case:
    """The `at`-th `call` of the writer is broken."""

    call: str
    at: int


@contextmanager
def strace(pid: int, options: list[str], log: Path) -> Iterator[None]:
    """Trace a process and its children; skip where that cannot be."""
    command = ["strace", "-f", "-p", str(pid), "-o", str(log), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        if "attached" not in said:
            tracer.wait()
            pytest.skip(f"strace may not trace here: {said.strip()}")
        try:
            yield
        finally:
            tracer.terminate()


class Writers:
    """The process that forks writers."""

    def __init__(self, cases: int, folder: Path) -> None:
        self.board_file = folder / "board"
        self.board_file.write_bytes(bytes(writer.SLOT * max(cases, 1)))
        self.process = subprocess.Popen(
            [sys.executable, str(WRITER), str(self.board_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.out.readline() == "ready\n"
        with self.board_file.open("r+b") as file:
            self.board = mmap.mmap(file.fileno(), 0)

    @property
    def out(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def run(self, case: int, folder: Path, scenario: str, dummies: list[tuple[int, int]]) -> int:
        """Let one writer live and return its exit code."""
        task = {"case": case, "folder": str(folder), "scenario": scenario, "dummies": dummies}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        return int(self.out.readline())

    def slot(self, case: int) -> bytes:
        return bytes(self.board[writer.SLOT * case : writer.SLOT * (case + 1)])

    def close(self) -> None:
        self.process.communicate()
        self.board.close()


@contextmanager
def writers(cases: int, folder: Path) -> Iterator[Writers]:
    made = Writers(cases, folder)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 258 entries as a killed writer leaves it: with its write-ahead log."""
    place = tmp_path_factory.mktemp("grown")
    (place / "live").mkdir()
    with closing(Ledger.open(place / "live" / "ledger.db", SIGNER, writer.ORIGIN)) as ledger:
        ledger.append(writer.START, writer.NOON - timedelta(hours=9))
        for index in range(257):
            ledger.append(writer.denied(0), writer.NOON - timedelta(minutes=2 * (258 - index)))
        shutil.copytree(place / "live", place / "left")
    return place / "left"


def prepare(folder: Path, scenario: str, grown: Path) -> None:
    if scenario == "grown":
        shutil.copytree(grown, folder)
    else:
        folder.mkdir()


def count_calls(scenario: str, grown: Path, place: Path) -> Counter[str]:
    """Return how many calls of each kind a writer makes that nothing disturbs."""
    prepare(place / "counted", scenario, grown)
    with writers(1, place) as forker:
        with strace(forker.process.pid, ["-e", TRACED], place / "log"):
            assert forker.run(0, place / "counted", scenario, []) == 0
        assert forker.slot(0)[writer.CLOSED] == writer.RETURNED
        forker_pid = forker.process.pid
    lines = (place / "log").read_text().splitlines()
    names = [re.match(r"(\d+) +(\w+)\(", line) for line in lines]
    return Counter(name[2] for name in names if name and int(name[1]) != forker_pid)


def sample(counts: Counter[str], fault: str) -> list[Case]:
    cases = [
        Case(call, at)
        for call, count in sorted(counts.items())
        if fault != "error=ENOSPC" or call in NO_SPACE
        for at in range(1, count + 1)
    ]
    if os.environ.get("ALL_FAULTS") or len(cases) <= SAMPLE:
        return cases
    return [cases[index * len(cases) // SAMPLE] for index in range(SAMPLE)]


@pytest.mark.parametrize("fault", ["signal=KILL", "error=EIO", "error=ENOSPC"])
@pytest.mark.parametrize("scenario", ["fresh", "grown"])
def test_a_log_stands_every_broken_system_call(
    tmp_path: Path, grown: Path, scenario: str, fault: str
) -> None:
    if shutil.which("strace") is None:
        pytest.skip("needs strace (Debian package: strace)")
    counts = count_calls(scenario, grown, tmp_path)
    assert counts["pwrite64"] > 5
    assert counts["fdatasync"] + counts["fsync"] > 2
    # More than a writer that met a fault elsewhere makes, so that one fault comes alone.
    breaks_at = {call: 2 * count + 5 for call, count in counts.items()}
    options = [f"--inject={call}:{fault}:when={at}" for call, at in breaks_at.items()]
    cases = sample(counts, fault)
    hit = 0
    with (
        writers(len(cases), tmp_path) as forker,
        strace(forker.process.pid, ["-e", TRACED, *options], tmp_path / "faults"),
    ):
        for number, case in enumerate(cases):
            folder = tmp_path / f"case{number}"
            prepare(folder, scenario, grown)
            call = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, case.call)
            dummies = [(call, breaks_at[case.call] - case.at)]
            code = forker.run(number, folder, scenario, dummies)
            slot = forker.slot(number)
            judge(folder / "ledger.db", scenario, slot, f"{fault} at {case.call} {case.at}")
            hit += code != 0 or writer.FAILED in slot
            assert (code == -9) == (fault == "signal=KILL") or code in (0, 71), (code, case)
            shutil.rmtree(folder)
    print(f"{scenario} {fault}: {len(cases)} of {sum(counts.values())} calls, {hit} were felt")
    if fault == "signal=KILL":
        assert hit == len(cases)
    assert hit > len(cases) // 4


def judge(path: Path, scenario: str, slot: bytes, what: str) -> None:
    """The log holds what was reported, in order, nothing that was not tried, and goes on."""
    steps = slice(1, writer.PRUNED_CLEAN)
    returned = [step for step, said in enumerate(slot[steps], 1) if said == writer.RETURNED]
    if returned:
        # As the auditor finds it, before any gate opened it again.
        report = verify_store(path, SIGNER.vkey)
        assert report.ok, (what, report.problems)
    with closing(Ledger.open(path, SIGNER, writer.ORIGIN)) as ledger:
        found = [step_of(entry.record, scenario) for entry in reversed(ledger.newest(300))]
        tried = [step for step in found if step]
        assert set(returned) <= set(tried), (what, returned, found)
        assert tried == sorted(set(tried)), (what, "each once and in order", tried)
        # A record whose append failed may stand there when the fault came after its commit.
        assert len(set(tried) - set(returned)) <= 1, (what, returned, tried)
        untouched = [step for step in found if not step]
        base = 0 if scenario == "fresh" else 2 if 4 in tried else 258
        assert len(untouched) == base, (what, len(untouched))
        assert not ledger.traces_left()
        if 4 in tried:
            pruned_bytes_are_gone(path, what)
        seq = ledger.append(writer.START, writer.NOON + timedelta(hours=1))
        ledger.append(Stopped(clean=True), writer.NOON + timedelta(hours=1))
        assert seq == (0 if scenario == "fresh" else 258) + len(tried), what
    report = verify_store(path, SIGNER.vkey)
    assert report.ok, (what, report.problems)
    if slot[writer.PRUNED_CLEAN] == writer.RETURNED and slot[4] == writer.RETURNED:
        pruned_bytes_are_gone(path, what)


def step_of(record: object, scenario: str) -> int:
    """Return the step that wrote a record, 0 for those that were there before."""
    match record:
        case Pruned():
            return 4
        case Decided(reason=reason):
            return int(writer.REASONS.index(reason))
        case Started():
            return 1 if scenario == "fresh" else 0
    raise AssertionError(record)


def pruned_bytes_are_gone(path: Path, what: str) -> None:
    for file in path.parent.iterdir():
        assert not re.search(rb'"seq":(\d|\d\d|1\d\d|2[0-4]\d|25[0-5])[,}]', file.read_bytes()), (
            what,
            file.name,
        )


def test_a_writer_that_cannot_open_says_so(tmp_path: Path) -> None:
    """The judge's own control: without a log nothing counts as returned."""
    with pytest.raises(LedgerFault):
        Ledger.open(tmp_path / "none" / "ledger.db", SIGNER, writer.ORIGIN)
