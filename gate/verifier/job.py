"""The one job of one verifier. It names one card, so it can name one reference, never two.

Layout, version 1, big-endian: version (1), agreeing (1), deadline_ms (4), nonce (8), zone four
float64, credential id (16), consent hash (32), aux hash (32), expiry (8), template_aux (32),
model id (length 1), camera (length 2, UTF-8), envelope (length 2).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime

from gate.errors import ConfigError, ProtocolViolation, TemplateRejected
from gate.template.context import Purpose, SealContext
from gate.template.envelope import ENVELOPE_MAX
from gate.template.protection import AUX_BYTES
from gate.verifier.wire import NONCE_BYTES
from models.types import Zone

VERSION = 1
CAMERA_MAX = 1024
DEADLINE_MS_MAX = 60_000
AGREEING_MAX = 10
_HEAD = struct.Struct(f">BBI{NONCE_BYTES}s4d16s32s32sq{AUX_BYTES}sB")
JOB_MAX = _HEAD.size + 64 + 2 + CAMERA_MAX + 2 + ENVELOPE_MAX


@dataclass(frozen=True, repr=False)
class Job:
    """What a verifier needs to know about this passage. The content key comes another way."""

    camera: str
    """As firmware_bridge.camera names it."""
    zone: Zone
    envelope: bytes
    """The sealed template, as on the card."""
    context: SealContext
    """What this card says about itself."""
    template_aux: bytes
    nonce: bytes
    """8 bytes; every record of the answer repeats it."""
    deadline_ms: int
    """How long to look, counted from receipt."""
    agreeing: int = 2
    """How many sightings in a row must match."""

    def encode(self) -> bytes:
        """Return the bytes for the job pipe.

        Raises:
            ConfigError: camera, zone or times out of range.
            TemplateRejected: the card's template data has the wrong form.
        """
        camera = self.camera.encode()
        if not 0 < len(camera) <= CAMERA_MAX or not _is_zone(self.zone):
            raise ConfigError("camera or approach zone is malformed", "check [camera]")
        if not 0 < self.deadline_ms <= DEADLINE_MS_MAX or not 0 < self.agreeing <= AGREEING_MAX:
            raise ConfigError("deadline or number of sightings out of range", "check [face]")
        if len(self.template_aux) != AUX_BYTES or len(self.envelope) > ENVELOPE_MAX:
            raise TemplateRejected("the card's template data has the wrong length")
        if self.context.purpose is not Purpose.TEMPLATE:
            raise TemplateRejected("sealed for another purpose")
        zone, context = self.zone, self.context
        model_id = context.model_id.encode("ascii")
        head = _HEAD.pack(
            *(VERSION, self.agreeing, self.deadline_ms, self.nonce),
            *(zone.left, zone.top, zone.right, zone.bottom),
            *(context.credential_id, context.consent_hash, context.aux_hash),
            *(int(context.expiry.timestamp()), self.template_aux, len(model_id)),
        )
        tail = struct.pack(">H", len(camera)) + camera + struct.pack(">H", len(self.envelope))
        return head + model_id + tail + self.envelope

    @classmethod
    def decode(cls, data: bytes) -> Job:
        """Return the job in `data`, strictly.

        Raises:
            ProtocolViolation: not exactly one version 1 job.
        """
        if not _HEAD.size < len(data) <= JOB_MAX:
            raise ProtocolViolation("verifier job has the wrong length")
        version, agreeing, deadline_ms, nonce, *rest = _HEAD.unpack_from(data)
        zone = Zone(*rest[:4])
        credential_id, consent_hash, aux_hash, expiry_s, template_aux, model_id_length = rest[4:]
        try:
            model_id, at = _take(data, _HEAD.size, model_id_length)
            camera, at = _counted(data, at)
            envelope, at = _counted(data, at)
            context = SealContext(
                Purpose.TEMPLATE,
                credential_id,
                model_id.decode("ascii"),
                consent_hash,
                aux_hash,
                datetime.fromtimestamp(expiry_s, UTC),
            )
            job = cls(
                camera.decode(), zone, envelope, context, template_aux, nonce, deadline_ms, agreeing
            )
        except (ValueError, struct.error, OverflowError, OSError):
            raise ProtocolViolation("verifier job is malformed") from None
        in_range = 0 < deadline_ms <= DEADLINE_MS_MAX and 0 < agreeing <= AGREEING_MAX
        if version != VERSION or at != len(data) or not in_range or not _is_zone(zone):
            raise ProtocolViolation("not a version 1 verifier job")
        return job


def _is_zone(zone: Zone) -> bool:
    # Written so that a NaN fails.
    return 0.0 <= zone.left < zone.right <= 1.0 and 0.0 <= zone.top < zone.bottom <= 1.0


def _counted(data: bytes, at: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from(">H", data, at)
    return _take(data, at + 2, length)


def _take(data: bytes, at: int, length: int) -> tuple[bytes, int]:
    if at + length > len(data):
        raise ValueError("torn")
    return data[at : at + length], at + length
