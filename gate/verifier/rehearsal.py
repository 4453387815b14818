"""One made-up passage before the sandbox closes, so that no first use falls under the lock.

Libraries load tables, take buffers and ask the kernel things the first time they run. A spare
gets that over with while it waits for nobody; it also makes the first real frame a fast one.
"""

from __future__ import annotations

from datetime import UTC, datetime

import cv2
import numpy as np

from gate.template.biometric import Template, make_template
from gate.template.protection import AUX_BYTES, protect
from models.compare import score_cos
from models.embed import embed
from models.errors import ModelFault
from models.geometry import ARCFACE_112, DLIB_150, align
from models.pack import Pack
from models.perceive import perceive
from models.quality import assess
from models.types import Bgr8, Face, Landmarks, Zone

_SCALE, _SHIFT = 2.5, 80.0


def rehearse(pack: Pack) -> None:
    """Run every step of a look on noise.

    Raises:
        ModelFault: a step fails, or a face does not match its own template.
    """
    noise = np.random.default_rng(1).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    perceive(noise, pack, Zone())
    _decode(noise)
    face = _made_up_face(pack)
    assess(noise, face, pack.quality)
    if pack.liveness is not None:
        pack.liveness.score(noise, face)
    embedding = embed(align(noise, face, pack.embedder.alignment), pack.embedder)
    aux = bytes(AUX_BYTES)
    template = make_template(
        embedding,
        aux,
        model_id=pack.model_id,
        pack_version=pack.name,
        frames=1,
        quality=1.0,
        created=datetime.fromtimestamp(0, UTC),
    )
    score = score_cos(protect(embedding, aux), Template.decode(template.encode()).reference())
    # Written so that a NaN fails.
    if not score >= 0.99:
        raise ModelFault("a face does not match its own template", "reinstall this program")


def _decode(image: Bgr8) -> None:
    for suffix in (".jpg", ".png"):
        ok, encoded = cv2.imencode(suffix, image[:64, :64])
        if not ok:
            raise ModelFault("OpenCV cannot encode images", "reinstall this program")
        cv2.imdecode(encoded, cv2.IMREAD_COLOR)


def _made_up_face(pack: Pack) -> Face:
    """Return a face whose landmarks lie where the pack's alignment wants them, enlarged."""
    dlib = pack.embedder.alignment == "dlib_150"
    points = (DLIB_150 if dlib else ARCFACE_112) * _SCALE + _SHIFT
    return Face(
        left=_SHIFT,
        top=_SHIFT,
        width=112 * _SCALE,
        height=112 * _SCALE,
        landmarks=points.astype(np.float32),
        score=1.0,
        scheme=Landmarks.DLIB_5 if dlib else Landmarks.ARCFACE_5,
    )
