"""Faces in a frame: YuNet, or dlib's HOG with five landmarks."""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from models.errors import ModelFault
from models.geometry import fit_scale, shrink
from models.runtime import Runtime
from models.types import Bgr8, Face, Landmarks

_SIDE_MIN_PX = 16
_NMS_IOU = 0.3
_YUNET_STRIDES = (8, 16, 32)


class Detector(Protocol):
    """Finds faces."""

    def detect(self, image: Bgr8) -> list[Face]:
        """Return every face, best first, in pixels of `image`.

        Args:
            image: any size; it is scaled down as the pack says, never up.

        Raises:
            ModelFault: the model failed.
        """
        ...


class YuNet:
    """YuNet over ONNX Runtime. Source: Wu et al., YuNet, Machine Intelligence Research 2023.

    Args:
        runtime: the network with free height and width.
        side_max_px: the longer side of what the network sees.
        score_min: what counts as a face, 0..1.
    """

    def __init__(self, runtime: Runtime, side_max_px: int, score_min: float) -> None:
        self._runtime = runtime
        self._side_max_px = side_max_px
        self._score_min = score_min

    def detect(self, image: Bgr8) -> list[Face]:
        """See Detector."""
        height, width = image.shape[:2]
        if min(height, width) < _SIDE_MIN_PX:
            return []
        scale = fit_scale(height, width, self._side_max_px)
        small = shrink(image, scale)
        rows, columns = small.shape[:2]
        # The network halves five times, so both sides must be multiples of 32.
        padded = np.zeros((-(-rows // 32) * 32, -(-columns // 32) * 32, 3), np.uint8)
        padded[:rows, :columns] = small
        outputs = self._runtime.run(self._runtime.prepare([padded]))
        return [
            Face(
                left=float(values[0] / scale),
                top=float(values[1] / scale),
                width=float(values[2] / scale),
                height=float(values[3] / scale),
                landmarks=(values[4:14] / scale).reshape(5, 2).astype(np.float32),
                score=float(values[14]),
            )
            for values in _decode_yunet(outputs, padded.shape[1], self._score_min)
        ]


def _decode_yunet(
    outputs: dict[str, NDArray[np.float32]], columns: int, score_min: float
) -> list[NDArray[np.float32]]:
    """Return rows of left, top, width, height, ten landmark coordinates, score; best first."""
    found = []
    for stride in _YUNET_STRIDES:
        cls, obj = outputs[f"cls_{stride}"][0, :, 0], outputs[f"obj_{stride}"][0, :, 0]
        score = np.sqrt(np.clip(cls, 0, 1) * np.clip(obj, 0, 1))
        keep = np.flatnonzero(score >= score_min)
        row, column = np.divmod(keep, columns // stride)
        cell = np.stack([column, row], axis=1).astype(np.float32)
        box = outputs[f"bbox_{stride}"][0, keep]
        centre = (cell + box[:, :2]) * stride
        size = np.exp(np.minimum(box[:, 2:], 10.0)) * stride
        points = (outputs[f"kps_{stride}"][0, keep].reshape(-1, 5, 2) + cell[:, None]) * stride
        found.append(
            np.concatenate(
                [centre - size / 2, size, points.reshape(-1, 10), score[keep, None]], axis=1
            )
        )
    rows = np.concatenate(found).astype(np.float32)
    if not len(rows):
        return []
    order = cv2.dnn.NMSBoxes(rows[:, :4].tolist(), rows[:, 14].tolist(), score_min, _NMS_IOU)
    return [rows[index] for index in np.asarray(order).reshape(-1)]


class DlibHog:
    """dlib's frontal HOG detector and its five-point shape predictor.

    Args:
        predictor: the bytes of shape_predictor_5_face_landmarks.dat, already hashed.
        side_max_px: the longer side of what the detector sees; it finds faces from 80 px on.
        score_min: dlib's adjusted threshold, 0 is its default.

    Raises:
        ModelFault: dlib is not installed, or the predictor's bytes do not load.
    """

    def __init__(self, predictor: bytes, side_max_px: int, score_min: float) -> None:
        try:
            import dlib
        except ImportError as error:
            raise ModelFault(
                "the bootstrap pack needs the package 'dlib-bin'",
                "pip install 'consentgate[bootstrap]'",
            ) from error
        self._hog: Any = dlib.get_frontal_face_detector()
        # Through its pickle support dlib reads bytes: the same ones that were hashed.
        self._points: Any = dlib.shape_predictor.__new__(dlib.shape_predictor)
        try:
            self._points.__setstate__((predictor,))
        except Exception as error:
            raise ModelFault(
                "the landmark predictor does not load", "run 'gate models fetch bootstrap' again"
            ) from error
        self._side_max_px = side_max_px
        self._score_min = score_min

    def detect(self, image: Bgr8) -> list[Face]:
        """See Detector."""
        height, width = image.shape[:2]
        if min(height, width) < _SIDE_MIN_PX:
            return []
        scale = fit_scale(height, width, self._side_max_px)
        rgb = cv2.cvtColor(shrink(image, scale), cv2.COLOR_BGR2RGB)
        boxes, scores, _ = self._hog.run(rgb, 0, self._score_min)
        faces = []
        for box, score in zip(boxes, scores, strict=True):
            parts = self._points(rgb, box).parts()
            landmarks = np.array([(point.x, point.y) for point in parts], np.float32) / scale
            faces.append(
                Face(
                    left=box.left() / scale,
                    top=box.top() / scale,
                    width=box.width() / scale,
                    height=box.height() / scale,
                    landmarks=landmarks.astype(np.float32),
                    score=float(score),
                    scheme=Landmarks.DLIB_5,
                )
            )
        return sorted(faces, key=lambda face: -face.score)
