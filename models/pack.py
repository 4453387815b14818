"""A loaded pack: every network of it, from bytes that were hashed first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2

from models.detect import Detector, DlibHog, YuNet
from models.embed import Embedder
from models.errors import ModelFault
from models.liveness import Liveness
from models.manifest import FileSpec, PackSpec, QualityLimits, manifest, pack_spec
from models.runtime import Runtime
from models.verified import read_verified


@dataclass(frozen=True, eq=False)
class Pack:
    """Everything that turns a frame into a Sighting."""

    name: str
    model_id: str
    """Bound into every sealed template."""
    dim: int
    match_min_cos: float
    live_min: float | None
    """None: this pack looks for no presentation attacks."""
    detector: Detector
    embedder: Embedder
    liveness: Liveness | None
    quality: QualityLimits
    for_production: bool


def _detector(spec: PackSpec, folder: Path, advice: str) -> Detector:
    if spec.detector == "yunet":
        (file,) = spec.with_role("detector")
        runtime = Runtime(read_verified(folder, file, advice), file)
        return YuNet(runtime, spec.detect_side_max_px, spec.detect_score_min)
    if spec.detector == "dlib_hog":
        (file,) = spec.with_role("landmarks")
        predictor = read_verified(folder, file, advice)
        return DlibHog(predictor, spec.detect_side_max_px, spec.detect_score_min)
    raise ModelFault(f"pack '{spec.name}': detector '{spec.detector}' is not known")


def load_pack(name: str, folder: Path) -> Pack:
    """Load one pack. From then on OpenCV, too, works in the calling thread only.

    Args:
        name: a name out of models/manifest.toml.
        folder: what fetch_pack returned.

    Raises:
        ModelFault: a file is absent or differs, or a network is not what the manifest says.
    """
    spec = pack_spec(name)
    advice = f"run 'gate models fetch {name}'"

    def runtime(file: FileSpec) -> Runtime:
        return Runtime(read_verified(folder, file, advice), file)

    cv2.setNumThreads(1)
    (embedder_file,) = spec.with_role("embedder")
    if embedder_file.output is None or embedder_file.output[-1] != spec.dim:
        raise ModelFault(f"pack '{name}': the embedder does not give {spec.dim} numbers")
    network = runtime(embedder_file)
    network.check_alive()
    liveness_files = spec.with_role("liveness")
    return Pack(
        name=spec.name,
        model_id=spec.model_id,
        dim=spec.dim,
        match_min_cos=spec.match_min_cos,
        live_min=spec.live_min,
        detector=_detector(spec, folder, advice),
        embedder=Embedder(network, spec.alignment, spec.mirror),
        liveness=Liveness([runtime(file) for file in liveness_files]) if liveness_files else None,
        quality=manifest().quality,
        for_production=spec.for_production,
    )
