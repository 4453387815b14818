"""Every form in which a picture or a vector could remain is a needle, and is found."""

import base64
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.errors import ConfigError
from gate.probe.canary import Faces, mark
from gate.probe.forms import encodings, vector_forms
from gate.probe.needles import Index, Kind, Needle

RNG = np.random.default_rng(5)
RAW = RNG.normal(size=512)
VECTOR = (RAW / np.linalg.norm(RAW)).astype(np.float32)
INDEX = Index(vector_forms("live", VECTOR))


@settings(deadline=None)
@given(st.integers(0, 63), st.sampled_from(["<f8", "<f4", "<f2"]))
def test_a_vector_is_found_in_every_number_format(place: int, form: str) -> None:
    data = bytes(place) + VECTOR.astype(form).tobytes()[40:400]
    assert INDEX.search(data, "memory")


def test_a_vector_is_found_as_int8_hex_base64_and_print() -> None:
    int8 = np.rint(VECTOR * (127 / np.abs(VECTOR).max())).astype(np.int8).tobytes()
    raw = VECTOR.tobytes()
    for text in (int8, raw.hex().encode(), raw.hex().upper().encode(), base64.b64encode(raw)):
        (hit,) = INDEX.search(b"log: " + text + b"\n", "memory")
        assert hit.length >= len(text) - 8
    printed = str(VECTOR.tolist()).encode()
    assert {hit.needle for hit in INDEX.search(printed, "memory")} >= {"live printed 0"}


def test_another_vector_is_not_found() -> None:
    other = RNG.normal(size=512).astype(np.float32)
    for needle in vector_forms("other", other / np.linalg.norm(other)):
        assert INDEX.search(needle.data, "memory") == []


def test_a_key_is_found_as_hex_and_base64() -> None:
    key = os.urandom(32)
    index = Index(encodings("content key", key, Kind.KEY))
    for text in (key, key.hex().encode(), base64.b64encode(key)):
        assert len(index.search(b"xyz" + text, "memory")) == 1


@given(st.binary(max_size=9))
def test_base64_is_found_behind_any_header(header: bytes) -> None:
    key = os.urandom(32)
    for data, index in ((VECTOR.tobytes(), INDEX), (key, Index(encodings("k", key, Kind.KEY)))):
        assert index.search(base64.b64encode(header + data + b"end"), "memory")


def picture(path: Path) -> Path:
    y, x = np.mgrid[0:300, 0:240]
    shades = np.stack([y * 0.8, x, (x + y) * 0.5], axis=-1)
    shades[:80] = 255  # a flat, white background
    cv2.imwrite(str(path), shades.astype(np.uint8))
    return path


def test_two_canaries_of_one_photograph_share_nothing(tmp_path: Path) -> None:
    photo = picture(tmp_path / "photo.png")
    frames = []
    for name in ("a", "b"):
        mark(photo, tmp_path / f"{name}.jpg", os.urandom)
        frames.append(cv2.imread(str(tmp_path / f"{name}.jpg")))
    one, other = (Needle("frame", Kind.IMAGE, frame.tobytes()) for frame in frames)
    assert Index([one]).search(one.data, "memory")
    assert Index([one]).search(other.data, "memory") == []
    # And still the same picture to an eye: the noise is small.
    assert np.abs(frames[0].astype(int) - frames[1].astype(int)).mean() < 8


def test_faces_come_from_folders_of_people(tmp_path: Path) -> None:
    for person, count in (("a", 1), ("b", 2), ("c", 1)):
        (tmp_path / person).mkdir()
        for number in range(count):
            picture(tmp_path / person / f"{number}.png")
    faces = Faces.in_folder(tmp_path)
    assert faces.enrolled == tmp_path / "b" / "0.png"
    assert faces.at_the_gate == tmp_path / "b" / "1.png"
    assert {faces.other.parent.name, faces.absent and faces.absent.parent.name} == {"a", "c"}


def test_faces_that_do_not_suffice_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    picture(tmp_path / "a" / "0.png")
    with pytest.raises(ConfigError, match="does not hold two people"):
        Faces.in_folder(tmp_path)
    with pytest.raises(ConfigError, match="cannot be listed"):
        Faces.in_folder(tmp_path / "absent")
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(ConfigError, match="is not an image"):
        mark(tmp_path / "text.jpg", tmp_path / "x.jpg", os.urandom)
