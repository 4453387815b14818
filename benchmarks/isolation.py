"""What a process for each passage costs, against the same passage in one process.

    .venv/bin/python benchmarks/isolation.py [--pack edge] [--passages 40] [--json]

One run, alternating, after a warm-up: a spare verifier gets key and job and answers (single-use),
then this process walks the very same steps without any wall (in-process). Both open the card's
template with a key out of the key agent and look at the same photograph. Beside it: how long a
spare takes to be there again, what it weighs, what people who arrive one right behind the other
wait for, and what the walls and their self-test take.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from firmware_bridge.camera_source import Means
from gate.escapes.self_test import self_test
from gate.template.agent_client import KeyAgent
from gate.template.biometric import make_template
from gate.template.context import SealContext
from gate.template.envelope import Envelope
from gate.template.seal import seal
from gate.verifier import worker
from gate.verifier.job import Job
from gate.verifier.pool import VerifierPool, start_worker
from gate.verifier.rehearsal import rehearse
from gate.verifier.run import VerifierRun
from gate.verifier.wire import Kind, Verdict
from models.fetch import fetch_pack, fetch_sample_photos
from models.pack import Pack, load_pack
from models.perceive import perceive
from models.types import Sighting, Zone

WARM_UP = 5
PERSONS = 4
AUX = bytes(range(32))
CLOSE_IN = """
import os, sys, time
from firmware_bridge.camera_source import Means
from gate import sandbox
from gate.verifier.locking import OPEN_FILES, camera_devices, narrow, verifier_rules
fd = int(sys.argv[1])
began = time.perf_counter_ns()
sandbox.harden(OPEN_FILES, camera_devices())
hardened = time.perf_counter_ns()
narrow(Means.MEMORY)
sandbox.lock(*verifier_rules(fd, Means.MEMORY))
locked = time.perf_counter_ns()
os.write(fd, (hardened - began).to_bytes(8, "big") + (locked - hardened).to_bytes(8, "big"))
os._exit(0)
"""
"""Harden, narrow, lock, and say in one record how long it took."""


@dataclass
class Passages:
    """One card and one photograph, walked in two ways."""

    agent: KeyAgent
    site_key: ec.EllipticCurvePrivateKey
    pack: Pack
    camera: str
    envelope: bytes
    context: SealContext

    def job(self) -> Job:
        """Return the job of the next passage."""
        nonce = os.urandom(8)
        return Job(self.camera, Zone(), self.envelope, self.context, AUX, nonce, 5_000)

    def release(self, fd: int) -> None:
        """Let the agent write the content key."""
        envelope = Envelope.decode(self.envelope)
        info = self.context.hpke_info()
        self.agent.release_template_key(
            envelope.kid, envelope.wrapped, info, fd, session_id=os.urandom(16)
        )

    def single_use(self, run: VerifierRun) -> float:
        """Walk one passage with a spare; return the milliseconds from key to verdict."""
        began = time.perf_counter()
        self.release(run.key_fd)
        run.close_key_fd()
        run.begin(self.job())
        while True:
            answer = run.next_answer(20_000)
            if answer is None:
                sys.exit("a verifier gave no verdict")
            if answer.kind is Kind.VERDICT:
                took_ms = (time.perf_counter() - began) * 1000
                break
        self._demand(Verdict(answer.code))
        return took_ms

    def in_process(self) -> float:
        """Walk one passage in this process, by the worker's own steps."""
        key_in, key_out = os.pipe()
        began = time.perf_counter()
        self.release(key_out)
        os.close(key_out)
        job, now_ms = self.job(), worker._clock()
        started = worker._start(job, key_in, self.pack)
        if isinstance(started, Verdict):
            sys.exit(f"no look: {started.name}")
        verdict = worker._judge(job, key_in, started, self.pack, lambda _k, _c: None, now_ms)
        took_ms = (time.perf_counter() - began) * 1000
        started.close()
        self._demand(verdict)
        return took_ms

    def _demand(self, verdict: Verdict) -> None:
        if verdict is not Verdict.MATCH:
            sys.exit(f"the owner was not matched: {verdict.name}")


