"""Measure the log: python benchmarks/ledger.py [--records N] [--appends N] [--json].

Durable appends, one at a time, beside two plain peers on the same disk: a SQLite insert and a line
of JSON, both synced. Then a log of N records, built in one transaction: how long it takes to open,
verify and export, how much memory, how large the proofs are. Results depend on the disk: an append
ends when the disk says that the bytes are on it.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from firmware_bridge.ports import Crossing, OpenResult
from gate.ledger.checkpoint import Checkpoint, Signer, generate
from gate.ledger.encoding import batch_of, encode
from gate.ledger.export import export
from gate.ledger.merkle import Frontier, leaf_hash
from gate.ledger.proof_bundle import FileLog, prove_consistency, prove_inclusion
from gate.ledger.record import (
    Decided,
    KeyPurpose,
    KeyUsed,
    Mode,
    Moved,
    Pack,
    Record,
    Started,
    VerifierDied,
)
from gate.ledger.store import Ledger
from gate.passage.decision import Lane
from gate.template.outcome import KeyOutcome

ORIGIN = "gate.example/benchmark"
FIRST = datetime(2026, 3, 2, tzinfo=UTC)
START = Started(Mode.DEMO, Pack.EDGE, "0" * 64, sandbox_ok=True, key_agent_ok=True)
PASSAGE: tuple[Record, ...] = (
    KeyUsed(KeyPurpose.TEMPLATE, KeyOutcome.RELEASED),
    Decided(granted=True, reason=None, lane=Lane.FACE),
    Moved(OpenResult.OPENED, Crossing.ONE),
    VerifierDied(0, 12, 1, True, 2, 4, False, True, True, 4096, 64, 0),
)
PASSAGE_EVERY = timedelta(seconds=90)
VERIFY = """
import resource, sys, time
from pathlib import Path
from gate.ledger.verify import verify_export, verify_store
path = Path(sys.argv[1])
check = verify_export if path.is_dir() else verify_store
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start, began = time.perf_counter(), time.process_time()
report = check(path, sys.argv[2])
took_s = time.perf_counter() - start
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(took_s, time.process_time() - began, grown / 1024)
assert report.ok, report.problems
"""


def seconds(act: Callable[[], object]) -> float:
    """Return how long one call took."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def records(count: int) -> Iterator[tuple[datetime, Record]]:
    """Yield what a gate writes: passages, and every 900 of them a new start."""
    for index in range(count):
        place = index % 3601
        yield FIRST + index * PASSAGE_EVERY / 4, START if place == 0 else PASSAGE[place % 4 - 1]


def rates(name: str, each: list[float]) -> dict[str, float]:
    """Summarise single durable writes."""
    return {
        f"{name}_per_s": len(each) / sum(each),
        f"{name}_p50_ms": 1000 * statistics.median(each),
        f"{name}_p99_ms": 1000 * statistics.quantiles(each, n=100)[98],
    }


