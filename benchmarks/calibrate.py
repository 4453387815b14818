"""Error rates and thresholds of one pack on a folder of people.

    python benchmarks/calibrate.py --faces FOLDER --pack edge

FOLDER holds one folder per person with that person's photographs. Every photograph goes the way
of a real frame (models.perceive); every score is the real comparison of one live face with one
reference. Terms follow ISO/IEC 19795-1: FMR, FNMR, and failure to acquire (FTA) apart from both.
Intervals are 95 % percentile intervals over 300 resamplings of people, because the pairs of one
person are not independent.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.compare import score_cos
from models.errors import ModelFault
from models.fetch import fetch_pack
from models.pack import Pack, load_pack
from models.perceive import perceive
from models.types import Advice, Embedding, Reference, Zone

FMR_TARGETS = (1e-3, 1e-4, 1e-5)
RESAMPLINGS = 300

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Acquired:
    """What perceive made of the photographs."""

    people: list[int]
    embeddings: list[Embedding]
    live_scores: list[float]
    refused: Counter[str]


@dataclass(frozen=True)
class Scores:
    """All comparisons, each with the two people it compares."""

    genuine: Floats
    genuine_person: Ints
    impostor: Floats
    impostor_people: tuple[Ints, Ints]


@dataclass(frozen=True)
class Point:
    """One operating point. A score at or above the threshold is a match."""

    fmr_target: float
    false_matches: int
    threshold_cos: float
    threshold_95: tuple[float, float]
    fnmr: float
    fnmr_95: tuple[float, float]


def acquire(folder: Path, pack: Pack, zone: Zone) -> Acquired:
    """Perceive every photograph; count those refused, by advice."""
    people: list[int] = []
    embeddings: list[Embedding] = []
    live_scores: list[float] = []
    refused: Counter[str] = Counter()
    for person, sub in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
        for path in sorted(sub.iterdir()):
            image = cv2.imread(str(path))
            if image is None:
                refused["UNREADABLE"] += 1
                continue
            seen = perceive(np.asarray(image, np.uint8), pack, zone)
            if isinstance(seen, Advice):
                refused[seen.name] += 1
                continue
            people.append(person)
            embeddings.append(seen.embedding)
            if seen.live_score is not None:
                live_scores.append(seen.live_score)
        print(f"\r{len(embeddings)} faces", end="", file=sys.stderr)
    print(file=sys.stderr)
    return Acquired(people, embeddings, live_scores, refused)


def compare_all(faces: Acquired) -> Scores:
    """Compare each pair once, the earlier photograph live against the later as reference."""
    genuine, genuine_person, impostor, first, second = [], [], [], [], []
    references = [Reference(face.values) for face in faces.embeddings]
    for i, j in itertools.combinations(range(len(references)), 2):
        score = score_cos(faces.embeddings[i], references[j])
        a, b = faces.people[i], faces.people[j]
        if a == b:
            genuine.append(score)
            genuine_person.append(a)
        else:
            impostor.append(score)
            first.append(a)
            second.append(b)
    return Scores(
        np.array(genuine),
        np.array(genuine_person),
        np.array(impostor),
        (np.array(first), np.array(second)),
    )


def threshold_at(scores_down: Floats, weights_down: Floats, fmr: float) -> float:
    """Return the smallest threshold whose weighted FMR is at most `fmr`."""
    total = np.cumsum(weights_down)
    inside = int(np.searchsorted(total, fmr * total[-1], side="right"))
    if inside >= len(scores_down):
        return float(scores_down[-1])
    # The first score that is one too many must stay below the threshold.
    return float(np.nextafter(scores_down[inside], 2.0))


def operating_points(scores: Scores, people: int, seed: int = 1) -> list[Point]:
    """Return thresholds and FNMR at each FMR target, with intervals."""
    order = np.argsort(-scores.impostor)
    down = scores.impostor[order]
    a, b = (side[order] for side in scores.impostor_people)
    rng = np.random.default_rng(seed)
    draws = [np.ones(people)] + [
        np.bincount(rng.integers(0, people, people), minlength=people).astype(np.float64)
        for _ in range(RESAMPLINGS)
    ]
    found: dict[float, list[tuple[float, float]]] = {target: [] for target in FMR_TARGETS}
    for weight in draws:
        impostor_weight, genuine_weight = weight[a] * weight[b], weight[scores.genuine_person]
        for target in FMR_TARGETS:
            threshold = threshold_at(down, impostor_weight, target)
            missed = genuine_weight[scores.genuine < threshold].sum() / genuine_weight.sum()
            found[target].append((threshold, float(missed)))
    points = []
    for target, values in found.items():
        table = np.array(values)
        low, high = np.percentile(table[1:], [2.5, 97.5], axis=0)
        threshold, fnmr = values[0]
        points.append(
            Point(
                target,
                int((scores.impostor >= threshold).sum()),
                threshold,
                (float(low[0]), float(high[0])),
                fnmr,
                (float(low[1]), float(high[1])),
            )
        )
    return points


def main() -> int:
    """Print the table; 0 done, 2 when the input does not allow it."""
    cache = Path(os.environ.get("GATE_CACHE_DIR", ".cache/consentgate"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=Path, required=True, help="one folder per person")
    parser.add_argument("--pack", default="edge")
    parser.add_argument("--cache", type=Path, default=cache)
    parser.add_argument("--models", type=Path, default=None, help="folder with model files")
    parser.add_argument("--zone", default="0,0,1,1", help="left,top,right,bottom")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    zone = Zone(*(float(part) for part in options.zone.split(",")))
    try:
        folder = fetch_pack(options.pack, options.cache, options.models, lambda _: None)
        pack = load_pack(options.pack, folder)
        faces = acquire(options.faces, pack, zone)
    except (ModelFault, OSError) as error:
        text = error.diagnostics() if isinstance(error, ModelFault) else str(error)
        print(text, file=sys.stderr)
        return 2
    scores = compare_all(faces)
    if len(scores.genuine) < 100 or len(scores.impostor) < 1000:
        print("too few comparisons for any threshold; give more photographs", file=sys.stderr)
        return 2
    points = operating_points(scores, max(faces.people) + 1)
    refused = sum(faces.refused.values())
    live = np.array(faces.live_scores)
    report = {
        "pack": pack.name,
        "model_id": pack.model_id,
        "people": len(set(faces.people)),
        "faces": len(faces.embeddings),
        "fta": refused / (refused + len(faces.embeddings)),
        "fta_by_advice": dict(faces.refused.most_common()),
        "genuine": len(scores.genuine),
        "impostor": len(scores.impostor),
        "points": [asdict(point) for point in points],
        "live_below_live_min": float((live < pack.live_min).mean()) if pack.live_min else None,
        "live_percentiles_1_5_50": np.percentile(live, [1, 5, 50]).tolist() if len(live) else None,
    }
    if options.json:
        print(json.dumps(report, indent=2))
        return 0
    print(
        f"{pack.name} ({pack.model_id}): {report['people']} people, {report['faces']} faces, "
        f"FTA {refused} ({report['fta']:.2%}) {report['fta_by_advice']}\n"
        f"{len(scores.genuine)} genuine and {len(scores.impostor)} impostor comparisons"
    )
    print(f"{'FMR':>8} {'false':>6} {'threshold [95 %]':>28} {'FNMR [95 %]':>28}")
    for point in points:
        threshold = (
            f"{point.threshold_cos:.4f} [{point.threshold_95[0]:.4f}, {point.threshold_95[1]:.4f}]"
        )
        fnmr = f"{point.fnmr:.2%} [{point.fnmr_95[0]:.2%}, {point.fnmr_95[1]:.2%}]"
        print(f"{point.fmr_target:>8.0e} {point.false_matches:>6} {threshold:>28} {fnmr:>28}")
    if len(live):
        print(
            f"live score below {pack.live_min}: {report['live_below_live_min']:.2%}; "
            f"percentiles 1/5/50: {report['live_percentiles_1_5_50']}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
