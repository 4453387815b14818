"""The only comparison there is: one live face against one reference."""

from __future__ import annotations

import numpy as np

from models.errors import ModelFault
from models.types import Embedding, Reference


def score_cos(live: Embedding, reference: Reference) -> float:
    """Return the cosine of the angle between a live face and THE reference, -1..1.

    The two types differ on purpose: nothing here takes two references, so nothing here can
    search.

    Raises:
        ModelFault: lengths differ, or a vector is not finite or not of unit length.
    """
    a, b = live.values, reference.values
    if a.ndim != 1 or a.shape != b.shape:
        raise ModelFault("live face and reference come from different models", "enrol again")
    score = float(np.dot(a.astype(np.float64), b.astype(np.float64)))
    for norm in (float(np.linalg.norm(a)), float(np.linalg.norm(b))):
        if not abs(norm - 1.0) <= 0.02:
            raise ModelFault("an identity vector is not of unit length", "enrol again")
    return min(1.0, max(-1.0, score))
