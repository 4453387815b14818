"""Where a face lies: zone, scale, similarity, crop."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ModelFault
from models.geometry import (
    ARCFACE_112,
    align,
    crop_zone,
    eyes_and_nose,
    fit_scale,
    shrink,
    similarity,
)
from models.types import Face, Landmarks, Zone


def face_at(points: np.ndarray, scheme: Landmarks = Landmarks.ARCFACE_5) -> Face:
    (left, top), (right, bottom) = points.min(0), points.max(0)
    return Face(left, top, right - left, bottom - top, points.astype(np.float32), 0.9, scheme)


@given(
    st.floats(-math.pi, math.pi),
    st.floats(0.05, 20),
    st.floats(-500, 500),
    st.floats(-500, 500),
)
def test_similarity_finds_the_transform_that_was_applied(
    angle: float, scale: float, x: float, y: float
) -> None:
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    true = np.array([[c, -s, x], [s, c, y]])
    moved = ARCFACE_112 @ true[:, :2].T + true[:, 2]
    np.testing.assert_allclose(similarity(ARCFACE_112, moved), true, atol=1e-6, rtol=1e-6)


@given(st.lists(st.floats(-200, 200), min_size=10, max_size=10))
def test_similarity_is_never_a_reflection(numbers: list[float]) -> None:
    points = np.array(numbers).reshape(5, 2)
    if points.std(0).sum() < 1e-3:
        return
    matrix = similarity(points, ARCFACE_112)
    assert np.linalg.det(matrix[:, :2]) >= 0


def test_landmarks_that_coincide_are_a_fault() -> None:
    with pytest.raises(ModelFault, match="coincide"):
        similarity(np.full((5, 2), 3.0), ARCFACE_112)


@pytest.mark.parametrize("scale", [1.0, 2.5, 6.0])
@pytest.mark.parametrize("angle_deg", [0, 25])
def test_a_drawn_face_comes_out_where_the_template_wants_it(scale: float, angle_deg: float) -> None:
    """Dots at the landmarks of a large, rotated face land on the template's points."""
    a = math.radians(angle_deg)
    turn = scale * np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    points = (ARCFACE_112 - 56) @ turn.T + 500
    frame = np.zeros((1000, 1000, 3), np.uint8)
    for x, y in points:
        cv2.circle(frame, (round(x), round(y)), round(4 * scale), (0, 0, 255), -1)
    crop = align(frame, face_at(points), "arcface_112")
    assert crop.shape == (112, 112, 3)
    for x, y in ARCFACE_112:
        around = crop[round(y) - 7 : round(y) + 8, round(x) - 7 : round(x) + 8, 0].astype(float)
        rows, columns = np.mgrid[-7:8, -7:8]
        centre = np.array([(columns * around).sum(), (rows * around).sum()]) / around.sum()
        assert np.abs(centre + np.round([x, y]) - [x, y]).max() < 1.0
    assert crop[..., 2].max() == 0, "red in BGR is channel 0 in RGB"


def test_an_alignment_with_the_wrong_landmarks_is_a_fault() -> None:
    frame = np.zeros((200, 200, 3), np.uint8)
    with pytest.raises(ModelFault):
        align(frame, face_at(ARCFACE_112, Landmarks.DLIB_5), "arcface_112")
    with pytest.raises(ModelFault):
        align(frame, face_at(ARCFACE_112), "somehow")


def test_eyes_are_the_middle_of_their_corners_for_dlib() -> None:
    points = np.array([[90, 50], [70, 52], [30, 50], [50, 52], [60, 80]], np.float32)
    right, left, nose = eyes_and_nose(face_at(points, Landmarks.DLIB_5))
    assert right.tolist() == [40, 51]
    assert left.tolist() == [80, 51]
    assert nose.tolist() == [60, 80]


def test_the_zone_is_cut_out_and_nothing_else() -> None:
    frame = np.zeros((100, 200, 3), np.uint8)
    frame[25:75, 50:150] = 7
    view = crop_zone(frame, Zone(0.25, 0.25, 0.75, 0.75))
    assert view.shape == (50, 100, 3)
    assert (view == 7).all()


@pytest.mark.parametrize(
    "zone",
    [Zone(0.5, 0, 0.5, 1), Zone(0, 0.6, 1, 0.5), Zone(-0.1, 0, 1, 1), Zone(0, 0, 1, float("nan"))],
)
def test_a_zone_outside_the_frame_is_a_fault(zone: Zone) -> None:
    with pytest.raises(ModelFault, match="approach zone"):
        crop_zone(np.zeros((10, 10, 3), np.uint8), zone)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 700))
def test_scaling_never_enlarges_and_fits(height: int, width: int, side_max: int) -> None:
    scale = fit_scale(height, width, side_max)
    assert 0 < scale <= 1
    assert max(height, width) * scale <= max(side_max, min(side_max, max(height, width))) + 1e-9


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.001, 1))
def test_shrinking_leaves_at_least_one_pixel(height: int, width: int, scale: float) -> None:
    small = shrink(np.full((height, width, 3), 9, np.uint8), scale)
    assert min(small.shape[:2]) >= 1
    assert (small == 9).all()
