"""One aligned face to one unit vector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.errors import ModelFault
from models.runtime import Runtime
from models.types import Embedding, Rgb8


@dataclass(frozen=True, eq=False)
class Embedder:
    """A verified network and how the manifest wants it used."""

    runtime: Runtime
    alignment: str
    """For geometry.align."""
    mirror: bool
    """Average the crop and its mirror image before normalising."""


def embed(crop_rgb: Rgb8, embedder: Embedder) -> Embedding:
    """Return the unit-length identity vector of one aligned face.

    Args:
        crop_rgb: uint8, shape (side, side, 3), RGB, from geometry.align.
        embedder: see pack.load_pack.

    Returns:
        float32, shape (dim,), L2 norm 1 within 1e-3.

    Raises:
        ModelFault: the crop's shape or the network's answer is not what the manifest says.
    """
    side = embedder.runtime.input.shape[2]
    if crop_rgb.shape != (side, side, 3) or crop_rgb.dtype != np.uint8:
        raise ModelFault(f"{embedder.runtime.name} takes crops of {side} x {side} x 3 bytes")
    crops = [crop_rgb, crop_rgb[:, ::-1]] if embedder.mirror else [crop_rgb]
    values = embedder.runtime.run_images(crops).mean(axis=0, dtype=np.float32)
    norm = float(np.linalg.norm(values))
    if not norm > 1e-6:
        raise ModelFault(f"{embedder.runtime.name} answered a vector without length")
    return Embedding(values / np.float32(norm))
