"""Which frames become a template: the good ones of one person, and nobody else's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrollment.gathering import MIN_GAP_MS, STRANGE_FRAMES_MAX, Gathering, Step
from models.compare import score_cos
from models.types import Advice, Embedding, Sighting

DIM = 8


def sighting(
    axis: int = 0, lean: float = 0.1, quality: float = 0.5, live: float | None = None
) -> Sighting:
    vector = np.zeros(DIM, np.float32)
    vector[axis] = 1.0
    vector[(axis + 1) % DIM] = lean
    return Sighting(Embedding(vector / np.float32(np.linalg.norm(vector))), live, quality)


def gathering(wanted: int = 3, *, live: bool = False, live_min: float | None = None) -> Gathering:
    return Gathering(wanted, 0.8, live_min, score_cos, live=live)


def test_frames_of_one_person_make_a_unit_mean_between_them() -> None:
    taken = gathering()
    for number, lean in enumerate((0.0, 0.2, -0.2)):
        assert not taken.complete
        assert taken.take(sighting(lean=lean, quality=number / 2), 0) is Step.TAKEN
    assert taken.complete
    assert taken.qualities == [0.0, 0.5, 1.0]
    mean = taken.mean().values
    assert float(np.linalg.norm(mean)) == pytest.approx(1.0, abs=1e-5)
    assert mean[0] > 0.99
    assert abs(mean[1]) < 0.02


def test_one_photograph_of_somebody_else_ends_it_and_is_not_mixed_in() -> None:
    taken = gathering()
    taken.take(sighting(0), 0)
    assert taken.take(sighting(3), 0) is Step.SOMEBODY_ELSE
    assert taken.somebody_else
    assert taken.mean().values[3] == 0.0


def test_a_camera_may_stumble_but_not_change_person() -> None:
    taken = gathering(wanted=9, live=True)
    taken.take(sighting(0), 0)
    for number in range(1, STRANGE_FRAMES_MAX + 2):
        assert not taken.somebody_else
        assert taken.take(sighting(3), number * 1000) is Step.SOMEBODY_ELSE
    assert taken.somebody_else


def test_frames_of_a_camera_keep_their_distance() -> None:
    taken = gathering(live=True)
    assert taken.take(sighting(), 0) is Step.TAKEN
    assert taken.take(sighting(), MIN_GAP_MS - 1) is Step.TOO_SOON
    assert taken.take(sighting(), MIN_GAP_MS) is Step.TAKEN


@pytest.mark.parametrize(
    ("live_min", "score", "step"),
    [
        (0.5, 0.49, Step.NOT_LIVE),
        (0.5, 0.5, Step.TAKEN),
        (0.5, None, Step.TAKEN),
        (None, 0.0, Step.TAKEN),
    ],
)
def test_presentation_attacks(live_min: float | None, score: float | None, step: Step) -> None:
    taken = gathering(live=True, live_min=live_min)
    assert taken.take(sighting(live=score), 0) is step
    assert bool(taken.qualities) is (step is Step.TAKEN)


@given(st.sampled_from([a for a in Advice if a is not Advice.NONE]))
def test_advice_is_never_taken(advice: Advice) -> None:
    taken = gathering()
    expected = Step.TWO_FACES if advice is Advice.MULTIPLE_FACES else Step.SKIPPED
    assert taken.take(advice, 0) is expected
    assert taken.qualities == []
