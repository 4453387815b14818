"""The order in perceive is a promise. Networks here are tiny real ONNX graphs."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.compare import score_cos
from models.embed import Embedder, embed
from models.errors import ModelFault
from models.geometry import ARCFACE_112
from models.liveness import Liveness, context_crop
from models.manifest import FileSpec, InputSpec, Origin, manifest
from models.pack import Pack
from models.perceive import perceive
from models.runtime import Runtime
from models.types import Advice, Bgr8, Embedding, Face, Reference, Sighting, Zone

onnx = pytest.importorskip("onnx", reason="needs the bootstrap extra: pip package onnx")
from onnx import TensorProto, helper  # noqa: E402 - only after the skip


def tiny(ops: Sequence[str], side: int, outputs: int, crop_scale: float | None = None) -> Runtime:
    """Return a network: `outputs` fixed mixtures of the mean colour, then each op in turn."""
    weights = np.linspace(-1, 2, 3 * outputs).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["face"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weights"], ["v0"]),
    ]
    for index, op in enumerate(ops):
        nodes.append(helper.make_node(op, [f"v{index}"], [f"v{index + 1}"]))
    name = f"v{len(ops)}"
    shape = ["n", 3, side, side]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info("face", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", outputs])],
            [helper.make_tensor("weights", TensorProto.FLOAT, [3, outputs], weights)],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    return Runtime(model.SerializeToString(), spec(side, outputs, crop_scale))


def spec(side: int, outputs: int, crop_scale: float | None = None) -> FileSpec:
    entry = InputSpec((0, 3, side, side), "RGB", (127.5, 127.5, 127.5), 127.5, crop_scale)
    return FileSpec(
        "tiny.onnx", "embedder", "0" * 64, 1, "", Origin(by_hand="t"), entry, (0, outputs)
    )


WORKING = tiny([], 112, 8)
BROKEN = tiny(["Sqrt", "Log"], 112, 8)  # not a number whatever it is shown
POINTS = (ARCFACE_112 * 1.5 + 100).astype(np.float32)
FACE = Face(100, 100, 170, 190, POINTS, 0.9)


class Scripted:
    """A detector that says what the test wants and remembers what it was shown."""

    def __init__(self, faces: list[Face]) -> None:
        self.faces = faces
        self.shown: list[tuple[int, ...]] = []

    def detect(self, image: Bgr8) -> list[Face]:
        self.shown.append(image.shape)
        return self.faces


def pack_of(
    faces: list[Face], network: Runtime = WORKING, liveness: Liveness | None = None
) -> Pack:
    return Pack(
        name="test",
        model_id="test.1",
        dim=8,
        match_min_cos=0.5,
        live_min=None if liveness is None else 0.5,
        detector=Scripted(faces),
        embedder=Embedder(network, "arcface_112", mirror=False),
        liveness=liveness,
        quality=manifest().quality,
        for_production=False,
    )


def textured(height: int = 480, width: int = 480) -> Bgr8:
    rng = np.random.default_rng(4)
    return rng.integers(60, 200, (height, width, 3), dtype=np.uint8)


def test_the_broken_network_is_broken() -> None:
    with pytest.raises(ModelFault, match="not finite"):
        perceive(textured(), pack_of([FACE], BROKEN), Zone())


def test_with_no_face_nothing_is_embedded() -> None:
    assert perceive(textured(), pack_of([], BROKEN), Zone()) is Advice.NO_FACE


@pytest.mark.parametrize("count", [2, 3, 20])
def test_with_more_than_one_face_nothing_is_embedded(count: int) -> None:
    assert perceive(textured(), pack_of([FACE] * count, BROKEN), Zone()) is Advice.MULTIPLE_FACES


def moved(x: float, y: float, scale: float = 1.0) -> Face:
    points = (FACE.landmarks * scale + [x, y]).astype(np.float32)
    left, top = FACE.left * scale + x, FACE.top * scale + y
    return Face(left, top, FACE.width * scale, FACE.height * scale, points, 0.9)


TURNED = Face(
    100, 100, 170, 190, POINTS + np.float32([[0, 0], [0, 0], [40, 0], [0, 0], [0, 0]]), 0.9
)


@pytest.mark.parametrize(
    ("face", "frame", "expected"),
    [
        (moved(200, 200, 0.3), textured(), Advice.STEP_CLOSER),
        (moved(-100, -100, 2.3), textured(), Advice.STEP_BACK),
        (moved(-200, 0), textured(), Advice.CENTRE),
        (TURNED, textured(), Advice.LOOK_STRAIGHT),
        (FACE, textured() // 8, Advice.MORE_LIGHT),
        (FACE, 255 - textured() // 8, Advice.LESS_LIGHT),
        (FACE, np.full((480, 480, 3), 128, np.uint8), Advice.HOLD_STILL),
    ],
)
def test_a_poor_face_gets_advice_and_is_not_embedded(
    face: Face, frame: Bgr8, expected: Advice
) -> None:
    assert perceive(frame, pack_of([face], BROKEN), Zone()) is expected


def test_one_good_face_is_a_sighting() -> None:
    seen = perceive(textured(), pack_of([FACE]), Zone())
    assert isinstance(seen, Sighting)
    assert seen.live_score is None
    assert 0 < seen.quality <= 1
    assert seen.embedding.values.shape == (8,)
    assert abs(float(np.linalg.norm(seen.embedding.values)) - 1) < 1e-3


def test_the_detector_sees_the_zone_only() -> None:
    pack = pack_of([])
    perceive(textured(400, 600), pack, Zone(0.25, 0.5, 0.75, 1.0))
    assert isinstance(pack.detector, Scripted)
    assert pack.detector.shown == [(200, 300, 3)]


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
    ],
)
def test_what_is_not_a_frame_is_a_fault(frame: Bgr8) -> None:
    with pytest.raises(ModelFault, match="not an 8-bit BGR image"):
        perceive(frame, pack_of([]), Zone())


def test_an_empty_frame_has_no_face() -> None:
    assert perceive(np.zeros((0, 0, 3), np.uint8), pack_of([FACE]), Zone()) is Advice.NO_FACE


def test_liveness_is_the_mean_and_within_0_to_1() -> None:
    liveness = Liveness([tiny([], 80, 3, 2.7), tiny([], 80, 3, 4.0)])
    seen = perceive(textured(), pack_of([FACE], liveness=liveness), Zone())
    assert isinstance(seen, Sighting)
    assert seen.live_score is not None
    assert 0 < seen.live_score < 1


def test_a_liveness_network_with_a_constant_answer_is_refused() -> None:
    with pytest.raises(ModelFault, match="same to different images"):
        Liveness([tiny(["Softmax", "Ceil"], 80, 3, 2.7)])


def test_a_liveness_network_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ModelFault, match="not finite"):
        Liveness([tiny(["Sqrt", "Log"], 80, 3, 2.7)])


@settings(max_examples=200)
@given(
    st.integers(2, 300), st.integers(2, 300), st.floats(-400, 400), st.floats(-400, 400),
    st.floats(0, 500), st.floats(0, 500), st.floats(1, 5),
)  # fmt: skip
def test_the_context_crop_exists_for_any_face(
    rows: int, columns: int, x: float, y: float, w: float, h: float, scale: float
) -> None:
    image = np.full((rows, columns, 3), 5, np.uint8)
    crop = context_crop(image, Face(x, y, w, h, POINTS, 1.0), scale, 80)
    assert crop.shape == (80, 80, 3)
    assert (crop == 5).all()


def test_the_runtime_refuses_what_the_manifest_does_not_say() -> None:
    with pytest.raises(ModelFault, match="does not load"):
        Runtime(b"\x08\x08 not a model", spec(112, 8))
    with pytest.raises(ModelFault, match="input is not"):
        Runtime(_tiny_bytes(112, 8), spec(113, 8))
    with pytest.raises(ModelFault, match="output is not"):
        Runtime(_tiny_bytes(112, 8), spec(112, 9))


def _tiny_bytes(side: int, outputs: int) -> bytes:
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("GlobalAveragePool", ["face"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"], axis=1),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [value("face", TensorProto.FLOAT, ["n", 3, side, side])],
        [value("y", TensorProto.FLOAT, ["n", outputs])],
        [helper.make_tensor("w", TensorProto.FLOAT, [3, outputs], np.ones(3 * outputs))],
    )
    opset = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())


def test_a_crop_of_another_size_is_a_fault() -> None:
    with pytest.raises(ModelFault, match="takes crops of 112"):
        embed(np.zeros((111, 112, 3), np.uint8), Embedder(WORKING, "arcface_112", False))


def test_mirror_averaging_makes_an_embedding_of_the_mirror_equal() -> None:
    crop = textured(112, 112)
    embedder = Embedder(WORKING, "arcface_112", mirror=True)
    np.testing.assert_allclose(
        embed(crop, embedder).values, embed(crop[:, ::-1], embedder).values, atol=1e-6
    )


def unit(values: list[float]) -> np.ndarray:
    vector = np.array(values, np.float32)
    return vector / np.linalg.norm(vector)


@given(st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4))
def test_a_face_matches_itself_and_opposes_its_negative(values: list[float]) -> None:
    if np.linalg.norm(values) < 1e-2:
        return
    vector = unit(values)
    assert score_cos(Embedding(vector), Reference(vector)) == pytest.approx(1, abs=1e-5)
    assert score_cos(Embedding(vector), Reference(-vector)) == pytest.approx(-1, abs=1e-5)


@pytest.mark.parametrize(
    "values", [[0.0, 0, 0, 0], [np.nan, 0, 0, 1], [np.inf, 0, 0, 0], [2.0, 0, 0, 0]]
)
def test_a_vector_that_is_not_of_unit_length_never_scores(values: list[float]) -> None:
    good, bad = unit([1, 0, 0, 0]), np.array(values, np.float32)
    with pytest.raises(ModelFault, match="unit length"):
        score_cos(Embedding(bad), Reference(good))
    with pytest.raises(ModelFault, match="unit length"):
        score_cos(Embedding(good), Reference(bad))


def test_vectors_of_different_models_never_score() -> None:
    with pytest.raises(ModelFault, match="different models"):
        score_cos(Embedding(unit([1, 0])), Reference(unit([1, 0, 0])))


def test_no_repr_shows_a_vector() -> None:
    vector = unit([0.123456, 0.5, 0.7, 0.1])
    sighting = Sighting(Embedding(vector), 0.9, 0.8)
    for value in (Embedding(vector), Reference(vector), sighting, pack_of([])):
        assert "0.1" not in repr(value)
        assert "[" not in repr(value)
