"""Our networks against dlib itself and against the published files, on real photographs.

The bootstrap pack and the sample photographs come through the real fetch, once, into the cache.
The edge pack needs the model files: GATE_MODELS_DIR, or `models` in the shared folder.
"""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.compare import score_cos
from models.embed import embed
from models.errors import ModelFault
from models.fetch import fetch_pack, fetch_sample_photos
from models.geometry import align, dlib_chip_matrix
from models.import_dlib import convert, read_resnet
from models.pack import Pack, load_pack
from models.perceive import perceive
from models.types import Advice, Bgr8, Face, Reference, Sighting, Zone
from models.verified import verify_pack

dlib = pytest.importorskip("dlib", reason="needs the bootstrap extra: pip package dlib-bin")

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("GATE_CACHE_DIR", ROOT / ".cache" / "consentgate"))
SHARED = Path(os.environ.get("GATE_SHARED_DIR", ROOT.parent / "shared"))
NAMES = ("owner-1", "owner-2", "owner-3", "other-1")
SOURCE = "dlib_face_recognition_resnet_model_v1.dat"


@pytest.fixture(scope="module")
def bootstrap_folder() -> Path:
    try:
        return fetch_pack("bootstrap", CACHE, None, lambda _: None)
    except ModelFault as fault:
        pytest.skip(f"no bootstrap pack: {fault.diagnostics()}")


@pytest.fixture(scope="module")
def photos() -> dict[str, Bgr8]:
    try:
        folder = fetch_sample_photos(CACHE, lambda _: None)
    except ModelFault as fault:
        pytest.skip(f"no sample photographs: {fault.diagnostics()}")
    return {name: np.asarray(cv2.imread(str(folder / f"{name}.jpg")), np.uint8) for name in NAMES}


@pytest.fixture(scope="module")
def bootstrap(bootstrap_folder: Path) -> Pack:
    return load_pack("bootstrap", bootstrap_folder)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    by_hand = Path(os.environ.get("GATE_MODELS_DIR", SHARED / "models"))
    if not (by_hand / "edgeface_xs_reference.onnx").is_file():
        pytest.skip(f"no edge models in {by_hand}; set GATE_MODELS_DIR")
    folder = fetch_pack("edge", tmp_path_factory.mktemp("cache"), by_hand, lambda _: None)
    verify_pack(folder)
    return load_pack("edge", folder)


def hog_face(pack: Pack, image: Bgr8) -> Face:
    (face,) = pack.detector.detect(image)
    return face


def dlib_chip(image: Bgr8, face: Face) -> Bgr8:
    """Return dlib's own chip for a face that we found."""
    box = dlib.rectangle(
        round(face.left),
        round(face.top),
        round(face.left + face.width),
        round(face.top + face.height),
    )
    parts = [dlib.point(round(float(x)), round(float(y))) for x, y in face.landmarks]
    shape = dlib.full_object_detection(box, parts)
    rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return np.asarray(dlib.get_face_chip(rgb, shape, 150, 0.25), np.uint8)


def small(image: Bgr8) -> Bgr8:
    """Return the photograph as small as a camera would give it."""
    scale = 640 / max(image.shape[:2])
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))


