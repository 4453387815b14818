"""Embedding one face: ours beside what one would use otherwise, in one run on one machine.

    python benchmarks/embed.py [--models FOLDER] [--json]

dlib's own network beside its ONNX conversion (same 150 px chip), and EdgeFace-XS in a plain ONNX
Runtime session beside our session options (same 112 px crop). Calls alternate, so that whatever
else the machine does falls on both. `ratio` is reference p50 / ours: above 1 ours is faster.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from models.errors import ModelFault
from models.fetch import fetch_pack
from models.manifest import pack_spec
from models.pack import load_pack
from models.verified import read_verified


@dataclass(frozen=True)
class Row:
    """One side of one comparison, times in milliseconds."""

    what: str
    p50_ms: float
    p99_ms: float
    ratio: float
    """Reference p50 / this p50; 1 for the reference."""


def alternate(calls: dict[str, Callable[[], object]], rounds: int) -> list[Row]:
    """Time the calls in turn; the first is the reference."""
    taken_ms: dict[str, list[float]] = {what: [] for what in calls}
    for turn in range(rounds + 5):
        for what, call in calls.items():
            start = time.perf_counter()
            call()
            if turn >= 5:  # the first turns fill caches
                taken_ms[what].append((time.perf_counter() - start) * 1e3)
    medians = {what: float(np.median(times)) for what, times in taken_ms.items()}
    reference = next(iter(medians.values()))
    return [
        Row(what, medians[what], float(np.percentile(times, 99)), reference / medians[what])
        for what, times in taken_ms.items()
    ]


def dlib_rows(cache: Path, rounds: int) -> list[Row]:
    """Compare dlib's network with its conversion, one pass each (no mirror image)."""
    import dlib

    folder = fetch_pack("bootstrap", cache, None, lambda _: None)
    (source,) = pack_spec("bootstrap").with_role("source")
    theirs = dlib.face_recognition_model_v1(str(folder / source.name))
    ours = load_pack("bootstrap", folder).embedder.runtime
    chip = np.random.default_rng(1).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    drift = np.abs(ours.run_images([chip])[0] - np.array(theirs.compute_face_descriptor(chip)))
    print(f"dlib and ONNX differ by at most {drift.max():.1e}", file=sys.stderr)
    return alternate(
        {
            "dlib itself": lambda: theirs.compute_face_descriptor(chip),
            "dlib as ONNX, 1 thread": lambda: ours.run_images([chip]),
        },
        rounds,
    )


def edge_rows(cache: Path, models: Path | None, rounds: int) -> list[Row]:
    """Compare a plain session with ours."""
    folder = fetch_pack("edge", cache, models, lambda _: None)
    ours = load_pack("edge", folder).embedder.runtime
    (spec,) = pack_spec("edge").with_role("embedder")
    import onnxruntime  # after models.runtime, which turns usage reports off

    plain = onnxruntime.InferenceSession(
        read_verified(folder, spec, ""), providers=["CPUExecutionProvider"]
    )
    crop = np.random.default_rng(1).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    batch = ours.prepare([crop])
    name = plain.get_inputs()[0].name
    return alternate(
        {
            "EdgeFace-XS, plain session": lambda: plain.run(None, {name: batch}),
            "EdgeFace-XS, ours, 1 thread": lambda: ours.run(batch),
        },
        rounds,
    )


def main() -> int:
    """Print the table; 0 done, 2 when neither pack can be had."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cache = Path(os.environ.get("GATE_CACHE_DIR", ".cache/consentgate"))
    parser.add_argument("--cache", type=Path, default=cache)
    parser.add_argument("--models", type=Path, default=None, help="folder with model files")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows: list[Row] = []
    for measure in (
        lambda: dlib_rows(options.cache, options.rounds),
        lambda: edge_rows(options.cache, options.models, options.rounds),
    ):
        try:
            rows += measure()
        except (ModelFault, ImportError) as error:
            text = error.diagnostics() if isinstance(error, ModelFault) else str(error)
            print(f"left out: {text}", file=sys.stderr)
    if options.json:
        machine = {"cpu_count": os.cpu_count(), "machine": platform.machine()}
        print(json.dumps({**machine, "rows": [asdict(row) for row in rows]}, indent=2))
    else:
        print(f"{'':30} {'p50 ms':>9} {'p99 ms':>9} {'ratio':>7}")
        for row in rows:
            print(f"{row.what:30} {row.p50_ms:>9.2f} {row.p99_ms:>9.2f} {row.ratio:>6.2f}x")
    return 0 if rows else 2


if __name__ == "__main__":
    raise SystemExit(main())
