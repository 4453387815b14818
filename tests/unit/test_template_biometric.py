"""The transform keeps scores and hides kinship; the template's bytes are strict and faithful."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.errors import TemplateRejected
from gate.template.biometric import Template, make_template
from gate.template.protection import protect
from models.compare import score_cos
from models.types import Embedding

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
aux_bytes = st.binary(min_size=32, max_size=32)
dims = st.integers(2, 600)
seeds = st.integers(0, 2**32 - 1)


def unit(dim: int, seed: int) -> Embedding:
    values = np.random.default_rng(seed).normal(size=dim)
    return Embedding((values / np.linalg.norm(values)).astype(np.float32))


def template_of(embedding: Embedding, aux: bytes) -> Template:
    return make_template(
        embedding,
        aux,
        model_id="model.1",
        pack_version="edge",
        frames=5,
        quality=0.8,
        created=CREATED,
    )


@given(dims, seeds, seeds, aux_bytes)
def test_lengths_and_angles_survive(dim: int, one: int, two: int, aux: bytes) -> None:
    a, b = unit(dim, one), unit(dim, two)
    pa, pb = protect(a, aux), protect(b, aux)
    assert pa.values.shape == (dim,)
    assert pa.values.dtype == np.float32
    assert abs(float(np.linalg.norm(pa.values)) - 1) < 1e-5
    assert abs(float(pa.values @ pb.values) - float(a.values @ b.values)) < 1e-5


@given(st.sampled_from([100, 128, 500, 512]), seeds, aux_bytes, aux_bytes)
def test_two_enrolments_of_one_face_look_unrelated(
    dim: int, seed: int, one: bytes, two: bytes
) -> None:
    if one == two:
        return
    face = unit(dim, seed)
    cosine = float(protect(face, one).values @ protect(face, two).values)
    # Six standard deviations of two random directions.
    assert abs(cosine) < 6 / np.sqrt(dim)


def test_unlinkable_also_for_a_face_on_an_axis_and_on_average() -> None:
    """A sparse or constant vector is the worst case of a transform made of signs and shuffles."""
    rng = np.random.default_rng(7)
    for face in (np.eye(1, 512)[0], np.ones(512) / np.sqrt(512)):
        rotated = np.array(
            [protect(Embedding(face.astype(np.float32)), rng.bytes(32)).values for _ in range(120)]
        )
        cosines = (rotated @ rotated.T)[np.triu_indices(120, 1)]
        assert abs(cosines.mean()) < 0.005
        assert 0.8 < cosines.std() * np.sqrt(512) < 1.2


def test_the_transform_is_pinned() -> None:
    """Cards outlive machines: a new version of anything must give these very bits."""
    face = Embedding(np.arange(1, 8, dtype=np.float32) / np.float32(np.sqrt(140)))
    expected = "d1d0813e44bf14bf843987bea08a4dbe12622abf085c583e7416ad3c"
    assert protect(face, bytes(range(32))).values.tobytes().hex() == expected


@pytest.mark.parametrize("aux", [b"", bytes(31), bytes(33)])
def test_a_key_of_another_length_is_refused(aux: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        protect(unit(8, 1), aux)


def test_a_matrix_of_faces_is_refused() -> None:
    with pytest.raises(ValueError, match="one vector"):
        protect(Embedding(np.zeros((2, 4), np.float32)), bytes(32))


@settings(max_examples=40)
@given(st.sampled_from([128, 512]), seeds, seeds, aux_bytes)
def test_quantising_moves_no_score_by_more_than_one_percent(
    dim: int, one: int, two: int, aux: bytes
) -> None:
    enrolled, live = unit(dim, one), unit(dim, two)
    reference = template_of(enrolled, aux).reference()
    exact = float(enrolled.values @ live.values)
    assert abs(score_cos(protect(live, aux), reference) - exact) < 0.01
    assert score_cos(protect(enrolled, aux), reference) > 0.999


def test_without_the_aux_of_the_card_nobody_matches() -> None:
    face = unit(512, 3)
    reference = template_of(face, bytes(32)).reference()
    assert abs(score_cos(face, reference)) < 0.3
    assert abs(score_cos(protect(face, b"1" * 32), reference)) < 0.3


def test_a_mean_need_not_be_of_unit_length() -> None:
    face = unit(64, 4)
    shorter = Embedding(face.values * np.float32(0.7))
    assert np.array_equal(
        template_of(face, bytes(32)).values, template_of(shorter, bytes(32)).values
    )


@given(dims, seeds, aux_bytes)
def test_a_template_survives_its_bytes(dim: int, seed: int, aux: bytes) -> None:
    template = template_of(unit(dim, seed), aux)
    again = Template.decode(template.encode())
    assert np.array_equal(again.values, template.values)
    assert again.encode() == template.encode()
    assert (again.scale, again.model_id, again.pack_version) == (template.scale, "model.1", "edge")
    assert (again.frames, again.quality, again.created) == (5, 0.8, CREATED)


GOOD = template_of(unit(32, 5), bytes(32)).encode()


@given(
    st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=80).map(GOOD[:15].__add__),
        st.integers(0, len(GOOD) - 1).map(lambda n: GOOD[:n]),
    )
)
def test_the_parser_refuses_or_gives_back_the_same_bytes(data: bytes) -> None:
    try:
        template = Template.decode(data)
    except TemplateRejected:
        return
    assert template.encode() == data
    assert abs(float(np.linalg.norm(template.reference().values)) - 1) < 1e-5


@pytest.mark.parametrize(
    "damaged",
    [
        GOOD + b"\0",
        b"\2" + GOOD[1:],
        GOOD[:11] + b"\x7f\xc0\0\0" + GOOD[15:],  # scale NaN
        GOOD[:11] + bytes(4) + GOOD[15:],  # scale 0
        GOOD[:-32] + bytes(32),  # no direction
        GOOD[:-1] + b"\x80",  # -128 is not a value we write
    ],
)
def test_an_unusable_template_is_refused(damaged: bytes) -> None:
    with pytest.raises(TemplateRejected):
        Template.decode(damaged)


@pytest.mark.parametrize("values", [np.zeros(8), np.full(8, np.nan), np.zeros(1), np.ones(4096)])
def test_no_template_without_a_direction(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="direction"):
        template_of(Embedding(values.astype(np.float32)), bytes(32))


def test_no_values_in_a_repr() -> None:
    template = template_of(unit(32, 5), bytes(32))
    assert "array" not in repr(template)
    assert "array" not in repr(template.reference())