def test_the_converted_network_equals_dlib(
    bootstrap: Pack, bootstrap_folder: Path, photos: dict[str, Bgr8]
) -> None:
    theirs = dlib.face_recognition_model_v1(str(bootstrap_folder / SOURCE))
    rng = np.random.default_rng(7)
    chips = [rng.integers(0, 256, (150, 150, 3), dtype=np.uint8) for _ in range(2)]
    chips += [dlib_chip(image, hog_face(bootstrap, image)) for image in map(small, photos.values())]
    ours = bootstrap.embedder.runtime.run_images(chips)
    for chip, vector in zip(chips, ours, strict=True):
        expected = np.array(theirs.compute_face_descriptor(chip))
        np.testing.assert_allclose(vector, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("full_size", [False, True])
def test_our_chip_is_dlibs_chip(
    bootstrap: Pack, photos: dict[str, Bgr8], name: str, full_size: bool
) -> None:
    image = photos[name] if full_size else small(photos[name])
    face = hog_face(bootstrap, image)
    whole = Face(
        *(face.left, face.top, face.width, face.height),
        np.round(face.landmarks),
        face.score,
        face.scheme,
    )
    ours, theirs = align(image, whole, "dlib_150"), dlib_chip(image, face)
    difference = np.abs(ours.astype(float) - theirs.astype(float))
    # dlib truncates where OpenCV rounds; large faces are halved by another filter first.
    assert difference.mean() < (3.0 if full_size else 0.6)
    score = score_cos(
        embed(ours, bootstrap.embedder),
        Reference(embed(theirs, bootstrap.embedder).values),
    )
    assert score > 0.999


@pytest.mark.parametrize("name", NAMES)
def test_the_chip_lies_where_dlib_puts_it(
    bootstrap: Pack, photos: dict[str, Bgr8], name: str
) -> None:
    face = hog_face(bootstrap, small(photos[name]))
    parts = [dlib.point(round(float(x)), round(float(y))) for x, y in face.landmarks]
    shape = dlib.full_object_detection(dlib.rectangle(0, 0, 9, 9), parts)
    theirs = dlib.get_face_chip_details(shape, 150, 0.25)
    matrix = dlib_chip_matrix(face.landmarks.astype(np.float64))
    to_frame = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    corner, opposite = (to_frame @ [u, u, 1] for u in (0, 149))
    middle = (corner + opposite)[:2] / 2
    rect = theirs.rect
    np.testing.assert_allclose(
        middle, [(rect.left() + rect.right()) / 2, (rect.top() + rect.bottom()) / 2], atol=1e-6
    )
    side = rect.right() - rect.left()
    np.testing.assert_allclose(np.hypot(*(opposite - corner)[:2]), np.sqrt(2) * side, atol=1e-6)
    angle = np.arctan2(to_frame[1, 0], to_frame[0, 0])
    np.testing.assert_allclose(angle, theirs.angle, atol=1e-9)


def test_conversion_gives_the_same_bytes_again(bootstrap_folder: Path) -> None:
    again = convert((bootstrap_folder / SOURCE).read_bytes())
    assert again == (bootstrap_folder / SOURCE).with_suffix(".onnx").read_bytes()


def test_no_cut_and_no_tail_of_the_true_file_is_read(bootstrap_folder: Path) -> None:
    data = (bootstrap_folder / SOURCE).read_bytes()
    rng = np.random.default_rng(3)
    for size in (0, 1, 290, 330, len(data) - 1, *rng.integers(0, len(data), 12)):
        with pytest.raises(ModelFault):
            read_resnet(data[: int(size)])
    with pytest.raises(ModelFault, match="1 bytes too many"):
        read_resnet(data + b"\0")


def test_flipped_structure_bytes_are_refused(bootstrap_folder: Path) -> None:
    data = (bootstrap_folder / SOURCE).read_bytes()
    for at in (1, 3, 5, 30, 100, 250, 295, 325, 337, 345, 19383, 19713, 19753):
        damaged = bytearray(data)
        damaged[at] ^= 0x40
        with pytest.raises(ModelFault):
            read_resnet(bytes(damaged))


def sightings(pack: Pack, photos: dict[str, Bgr8]) -> dict[str, Sighting]:
    seen = {name: perceive(image, pack, Zone()) for name, image in photos.items()}
    assert all(isinstance(one, Sighting) for one in seen.values())
    return {name: one for name, one in seen.items() if isinstance(one, Sighting)}


@pytest.mark.parametrize("pack_name", ["bootstrap", "edge"])
def test_the_owner_matches_and_another_person_does_not(
    pack_name: str, photos: dict[str, Bgr8], request: pytest.FixtureRequest
) -> None:
    pack: Pack = request.getfixturevalue(pack_name)
    seen = sightings(pack, photos)
    for a, b in itertools.permutations(NAMES, 2):
        score = score_cos(seen[a].embedding, Reference(seen[b].embedding.values))
        same = a.split("-")[0] == b.split("-")[0]
        assert (score >= pack.match_min_cos) is same, (a, b, score)


@pytest.mark.parametrize("pack_name", ["bootstrap", "edge"])
def test_two_people_side_by_side_are_two_faces(
    pack_name: str, photos: dict[str, Bgr8], request: pytest.FixtureRequest
) -> None:
    pack: Pack = request.getfixturevalue(pack_name)
    for a, b in itertools.combinations(NAMES, 2):
        pair = [cv2.resize(photos[n], (round(720 * photos[n].shape[1] / photos[n].shape[0]), 720))
                for n in (a, b)]  # fmt: skip
        frame = np.asarray(np.hstack(pair), np.uint8)
        assert perceive(frame, pack, Zone()) is Advice.MULTIPLE_FACES


@pytest.mark.parametrize("pack_name", ["bootstrap", "edge"])
@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (15, 300, 3), (40, 40, 3), (480, 640, 3), (9, 4000, 3)]
)
def test_no_face_of_any_size(
    pack_name: str, shape: tuple[int, ...], request: pytest.FixtureRequest
) -> None:
    pack: Pack = request.getfixturevalue(pack_name)
    rng = np.random.default_rng(1)
    for frame in (np.zeros(shape, np.uint8), rng.integers(0, 256, shape, dtype=np.uint8)):
        assert perceive(frame, pack, Zone()) is Advice.NO_FACE


