"""Is this face good enough to embed, and if not, what should the person do? Pure.

The measures follow ISO/IEC 29794-5: inter-eye distance, head size and position, pose,
illumination, sharpness. They guide the person; they are not a conformance claim.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from models.geometry import eyes_and_nose
from models.manifest import QualityLimits
from models.types import Advice, Bgr8, Face

_SIDE_PX = 112


def _inside(face: Face, height: int, width: int) -> float:
    """Return the share of the face box that lies inside the image."""
    across = min(face.left + face.width, width) - max(face.left, 0.0)
    down = min(face.top + face.height, height) - max(face.top, 0.0)
    return max(across, 0.0) * max(down, 0.0) / (face.width * face.height)


def _grey_crop(image: Bgr8, face: Face) -> Bgr8:
    height, width = image.shape[:2]
    left, top = max(0, math.floor(face.left)), max(0, math.floor(face.top))
    right = min(width, math.ceil(face.left + face.width))
    bottom = min(height, math.ceil(face.top + face.height))
    crop = cv2.cvtColor(image[top:bottom, left:right], cv2.COLOR_BGR2GRAY)
    grey = cv2.resize(crop, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(grey, np.uint8)


def _sharpness(grey: Bgr8) -> float:
    """Return Laplacian variance over luminance variance: high for edges, low for blur."""
    variance = float(grey.astype(np.float32).var())
    laplacian = cv2.Laplacian(grey, cv2.CV_32F)
    return float(laplacian.var()) / (variance + 1.0) / 16.0


def assess(image: Bgr8, face: Face, limits: QualityLimits) -> tuple[Advice, float]:
    """Return what the person should do, and the quality.

    Args:
        image: the approach zone.
        face: the only face in it.
        limits: out of models/manifest.toml.

    Returns:
        Advice.NONE and a quality in 0..1 when the face can be embedded; otherwise the first
        advice that applies and 0.
    """
    height, width = image.shape[:2]
    right_eye, left_eye, nose = eyes_and_nose(face)
    eye_line = left_eye - right_eye
    eye_distance_px = float(np.hypot(*eye_line))
    if face.width < 1.0 or face.height < 1.0 or eye_distance_px < limits.eye_distance_min_px:
        return Advice.STEP_CLOSER, 0.0
    if face.height > limits.face_height_max * height:
        return Advice.STEP_BACK, 0.0
    if _inside(face, height, width) < limits.inside_min:
        return Advice.CENTRE, 0.0
    roll_deg = abs(math.degrees(math.atan2(eye_line[1], eye_line[0])))
    offset = nose - (right_eye + left_eye) / 2
    yaw = abs(float(offset @ eye_line)) / eye_distance_px**2
    if yaw > limits.yaw_max or roll_deg > limits.roll_max_deg:
        return Advice.LOOK_STRAIGHT, 0.0
    grey = _grey_crop(image, face)
    luminance = float(grey.mean())
    if luminance < limits.luminance_min:
        return Advice.MORE_LIGHT, 0.0
    if luminance > limits.luminance_max:
        return Advice.LESS_LIGHT, 0.0
    sharpness = _sharpness(grey)
    if sharpness < limits.sharpness_min:
        return Advice.HOLD_STILL, 0.0
    parts = (
        min(1.0, eye_distance_px / (2 * limits.eye_distance_min_px)),
        1.0 - yaw / limits.yaw_max,
        1.0 - roll_deg / limits.roll_max_deg,
        min(1.0, sharpness / (4 * limits.sharpness_min)),
    )
    return Advice.NONE, float(np.clip(np.prod(parts) ** (1 / len(parts)), 0.0, 1.0))
