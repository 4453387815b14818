"""One frame to one sighting, or to one piece of advice. Pure apart from the models."""

from __future__ import annotations

import numpy as np

from models.embed import embed
from models.errors import ModelFault
from models.geometry import align, crop_zone
from models.pack import Pack
from models.quality import assess
from models.types import Advice, Bgr8, Sighting, Zone


def perceive(frame: Bgr8, pack: Pack, zone: Zone) -> Advice | Sighting:
    """Look at one frame.

    The order is a promise: nothing outside the approach zone is looked at; with no face or with
    more than one, nothing is embedded; a face of poor quality is not embedded either.

    Args:
        frame: uint8, shape (height, width, 3), BGR, any size.
        pack: see pack.load_pack.
        zone: the approach zone.

    Returns:
        What the person should do, or the sighting of the only face.

    Raises:
        ModelFault: the frame is not an image, or a model failed.
    """
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ModelFault("a frame is not an 8-bit BGR image", "check the camera's pixel format")
    view = crop_zone(frame, zone)
    if view.size == 0:
        return Advice.NO_FACE
    faces = pack.detector.detect(view)
    if not faces:
        return Advice.NO_FACE
    if len(faces) > 1:
        return Advice.MULTIPLE_FACES
    (face,) = faces
    advice, quality = assess(view, face, pack.quality)
    if advice is not Advice.NONE:
        return advice
    live_score = pack.liveness.score(view, face) if pack.liveness is not None else None
    embedding = embed(align(view, face, pack.embedder.alignment), pack.embedder)
    return Sighting(embedding, live_score, quality)