def test_a_photograph_far_too_large_is_still_seen(edge: Pack, photos: dict[str, Bgr8]) -> None:
    large = np.asarray(cv2.resize(photos["owner-1"], None, fx=4, fy=4), np.uint8)
    assert isinstance(perceive(large, edge, Zone()), Sighting)


def test_a_face_outside_the_zone_is_not_seen(edge: Pack, photos: dict[str, Bgr8]) -> None:
    image = photos["owner-1"]
    empty = np.full_like(image, 90)
    frame = np.hstack([empty, image])
    assert perceive(frame, edge, Zone(0, 0, 0.5, 1)) is Advice.NO_FACE
    assert isinstance(perceive(frame, edge, Zone(0.5, 0, 1, 1)), Sighting)


def test_looking_takes_one_thread_and_writes_nothing(
    bootstrap_folder: Path, tmp_path: Path
) -> None:
    """The verifier's sandbox allows no second thread; newer runtimes would start one to report."""
    program = (
        "import sys, numpy as np, pathlib\n"
        "from models.pack import load_pack\n"
        "from models.perceive import perceive\n"
        "from models.types import Zone\n"
        "pack = load_pack('bootstrap', pathlib.Path(sys.argv[1]))\n"
        "frame = np.random.default_rng(1).integers(0, 256, (1080, 1920, 3), dtype=np.uint8)\n"
        "perceive(frame, pack, Zone())\n"
        "print(len(list(pathlib.Path('/proc/self/task').iterdir())))\n"
    )
    environment = {"HOME": str(tmp_path), "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-B", "-c", program, str(bootstrap_folder)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("1\n", "")
    assert list(tmp_path.rglob("*")) == []


def test_yunet_decoding_equals_opencv(edge: Pack, photos: dict[str, Bgr8]) -> None:
    """OpenCV's own reader of the same network, at the same input size."""
    path = Path(os.environ.get("GATE_MODELS_DIR", SHARED / "models")) / "yunet_n_320_320.onnx"
    if not path.is_file():
        pytest.skip(f"needs {path}: OpenCV cannot read the network with free sizes")
    theirs = cv2.FaceDetectorYN.create(str(path), "", (320, 320), 0.6, 0.3, 50)
    for photo in photos.values():
        frame = np.zeros((320, 320, 3), np.uint8)
        scale = 320 / max(photo.shape[:2])
        part = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        frame[: part.shape[0], : part.shape[1]] = part
        (expected,) = theirs.detect(frame)[1]
        (face,) = edge.detector.detect(frame)
        ours = [face.left, face.top, face.width, face.height, *face.landmarks.ravel(), face.score]
        np.testing.assert_allclose(ours, expected, atol=0.1)


@pytest.mark.parametrize(
    ("name", "bona_fide"), [("T1.jpg", True), ("F1.jpg", False), ("F2.jpg", False)]
)
def test_known_presentation_attacks_are_told_apart(edge: Pack, name: str, bona_fide: bool) -> None:
    path = SHARED / "faces" / "pad_samples" / name
    if not path.is_file():
        pytest.skip(f"needs {path}")
    image = np.asarray(cv2.imread(str(path)), np.uint8)
    (face,) = edge.detector.detect(image)
    assert edge.liveness is not None
    assert edge.live_min is not None
    assert (edge.liveness.score(image, face) >= edge.live_min) is bona_fide
