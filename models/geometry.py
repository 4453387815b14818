"""Where a face lies and how it becomes an upright crop. Pure."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from models.errors import ModelFault
from models.types import Bgr8, Face, Landmarks, Rgb8, Zone

Points = NDArray[np.float64]
"""float64, shape (n, 2), x then y."""

ARCFACE_112: Points = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
"""Where the five points belong in a 112 px crop. Source: Deng et al., ArcFace, CVPR 2019."""

_DLIB_MEAN: Points = np.array(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ]
)
_DLIB_PADDING = 0.25
DLIB_150: Points = (_DLIB_PADDING + _DLIB_MEAN) / (2 * _DLIB_PADDING + 1) * 150
"""Where dlib's five points belong in its 150 px chip with padding 0.25.

Source: dlib/image_transforms/interpolation.h, get_face_chip_details.
"""


def crop_zone(frame: Bgr8, zone: Zone) -> Bgr8:
    """Return the approach zone of a frame, as a view.

    Raises:
        ModelFault: the zone is empty or reaches outside the frame.
    """
    if not (0.0 <= zone.left < zone.right <= 1.0 and 0.0 <= zone.top < zone.bottom <= 1.0):
        raise ModelFault("the approach zone is not inside the frame", "use fractions 0..1")
    height, width = frame.shape[:2]
    return frame[
        round(zone.top * height) : round(zone.bottom * height),
        round(zone.left * width) : round(zone.right * width),
    ]


def fit_scale(height: int, width: int, side_max: int) -> float:
    """Return the factor (at most 1) that makes the longer side at most `side_max`."""
    return min(1.0, side_max / max(height, width))


def shrink(image: Bgr8, scale: float) -> Bgr8:
    """Return `image` scaled down by averaging; the same image when `scale` is 1."""
    if scale >= 1.0:
        return np.ascontiguousarray(image)
    height, width = image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def eyes_and_nose(face: Face) -> Points:
    """Return the centres of the subject's right and left eye and the nose, shape (3, 2)."""
    points = face.landmarks.astype(np.float64)
    if face.scheme is Landmarks.DLIB_5:
        return np.stack([points[2:4].mean(0), points[0:2].mean(0), points[4]])
    return points[:3]


def similarity(source: Points, target: Points) -> Points:
    """Return the least-squares similarity (rotation, one scale, shift) from source to target.

    Returns:
        float64, shape (2, 3), for column points (x, y, 1). Never a reflection.

    Raises:
        ModelFault: the source points coincide.
    Source: closed form of Umeyama 1991 for the plane, in complex numbers.
    """
    z = source[:, 0] + 1j * source[:, 1]
    w = target[:, 0] + 1j * target[:, 1]
    centred = z - z.mean()
    spread = float((abs(centred) ** 2).sum())
    if not spread > 1e-9:
        raise ModelFault("the landmarks of a face coincide", "look into the camera again")
    a = (centred.conj() * (w - w.mean())).sum() / spread
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def dlib_chip_matrix(landmarks: Points) -> Points:
    """Return the map from frame to dlib's 150 px chip, float64, shape (2, 3).

    dlib fits from the chip to the frame (the other direction gives another scale when the points
    do not fit exactly) and its rectangles count pixels, so 149 steps of the chip span
    150 * scale - 1 pixels of the frame around the centre.
    Source: dlib/image_transforms/interpolation.h, chip_details and get_mapping_to_chip.
    """
    side = 150
    fit = similarity(DLIB_150, landmarks)
    scale = float(np.hypot(fit[0, 0], fit[1, 0]))
    turn = fit[:, :2] / scale * ((side * scale - 1) / (side - 1))
    centre = fit @ np.array([side / 2, side / 2, 1.0])
    to_frame = np.column_stack([turn, centre - turn @ np.full(2, (side - 1) / 2)])
    return np.asarray(cv2.invertAffineTransform(to_frame), np.float64)


def align(frame: Bgr8, face: Face, alignment: str) -> Rgb8:
    """Return the upright crop that an embedder expects.

    Args:
        frame: the frame `face` was found in.
        face: with the landmarks that `alignment` needs.
        alignment: "arcface_112" or "dlib_150".

    Returns:
        uint8, shape (side, side, 3), RGB; black where the crop leaves the frame.

    Raises:
        ModelFault: unknown alignment, wrong landmarks, or landmarks that coincide.
    """
    points = face.landmarks.astype(np.float64)
    match alignment, face.scheme:
        case "arcface_112", Landmarks.ARCFACE_5:
            side, matrix = 112, similarity(points, ARCFACE_112)
        case "dlib_150", Landmarks.DLIB_5:
            side, matrix = 150, dlib_chip_matrix(points)
        case _:
            raise ModelFault(f"alignment '{alignment}' does not fit these landmarks")
    # A large face is halved by averaging first, as dlib does; bilinear alone would alias.
    halvings = max(0, math.floor(-math.log2(float(np.hypot(matrix[0, 0], matrix[1, 0])))))
    if halvings:
        scale = 0.5**halvings
        frame = shrink(frame, scale)
        matrix = matrix @ np.array([[1 / scale, 0, 0], [0, 1 / scale, 0], [0, 0, 1]])
        # Pixel centres: pixel 0 of the small image covers pixels 0..1/scale-1 of the large one.
        matrix[:, 2] += matrix[:, :2] @ np.full(2, (1 - scale) / 2)
    crop = cv2.warpAffine(frame, matrix, (side, side), flags=cv2.INTER_LINEAR)
    return np.asarray(cv2.cvtColor(crop, cv2.COLOR_BGR2RGB), np.uint8)