def measure_appends(folder: Path, signer: Signer, appends: int) -> dict[str, float]:
    """Append one by one, beside the peers, in turns on the same disk."""
    body = encode(1, batch_of(FIRST), PASSAGE[1])
    plain = sqlite3.connect(folder / "plain.db", isolation_level=None)
    plain.execute("PRAGMA journal_mode = WAL")
    plain.execute("PRAGMA synchronous = FULL")
    plain.execute("CREATE TABLE entries (seq INTEGER PRIMARY KEY, body BLOB NOT NULL)")
    line = os.open(folder / "plain.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def json_line() -> None:
        os.write(line, body + b"\n")
        os.fsync(line)

    ours, inserts, lines = list[float](), list[float](), list[float]()
    with closing(plain), closing(Ledger.open(folder / "log.db", signer, ORIGIN)) as ledger:
        for index, (moment, record) in enumerate(records(appends)):
            ours.append(seconds(lambda m=moment, r=record: ledger.append(r, m)))
            row = (index, body)
            inserts.append(
                seconds(lambda r=row: plain.execute("INSERT INTO entries VALUES (?, ?)", r))
            )
            lines.append(seconds(json_line))
    os.close(line)
    checkpoint = Checkpoint(ORIGIN, 12_345, bytes(32))
    sign_s = statistics.median(seconds(lambda: signer.sign(checkpoint)) for _ in range(500))
    return {
        "appends": appends,
        **rates("append", ours),
        **rates("sqlite_insert", inserts),
        **rates("json_line", lines),
        "checkpoint_sign_ms": 1000 * sign_s,
    }


def build(path: Path, signer: Signer, count: int) -> str:
    """Write a log of `count` records in one transaction; return a checkpoint of its middle."""
    Ledger.open(path, signer, ORIGIN).close()
    frontier, middle, batch = Frontier(), "", -1
    with closing(sqlite3.connect(path)) as db, db:
        for seq, (moment, record) in enumerate(records(count)):
            last, batch = batch, batch_of(moment)
            if batch != last and seq:
                note = signer.sign(Checkpoint(ORIGIN, seq, frontier.root()))
                db.execute("INSERT INTO checkpoints VALUES (?, ?)", (seq, note))
                middle = note if seq <= count // 2 or not middle else middle
            body = encode(seq, batch, record)
            frontier.append(leaf_hash(body))
            db.execute("INSERT INTO entries VALUES (?, ?)", (seq, body))
        note = signer.sign(Checkpoint(ORIGIN, count, frontier.root()))
        db.execute("INSERT INTO checkpoints VALUES (?, ?)", (count, note))
    return middle


def measure_log(folder: Path, signer: Signer, count: int) -> dict[str, float]:
    """Open, verify, export and prove a log of `count` records."""
    path = folder / "ledger.db"
    result: dict[str, float] = {"records": count}
    start = time.perf_counter()
    middle = build(path, signer, count)
    result["build_s"] = time.perf_counter() - start
    result["file_bytes_per_record"] = path.stat().st_size / count
    result["open_s"] = seconds(lambda: Ledger.open(path, signer, ORIGIN).close())
    result["export_s"] = seconds(lambda: export(path, folder / "export"))
    for name, what in {"verify": path, "verify_export": folder / "export"}.items():
        done = subprocess.run(
            [sys.executable, "-c", VERIFY, str(what), signer.vkey],
            capture_output=True,
            text=True,
            check=True,
        )
        took_s, cpu_s, mib = map(float, done.stdout.split())
        result |= {f"{name}_s": took_s, f"{name}_cpu_s": cpu_s, f"{name}_mib": mib}
    newest = (folder / "export" / "checkpoint").read_text()
    log = FileLog(path)
    start = time.perf_counter()
    inclusion = prove_inclusion(log, count // 3, newest)
    result["inclusion_prove_s"] = time.perf_counter() - start
    consistency = prove_consistency(log, middle, newest)
    result["inclusion_bundle_bytes"] = len(inclusion.encode())
    result["consistency_bundle_bytes"] = len(consistency.encode())
    before = path.stat().st_size
    with closing(Ledger.open(path, signer, ORIGIN)) as ledger:
        below = count // 2 // 256 * 256
        if below:
            moment = FIRST + PASSAGE_EVERY / 4 * count
            result["prune_half_s"] = seconds(lambda: ledger.prune(below, moment))
    result["file_growth_by_pruning_bytes"] = path.stat().st_size - before
    return result


def main() -> None:
    """Print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--records", type=int, default=20_000, help="size of the large log")
    parser.add_argument("--appends", type=int, default=1_000, help="durable appends, at least 2")
    options = parser.parse_args()
    signer = generate(ORIGIN, os.urandom)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        result = measure_appends(Path(name), signer, options.appends)
        result |= measure_log(Path(name), signer, options.records)
    if options.json:
        print(json.dumps(result, indent=2))
        return
    for what, value in result.items():
        print(f"{what:<28} {value:>14,.3f}")


if __name__ == "__main__":
    main()
