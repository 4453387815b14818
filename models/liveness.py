"""Presentation attack detection (ISO/IEC 30107-3): two MiniFASNets, mean of their answers."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from models.errors import ModelFault
from models.runtime import Runtime
from models.types import Bgr8, Face

_BONA_FIDE = 1
"""Index of the bona fide class among the three outputs."""


def context_crop(image: Bgr8, face: Face, scale: float, side: int) -> Bgr8:
    """Return the face with its surroundings, resized to a square.

    The crop is `scale` times the face box, made smaller and shifted so that it stays inside the
    image. Source: Silent-Face-Anti-Spoofing, src/generate_patches.py, CropImage.
    """
    height, width = image.shape[:2]
    box_w, box_h = max(face.width, 1.0), max(face.height, 1.0)
    scale = min((height - 1) / box_h, (width - 1) / box_w, scale)
    half_w, half_h = box_w * scale / 2, box_h * scale / 2
    centre_x = min(max(face.left + box_w / 2, half_w), width - 1 - half_w)
    centre_y = min(max(face.top + box_h / 2, half_h), height - 1 - half_h)
    left, top = int(centre_x - half_w), int(centre_y - half_h)
    right, bottom = int(centre_x + half_w), int(centre_y + half_h)
    crop = image[max(top, 0) : bottom + 1, max(left, 0) : right + 1]
    return np.asarray(cv2.resize(crop, (side, side)), np.uint8)


class Liveness:
    """The mean of several networks, each with its own crop scale.

    Args:
        runtimes: three outputs each; the manifest gives each a crop scale.

    Raises:
        ModelFault: a network answers the same to different images, or has no crop scale.
    """

    def __init__(self, runtimes: Sequence[Runtime]) -> None:
        self._runtimes = tuple(runtimes)
        for runtime in self._runtimes:
            if runtime.input.crop_scale is None:
                raise ModelFault(f"{runtime.name}: the manifest gives no crop scale")
            runtime.check_alive()

    def score(self, image: Bgr8, face: Face) -> float:
        """Return the probability, 0..1, that the presentation is bona fide.

        Raises:
            ModelFault: a network failed or answered something that is not finite.
        """
        answers = []
        for runtime in self._runtimes:
            assert runtime.input.crop_scale is not None
            side = runtime.input.shape[2]
            crop = context_crop(image, face, runtime.input.crop_scale, side)
            logits = runtime.run_images([crop])[0].astype(np.float64)
            odds = np.exp(logits - logits.max())
            answers.append(float(odds[_BONA_FIDE] / odds.sum()))
        return float(np.mean(answers))
