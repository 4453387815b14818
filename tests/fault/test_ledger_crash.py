"""Killed writers, full disks and failing writes. The log verifies afterwards, always."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gate.ledger.checkpoint import Signer
from gate.ledger.record import Stopped
from gate.ledger.store import Ledger
from gate.ledger.verify import verify_store

ORIGIN = "gate.example/main"
SIGNER = Signer(ORIGIN, bytes(range(32)))
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
COMMON = """
import resource, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from gate.errors import LedgerFault
from gate.ledger.checkpoint import Signer
from gate.ledger.record import Decided, Mode, Pack, Started, Stopped
from gate.ledger.store import Ledger
from gate.passage.decision import DenyReason, Lane
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
START = Started(Mode.DEMO, Pack.EDGE, "ab" * 32, sandbox_ok=True, key_agent_ok=True)
DENY = Decided(granted=False, reason=DenyReason.NO_MATCH, lane=Lane.FACE)
path = Path(sys.argv[1])
ledger = Ledger.open(path, Signer("gate.example/main", bytes(range(32))), "gate.example/main")
"""
WRITER = """
ledger.append(START, NOON)
for minute in range(10**9):
    print(ledger.append(DENY, NOON + timedelta(minutes=minute)), flush=True)
"""
FULL_DISK = """
import os, signal
assert signal.getsignal(signal.SIGXFSZ) is signal.SIG_IGN
ledger.append(START, NOON)
room = path.with_name("ballast")
said = []
for round_ in range(3):
    if sys.argv[2] == "limit":
        size = max(f.stat().st_size for f in path.parent.iterdir())
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 30_000, resource.RLIM_INFINITY))
    else:
        with room.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass
    before = ledger.size() - 1
    try:
        while True:
            before = ledger.append(DENY, NOON)
    except LedgerFault as fault:
        said.append(fault.diagnostics())
    for _ in range(3):
        try:
            ledger.append(DENY, NOON)
        except LedgerFault as fault:
            said.append(fault.diagnostics())
    if sys.argv[2] == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    else:
        room.unlink()
    size = ledger.size()
    assert size == before + 1, (size, before)
    assert ledger.append(DENY, NOON) == size
    assert ledger.newest(1)[0].seq == size
ledger.append(Stopped(True), NOON)
ledger.close()
print(len(said), *sorted(set(said)), sep="\\n")
"""


def run(script: str, path: Path, *args: str) -> list[str]:
    return [sys.executable, "-c", COMMON + script, str(path), *args]


def test_a_writer_killed_at_any_moment_loses_nothing_it_reported(tmp_path: Path) -> None:
    path, seed = tmp_path / "ledger.db", random.Random(4)
    last = -1
    for _ in range(8):
        with subprocess.Popen(run(WRITER, path), stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(seed.uniform(0, 0.08))
            os.kill(child.pid, signal.SIGKILL)
            lines = [line for line in child.stdout if line.endswith("\n")]
        if lines:
            last = int(lines[-1])
        for _ in range(2):  # with the left-over write-ahead log, and again
            report = verify_store(path, SIGNER.vkey)
            assert report.ok, report.problems
            assert report.size > last
    with closing(Ledger.open(path, SIGNER, ORIGIN)) as ledger:
        assert ledger.size() > last > 8
        ledger.append(Stopped(clean=True), NOON)
    report = verify_store(path, SIGNER.vkey)
    assert report.ok, report.problems
    assert report.counts["unclean_stops"] == report.counts["started"] - 1 == 7


def test_a_write_that_the_system_refuses(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    done = subprocess.run(
        run(FULL_DISK, path, "limit"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    count, *said = done.stdout.splitlines()
    assert int(count) == 12
    assert said == [
        f"the disk did not take the log {path}; "
        "free space on its disk, check file size limits and the disk's health"
    ]
    report = verify_store(path, SIGNER.vkey)
    assert report.ok, report.problems


def test_a_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs mount (Debian package: mount)")
    if mounted.returncode:
        pytest.skip("needs the right to mount a small tmpfs: run as root")
    try:
        path = disk / "ledger.db"
        done = subprocess.run(
            run(FULL_DISK, path, "disk"), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        count, *said = done.stdout.splitlines()
        assert int(count) == 12
        assert said == [f"no space left to write the log {path}; free space on its disk"]
        report = verify_store(path, SIGNER.vkey)
        assert report.ok, report.problems
    finally:
        subprocess.run(["umount", str(disk)], check=True)