def passages(name: str, folder: Path, photos: Path, scratch: Path) -> Passages:
    """Enrol the owner of the sample photographs and start a key agent."""
    pack = load_pack(name, folder)
    rehearse(pack)
    frame = cv2.imread(str(photos / "owner-1.jpg"))
    assert frame is not None
    found = perceive(np.asarray(frame, np.uint8), pack, Zone())
    if not isinstance(found, Sighting):
        sys.exit(f"the sample photograph is not usable: {found.name}")
    site_key = ec.generate_private_key(ec.SECP256R1())
    path = scratch / "key.pem"
    path.write_bytes(site_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    context = SealContext.for_template(
        b"c" * 16, pack.model_id, b"consent", AUX, now.replace(year=2031)
    )
    template = make_template(
        found.embedding,
        AUX,
        model_id=pack.model_id,
        pack_version=name,
        frames=1,
        quality=1.0,
        created=now,
    )
    envelope = seal(template.encode(), context, site_key.public_key())
    agent = KeyAgent.start([path], per_minute=6_000, burst=1_000)
    camera = f"sim:{photos / 'owner-2.jpg'}?fps=1000"
    return Passages(agent, site_key, pack, camera, envelope, context)


def quantiles(values: list[float]) -> dict[str, float]:
    """Return best, median, 95th percentile and worst. On a busy machine the best tells most."""
    ordered = sorted(values)
    return {
        "min": ordered[0],
        "p50": ordered[len(ordered) // 2],
        "p95": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
        "max": ordered[-1],
        "n": len(ordered),
    }


def timed(action: Callable[[], object], times: int) -> dict[str, float]:
    """Return how long an action takes, in milliseconds."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        took.append((time.perf_counter() - began) * 1000)
    return quantiles(took)


def ready_worker(name: str, folder: Path) -> VerifierRun:
    """Start one verifier and wait until it is a spare."""
    run = start_worker(name, folder)
    while not run.wait_ready(60_000):
        pass
    return run


def compare(walk: Passages, name: str, folder: Path, count: int) -> dict[str, dict[str, float]]:
    """Walk both ways in turn; the machine does nothing else meanwhile."""
    single, inside, refill, gone = [], [], [], []
    for number in range(count + WARM_UP):
        began = time.perf_counter()
        run = ready_worker(name, folder)
        refill_ms = (time.perf_counter() - began) * 1000
        inside_ms = walk.in_process()
        single_ms = walk.single_use(run)
        began = time.perf_counter()
        certificate = run.finish()
        gone_ms = (time.perf_counter() - began) * 1000
        if not certificate.is_clean():
            sys.exit(f"a verifier did not end cleanly: {certificate}")
        if number >= WARM_UP:
            single.append(single_ms)
            inside.append(inside_ms)
            refill.append(refill_ms)
            gone.append(gone_ms)
    return {
        "single-use, key to verdict": quantiles(single),
        "in-process, key to verdict": quantiles(inside),
        "difference, pair by pair": quantiles([a - b for a, b in zip(single, inside, strict=True)]),
        "verdict to memory given back": quantiles(gone),
        "refill: start to ready": quantiles(refill),
    }


def arrivals(walk: Passages, name: str, folder: Path, spares: int, rounds: int) -> dict[str, Any]:
    """Let four people come, each right behind the verdict of the one before."""
    waits: list[list[float]] = [[] for _ in range(PERSONS)]
    weights: list[float] = []
    pool = VerifierPool(name, folder, spares)
    pool.start()
    try:
        for _ in range(rounds):
            end_s = time.monotonic() + 60.0
            while len(pool._spares) < spares and time.monotonic() < end_s:
                time.sleep(0.01)
            time.sleep(0.2)
            weights += [w for run in list(pool._spares) if (w := pss_mb(run.pid)) is not None]
            ended = []
            for waited in waits:
                began = time.perf_counter()
                run = pool.take(60.0)
                waited.append((time.perf_counter() - began) * 1000)
                walk.single_use(run)
                ended.append(run)
            for run in ended:
                run.finish()
    finally:
        pool.close()
    return {
        "waits_ms": {f"person {n}": quantiles(w) for n, w in enumerate(waits, 1)},
        "pss_mb": quantiles(weights) if weights else None,
    }


def pss_mb(pid: int) -> float | None:
    """Return the proportional set size of a process in MB; None when only root may ask."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


def walls(times: int) -> dict[str, dict[str, float]]:
    """Measure the two stages of the sandbox, each in a process of its own."""
    first, second = [], []
    for _ in range(times):
        read_end, write_end = os.pipe()
        child = subprocess.Popen(
            [sys.executable, "-I", "-c", CLOSE_IN, str(write_end)], pass_fds=(write_end,)
        )
        os.close(write_end)
        with os.fdopen(read_end, "rb") as pipe:
            said = pipe.read()
        if child.wait() != 0 or len(said) != 16:
            sys.exit("the sandbox did not close")
        first.append(int.from_bytes(said[:8], "big") / 1e6)
        second.append(int.from_bytes(said[8:], "big") / 1e6)
    return {"stage 1 (harden)": quantiles(first), "stage 2 (narrow, lock)": quantiles(second)}


def measure(name: str, count: int, cache: Path, models: Path | None) -> dict[str, Any]:
    """Return everything, in milliseconds and MB."""
    folder = fetch_pack(name, cache, models, lambda _step: None)
    photos = fetch_sample_photos(cache, lambda _step: None)
    with tempfile.TemporaryDirectory() as scratch:
        walk = passages(name, folder, photos, Path(scratch))
        try:
            times = compare(walk, name, folder, count)
            behind = {
                f"{spares} spare{'s' if spares > 1 else ''}": arrivals(
                    walk, name, folder, spares, rounds=max(3, count // 8)
                )
                for spares in (1, 2)
            }
        finally:
            walk.agent.close()
    times |= walls(max(5, count // 4))
    times["self-test of the sandbox"] = timed(lambda: self_test([Means.MEMORY]), 5)
    return {"pack": name, "times_ms": times, "arrivals": behind}


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pack", default="edge", choices=("bootstrap", "edge"))
    parser.add_argument("--passages", type=int, default=40)
    parser.add_argument("--cache", type=Path, default=Path(".cache/consentgate"))
    parser.add_argument("--models", type=Path, default=None)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options.pack, options.passages, options.cache.resolve(), options.models)
    if options.json:
        print(json.dumps(result, indent=1))
        return
    print(f"pack {result['pack']}; milliseconds")
    print(f"{'what':<32}{'min':>9}{'p50':>9}{'p95':>9}{'max':>9}{'n':>5}")
    for what, row in result["times_ms"].items():
        print_row(what, row)
    print("\nwait for a spare, each person right behind the verdict of the one before")
    for spares, found in result["arrivals"].items():
        for person, row in found["waits_ms"].items():
            print_row(f"{spares}, {person}", row)
        weight = found["pss_mb"]
        shown = f"{weight['p50']:.0f} MB each" if weight else "only root may ask"
        print(f"{spares}, memory (PSS): {shown}")


def print_row(what: str, row: dict[str, float]) -> None:
    """Print one line of the table."""
    print(
        f"{what:<32}{row['min']:>9.1f}{row['p50']:>9.1f}{row['p95']:>9.1f}{row['max']:>9.1f}{row['n']:>5.0f}"
    )


if __name__ == "__main__":
    main()
