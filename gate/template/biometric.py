"""The plaintext of a sealed template: one protected identity vector, quantised to int8.

Layout, version 1, big-endian: version (1), frames (1), quality in 1/255 (1), created in Unix
seconds (8), scale float32 (4), model id and pack version (each length (1) and ASCII),
dimension (2), values int8.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from gate.errors import TemplateRejected
from gate.template.context import check_model_id
from gate.template.protection import protect
from models.types import Embedding, Reference

VERSION = 1
DIM_MAX = 2048
_HEAD = struct.Struct(">BBBqf")


@dataclass(frozen=True, eq=False, repr=False)
class Template:
    """One person's reference, opened. Exists only in a verifier or, before sealing, at enrolment.

    `values`: int8, shape (dim,), in -127..127; times `scale` they are the protected unit vector.
    """

    values: NDArray[np.int8]
    scale: float
    model_id: str
    pack_version: str
    frames: int
    """How many frames the mean was taken of, 1..255."""
    quality: float
    """0..1, in steps of 1/255."""
    created: datetime

    def encode(self) -> bytes:
        """Return the plaintext to seal."""
        created = int(self.created.timestamp())
        quality = round(self.quality * 255)
        head = _HEAD.pack(VERSION, self.frames, quality, created, self.scale)
        texts = b"".join(
            bytes([len(t)]) + t.encode("ascii") for t in (self.model_id, self.pack_version)
        )
        return head + texts + struct.pack(">H", self.values.size) + self.values.tobytes()

    @classmethod
    def decode(cls, data: bytes) -> Template:
        """Return the template in an opened envelope, strictly.

        Raises:
            TemplateRejected: not a version 1 template, torn, too long, or no usable vector.
        """
        try:
            version, frames, quality, created_s, scale = _HEAD.unpack_from(data)
            model_id, at = _text(data, _HEAD.size)
            pack_version, at = _text(data, at)
            (dim,) = struct.unpack_from(">H", data, at)
            created = datetime.fromtimestamp(created_s, UTC)
        except (struct.error, ValueError, IndexError, OverflowError, OSError):
            raise TemplateRejected("opened object is not a template") from None
        body = data[at + 2 :]
        if version != VERSION or not 2 <= dim <= DIM_MAX or len(body) != dim or frames == 0:
            raise TemplateRejected("opened object is not a version 1 template")
        values = np.frombuffer(body, dtype=np.int8)
        usable = math.isfinite(scale) and scale > 0 and bool(values.any())
        if not usable or int(values.min()) == -128:
            raise TemplateRejected("opened template has no usable vector")
        return cls(values, scale, model_id, pack_version, frames, quality / 255, created)

    def reference(self) -> Reference:
        """Return the unit vector to compare with. It lives in the protected space.

        Compare only with `protection.protect(live, template_aux)` under the same auxiliary data.
        """
        vector = self.values.astype(np.float64) * self.scale
        return Reference((vector / np.linalg.norm(vector)).astype(np.float32))


def make_template(
    embedding: Embedding,
    template_aux: bytes,
    *,
    model_id: str,
    pack_version: str,
    frames: int,
    quality: float,
    created: datetime,
) -> Template:
    """Return the template of one enrolment, ready to encode and seal.

    Args:
        embedding: mean of the enrolment frames' unit vectors; any length but zero.
        template_aux: 32 bytes, random per enrolment (ISO/IEC 24745 auxiliary data).
        model_id: the embedder, as its pack names it.
        pack_version: version of the model pack, 1 to 64 printable ASCII characters.
        frames: how many frames went into the mean, 1..255.
        quality: 0..1, of the worst or the mean frame.
        created: with a time zone.

    Raises:
        ValueError: an argument has the wrong form, or the vector has no direction.
    """
    check_model_id(model_id)
    check_model_id(pack_version)
    if not 1 <= frames <= 255 or not 0.0 <= quality <= 1.0 or created.tzinfo is None:
        raise ValueError("frames, quality or creation time out of range")
    mean = np.asarray(embedding.values, dtype=np.float64)
    length = float(np.linalg.norm(mean))
    if not 2 <= mean.size <= DIM_MAX or not math.isfinite(length) or length < 1e-6:
        raise ValueError("the mean embedding has no direction")
    unit = Embedding((mean / length).astype(np.float32))
    protected = protect(unit, template_aux).values.astype(np.float64)
    # float32, because that is what the format keeps: both sides dequantise with the same number.
    scale = float(np.float32(np.abs(protected).max() / 127.0))
    values = np.clip(np.rint(protected / scale), -127, 127).astype(np.int8)
    quality = round(quality * 255) / 255
    created = created.replace(microsecond=0)
    return Template(values, scale, model_id, pack_version, frames, quality, created)


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    text = data[at + 1 : end].decode("ascii")
    check_model_id(text)
    if end > len(data):
        raise ValueError("torn")
    return text, end
