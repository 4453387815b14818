"""Every form in which a picture or an identity vector could remain. Runs in the probe only.

A picture is looked at as the gate looks at it, step by step, so that the needles are the very
bytes that a process on the way held: frame, what the detector saw, crop, network input, vector.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from firmware_bridge.camera import decode_image
from gate.probe.needles import Kind, Needle
from models.embed import embed
from models.geometry import align, crop_zone, fit_scale, shrink
from models.liveness import context_crop
from models.manifest import InputSpec, pack_spec
from models.pack import Pack
from models.types import Bgr8, Embedding, Face, Zone

_DECIMALS: Final = 6
"""Pairs of neighbouring numbers that are looked for as printed text."""
_JPEG_SCAN: Final = b"\xff\xda"


def vector_forms(name: str, values: NDArray[np.floating]) -> list[Needle]:
    """Return one identity vector as raw numbers of four sizes, as hex, base64 and printed text.

    Args:
        name: what the vector is; starts the names of the needles.
        values: shape (dim,), of unit length.
    """
    scaled = values * (127 / np.abs(values).max())
    raw = {
        "float64": values.astype("<f8"),
        "float32": values.astype("<f4"),
        "float16": values.astype("<f2"),
        "int8": np.clip(np.rint(scaled), -127, 127).astype(np.int8),
    }
    needles = []
    for form, array in raw.items():
        needles += encodings(f"{name} {form}", array.tobytes())
    printed = values.astype(np.float32).tolist()
    needles += [
        Needle(f"{name} printed {at}", Kind.TEXT, f"{one!r}, {other!r}".encode())
        for at, (one, other) in enumerate(list(pairwise(printed))[:_DECIMALS])
    ]
    return needles


def encodings(name: str, data: bytes, kind: Kind = Kind.VECTOR) -> list[Needle]:
    """Return bytes as they are, in hexadecimal of both cases, and in base64.

    Base64 turns three bytes into four letters, so bytes behind others (a template behind its
    header) look different for each remainder of their place: each is a needle.
    """
    return [
        Needle(name, kind, data),
        Needle(f"{name} hex", kind, data.hex().encode()),
        Needle(f"{name} HEX", kind, data.hex().upper().encode()),
        Needle(f"{name} base64", kind, base64.b64encode(data)),
        *(Needle(f"{name} base64+{at}", kind, base64.b64encode(data[3 - at :])) for at in (1, 2)),
    ]


def picture_needles(name: str, file: bytes, pack: Pack, zone: Zone | None = None) -> list[Needle]:
    """Return a picture in all forms that it takes between the lens and the verdict.

    Args:
        name: what the picture is, never who; starts the names of the needles.
        file: an image file.
        pack: the models of the gate that will see it.
        zone: the approach zone; the whole picture when None.

    Raises:
        ModelFault: a model failed.
        DeviceFault: the file is no image.
    """
    frame = decode_image(np.frombuffer(file, np.uint8), name)
    view = crop_zone(frame, zone or Zone())
    needles = [Needle(f"{name} file", Kind.IMAGE, _picture_data(file))]
    needles += _colours(f"{name} frame", frame)
    needles += list(_detector_input(name, view, pack))
    faces = pack.detector.detect(view)
    for number, face in enumerate(faces, start=1):
        mark = name if len(faces) == 1 else f"{name} face {number}"
        needles += _face_needles(mark, view, face, pack)
    return needles


def _picture_data(file: bytes) -> bytes:
    """Leave out a JPEG's tables: every JPEG has the same."""
    at = file.find(_JPEG_SCAN) if file.startswith(b"\xff\xd8") else 0
    return file[max(0, at) :]


def _colours(name: str, image: Bgr8) -> list[Needle]:
    forms = {
        "BGR": image,
        "RGB": np.ascontiguousarray(image[:, :, ::-1]),
        "grey": cv2.cvtColor(image, cv2.COLOR_BGR2GRAY),
    }
    return [Needle(f"{name} {form}", Kind.IMAGE, data.tobytes()) for form, data in forms.items()]


def _nchw(images: list[NDArray[np.uint8]], spec: InputSpec) -> bytes:
    """Return what models.runtime.Runtime.prepare makes of images."""
    batch = np.stack(images).astype(np.float32)
    batch -= np.array(spec.mean, np.float32)
    batch /= np.float32(spec.divisor)
    return np.ascontiguousarray(batch.transpose(0, 3, 1, 2)).tobytes()


def _detector_input(name: str, view: Bgr8, pack: Pack) -> Iterator[Needle]:
    """Yield the frame as the detector saw it; nothing new when it saw it in full size."""
    spec = pack_spec(pack.name)
    height, width = view.shape[:2]
    small = shrink(view, fit_scale(height, width, spec.detect_side_max_px))
    if small.shape != view.shape:
        yield from _colours(f"{name} detector image", small)
    for file in spec.with_role("detector"):
        assert file.input is not None
        rows, columns = small.shape[:2]
        padded = np.zeros((-(-rows // 32) * 32, -(-columns // 32) * 32, 3), np.uint8)
        padded[:rows, :columns] = small
        yield Needle(f"{name} detector input", Kind.IMAGE, _nchw([padded], file.input))


def _face_needles(name: str, view: Bgr8, face: Face, pack: Pack) -> list[Needle]:
    crop_rgb = align(view, face, pack.embedder.alignment)
    needles = _colours(f"{name} crop", np.ascontiguousarray(crop_rgb[:, :, ::-1]))
    spec = pack_spec(pack.name)
    (embedder,) = spec.with_role("embedder")
    assert embedder.input is not None
    crops = [crop_rgb, np.ascontiguousarray(crop_rgb[:, ::-1])]
    for mark, crop in zip(("", " mirrored"), crops, strict=True):
        data = _nchw([crop], embedder.input)
        needles.append(Needle(f"{name} embedder input{mark}", Kind.IMAGE, data))
    for number, file in enumerate(spec.with_role("liveness"), start=1):
        assert file.input is not None
        assert file.input.crop_scale is not None
        around = context_crop(view, face, file.input.crop_scale, file.input.shape[2])
        needles += _colours(f"{name} liveness {number} crop", around)
        data = _nchw([around], file.input)
        needles.append(Needle(f"{name} liveness {number} input", Kind.IMAGE, data))
    return needles + vector_forms(f"{name} embedding", embed(crop_rgb, pack.embedder).values)


def only_face(file: bytes, pack: Pack, name: str) -> Embedding | None:
    """Return the identity vector of a picture with one face, or None.

    Raises:
        ModelFault: a model failed.
        DeviceFault: the file is no image.
    """
    frame = decode_image(np.frombuffer(file, np.uint8), name)
    view = crop_zone(frame, Zone())
    faces = pack.detector.detect(view)
    if len(faces) != 1:
        return None
    return embed(align(view, faces[0], pack.embedder.alignment), pack.embedder)
