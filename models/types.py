"""The values that pass through the models room."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

import numpy as np
from numpy.typing import NDArray

Bgr8 = NDArray[np.uint8]
"""One frame: uint8, shape (height, width, 3), BGR."""
Rgb8 = NDArray[np.uint8]
"""One aligned face crop: uint8, shape (side, side, 3), RGB."""
Vector = NDArray[np.float32]
"""float32, shape (dim,)."""


class Advice(IntEnum):
    """What the person should do so that the next frame is better. One byte on the wire.

    Terms follow the quality components of ISO/IEC 29794-5.
    """

    NONE = 0
    NO_FACE = 1
    MULTIPLE_FACES = 2
    STEP_CLOSER = 3
    STEP_BACK = 4
    MORE_LIGHT = 5
    LESS_LIGHT = 6
    HOLD_STILL = 7
    LOOK_STRAIGHT = 8
    CENTRE = 9


@dataclass(frozen=True)
class Zone:
    """The approach zone, in fractions of the frame, origin top left. The rest is not processed."""

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0


class Landmarks(Enum):
    """What the five points of a Face are, in order. "Right" is the subject's right."""

    ARCFACE_5 = "arcface_5"
    """Right eye, left eye, nose tip, right mouth corner, left mouth corner."""
    DLIB_5 = "dlib_5"
    """Left eye outer and inner corner, right eye outer and inner corner, base of the nose."""


@dataclass(frozen=True, eq=False)
class Face:
    """One detected face, in pixels of the frame it was found in.

    `landmarks`: float32 (5, 2), x then y, in the order that `scheme` names.
    """

    left: float
    top: float
    width: float
    height: float
    landmarks: NDArray[np.float32]
    score: float
    scheme: Landmarks = Landmarks.ARCFACE_5


@dataclass(frozen=True, eq=False, repr=False)
class Embedding:
    """A LIVE identity vector: float32, unit length. Never stored."""

    values: Vector


@dataclass(frozen=True, eq=False, repr=False)
class Reference:
    """The ONE enrolled identity vector of this passage: float32, unit length.

    Not the same type as Embedding on purpose: no function takes two references.
    """

    values: Vector


@dataclass(frozen=True, eq=False, repr=False)
class Sighting:
    """One usable face in one frame."""

    embedding: Embedding
    live_score: float | None
    """Probability in 0..1 that the presentation is bona fide (ISO/IEC 30107-3), or None when the
    pack has no presentation attack detection (bootstrap)."""
    quality: float
    """0..1, higher is better; for choosing among enrolment frames."""
