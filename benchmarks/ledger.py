"""Measure the log and the retention probe: python benchmarks/ledger.py [--json].

Results depend on the disk: an append ends when the disk says that the bytes are on it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from gate.ledger.checkpoint import Checkpoint, generate
from gate.ledger.export import export
from gate.probe.needles import Index, Kind, Needle
from gate.probe.search import probe, scan_process
from gate.ledger.record import Decided, Mode, Pack, Started
from gate.ledger.store import Ledger
from gate.ledger.verify import verify_export, verify_store
from gate.passage.decision import DenyReason, Lane

ORIGIN = "gate.example/benchmark"
HOLDER = "import os, sys; held = os.urandom({size}); print('+', flush=True); sys.stdin.read()"


def seconds(act: Callable[[], object]) -> float:
    """Return how long one call took."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def measure_log(folder: Path, entries: int) -> dict[str, float]:
    """Append, reopen, verify and export a log of `entries` records."""
    signer = generate(ORIGIN, os.urandom)
    path, now = folder / "ledger.db", datetime(2026, 3, 2, tzinfo=UTC)
    checkpoint = Checkpoint(ORIGIN, 12_345, bytes(32))
    sign_s = statistics.median(seconds(lambda: signer.sign(checkpoint)) for _ in range(500))
    ledger = Ledger.open(path, signer, ORIGIN)
    ledger.append(Started(Mode.DEMO, Pack.EDGE, "0" * 64, True, True), now)
    record = Decided(granted=False, reason=DenyReason.NO_MATCH, lane=Lane.FACE)
    each = []
    for index in range(entries - 1):
        moment = now + timedelta(seconds=20 * index)
        start = time.perf_counter()
        ledger.append(record, moment)
        each.append(time.perf_counter() - start)
    ledger.close()
    result = {
        "entries": entries,
        "appends_per_s": len(each) / sum(each),
        "append_p50_ms": 1000 * statistics.median(each),
        "append_p99_ms": 1000 * statistics.quantiles(each, n=100)[98],
        "checkpoint_sign_ms": 1000 * sign_s,
        "open_s": seconds(lambda: Ledger.open(path, signer, ORIGIN).close()),
        "verify_store_s": seconds(lambda: verify_store(path, signer.vkey)),
        "export_s": seconds(lambda: export(path, folder / "export")),
        "verify_export_s": seconds(lambda: verify_export(folder / "export", signer.vkey)),
        "file_bytes_per_entry": path.stat().st_size / entries,
    }
    assert verify_store(path, signer.vkey).ok
    return result


def measure_probe(size_mib: int) -> dict[str, float]:
    """Search a process that holds random bytes (the worst case) for frames and vectors."""
    rng = np.random.default_rng(1)
    needles = [Needle(f"frame {i}", Kind.IMAGE, rng.bytes(480 * 640 * 3)) for i in range(8)]
    needles += [Needle(f"vector {i}", Kind.VECTOR, rng.bytes(2048)) for i in range(8)]
    start = time.perf_counter()
    index = Index(needles)
    index_s = time.perf_counter() - start
    command = [sys.executable, "-c", HOLDER.format(size=size_mib << 20)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.read(1)
        start = time.perf_counter()
        scan = scan_process(child.pid, index)
        scan_s = time.perf_counter() - start
        child.kill()
    assert not scan.hits
    mib = scan.bytes_scanned / 2**20
    return {
        "needles_mib": sum(len(needle.data) for needle in needles) / 2**20,
        "index_s": index_s,
        "searched_mib": mib,
        "probe_mib_per_s": mib / scan_s,
        "controls_only_s": seconds(lambda: probe([], random=os.urandom)),
    }


def main() -> None:
    """Print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--entries", type=int, default=20_000)
    parser.add_argument("--mib", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        result = measure_log(Path(folder), options.entries) | measure_probe(options.mib)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        for name, value in result.items():
            print(f"{name:<24} {value:>12,.3f}")


if __name__ == "__main__":
    main()
