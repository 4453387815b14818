"""Times of the turnstile line on this machine.

    .venv/bin/python benchmarks/turnstile.py [--openings 60] [--json]

The simulated turnstile runs in a process of its own; relay edges carry its monotonic clock,
which all processes of one machine share. 9600 and 115200 baud are emulated: each byte costs its
wire time. Set-up ends when the first state was read.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from firmware_bridge.osdp_turnstile import OsdpTurnstile, generate_key, load_key, save_key
from firmware_bridge.ports import OpenResult

PEER = """
import sys, time
from firmware_bridge.osdp_key import load_key
from firmware_bridge.sim.turnstile import SimTurnstile
link, key, baud = sys.argv[1:4]
def show(edge):
    print(f"{edge.active:d} {edge.at:.6f}", flush=True)
with SimTurnstile(load_key(key), link=link, baud=int(baud) or None, rest_ms=0, on_edge=show):
    print("ready", flush=True)
    sys.stdin.read()
"""


def quantile(values: list[float], share: float) -> float:
    """Return the value below which `share` of all lie."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def measure(folder: Path, baud: int, openings: int) -> dict[str, float]:
    """Measure one line; `baud` 0 is the bare pty."""
    link, key_file = folder / f"line-{baud}", folder / "door.key"
    peer = subprocess.Popen(
        [sys.executable, "-c", PEER, str(link), str(key_file), str(baud)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert peer.stdin is not None
    assert peer.stdout is not None
    try:
        assert peer.stdout.readline() == "ready\n"
        key = load_key(key_file)
        setups, edges, answers = [], [], []
        turnstile = None
        for _ in range(5):
            if turnstile is not None:
                turnstile.close()
            start = time.monotonic()
            turnstile = OsdpTurnstile(str(link), key, baud=baud if baud else 115200)
            assert turnstile.wait_online(20)
            setups.append(time.monotonic() - start)
        assert turnstile is not None
        for _ in range(openings):
            start = time.monotonic()
            result = turnstile.open(100)
            answers.append(time.monotonic() - start)
            if result is not OpenResult.OPENED:
                raise SystemExit(f"an opening was {result.value}; the machine is too busy")
            rise = re.fullmatch(r"1 ([\d.]+)\n", peer.stdout.readline())
            assert rise is not None
            edges.append(float(rise[1]) - start)
            assert peer.stdout.readline().startswith("0 ")
            time.sleep(0.037)  # not in step with the polls
        cpu, wall = os.times(), time.monotonic()
        time.sleep(5)
        after, wall = os.times(), time.monotonic() - wall
        turnstile.close()
    finally:
        peer.stdin.close()
        peer.wait(10)
        peer.stdout.close()
    busy = after.user + after.system - cpu.user - cpu.system
    return {
        "setup_to_online_ms": round(1000 * statistics.median(setups), 1),
        "relay_edge_p50_ms": round(1000 * quantile(edges, 0.50), 2),
        "relay_edge_p99_ms": round(1000 * quantile(edges, 0.99), 2),
        "read_back_p50_ms": round(1000 * quantile(answers, 0.50), 2),
        "read_back_p99_ms": round(1000 * quantile(answers, 0.99), 2),
        "idle_cpu_percent": round(100 * busy / wall, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--openings", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_key(folder / "door.key", generate_key())
        results = {
            title: measure(folder, baud, options.openings)
            for title, baud in (("pty", 0), ("115200 baud", 115200), ("9600 baud", 9600))
        }
    if options.json:
        print(json.dumps(results))
        return
    rows = list(next(iter(results.values())))
    print(f"{'':22}" + "".join(f"{title:>14}" for title in results))
    for row in rows:
        print(f"{row:22}" + "".join(f"{result[row]:14}" for result in results.values()))


if __name__ == "__main__":
    main()
