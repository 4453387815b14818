"""What crosses the pipes of a capture worker: one job in; progress and one result out.

Outward there are two sizes of record and no other, so the sandbox can hold the worker to them:
16 bytes of progress (no picture fits) and one result of 4096 bytes, zero padded.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum

from enrollment.gathering import Step
from gate.card.cbor import MalformedCbor, encode, field, load, need
from gate.errors import ProtocolViolation
from models.types import Advice

PROGRESS_BYTES = 16
RESULT_BYTES = 4096
JOB_MAX_BYTES = 16 * 1024
_PROGRESS, _RESULT = 1, 2
_STEPS = list(Step)
_HEAD_BYTES = 4


class Outcome(IntEnum):
    """How a capture ended."""

    DONE = 0
    NO_FACE = 1
    """No frame held a usable face; the advice of the last frame says why."""
    TWO_FACES = 2
    DIFFERENT_PEOPLE = 3
    UNREADABLE = 4
    SOURCE_FAULT = 5
    MODEL_FAULT = 6
    NOT_LIVE = 7


@dataclass(frozen=True, repr=False)
class Job:
    """What the worker needs to make one sealed template."""

    sources: tuple[str, ...]
    """As firmware_bridge.camera names them. Photographs: one each. A camera: one."""
    live: bool
    zone: tuple[float, float, float, float]
    wanted: int
    deadline_ms: int
    pack: str
    pack_folder: str
    credential_id: bytes
    consent_record: bytes
    expiry: datetime
    created: datetime
    site_public_key: bytes
    """X9.62 uncompressed point on P-256: it can seal and nothing else."""

    def encode(self) -> bytes:
        """Return the bytes for the worker's standard input."""
        return encode(
            [
                list(self.sources),
                self.live,
                list(self.zone),
                self.wanted,
                self.deadline_ms,
                self.pack,
                self.pack_folder,
                self.credential_id,
                self.consent_record,
                int(self.expiry.timestamp()),
                int(self.created.timestamp()),
                self.site_public_key,
            ]
        )

    @classmethod
    def decode(cls, raw: bytes) -> Job:
        """Return the job.

        Raises:
            MalformedCbor: torn, or another version of this program wrote it.
        """
        values = need(load(raw, max_bytes=JOB_MAX_BYTES), list)
        if len(values) != 12 or len(need(values[2], list)) != 4:
            raise MalformedCbor("a capture job has 12 fields, its zone 4 edges")
        sources = [need(source, str) for source in need(values[0], list)]
        left, top, right, bottom = (need(edge, float) for edge in values[2])
        return cls(
            sources=tuple(sources),
            live=need(values[1], bool),
            zone=(left, top, right, bottom),
            wanted=need(values[3], int),
            deadline_ms=need(values[4], int),
            pack=need(values[5], str),
            pack_folder=need(values[6], str),
            credential_id=need(values[7], bytes),
            consent_record=need(values[8], bytes),
            expiry=_moment(need(values[9], int)),
            created=_moment(need(values[10], int)),
            site_public_key=need(values[11], bytes),
        )


@dataclass(frozen=True)
class Progress:
    """One frame was considered."""

    step: Step
    advice: Advice
    source: int
    """Which photograph, counted from 0; 0 for a camera."""
    taken: int

    def encode(self) -> bytes:
        """Return the 16 bytes."""
        return bytes(
            [_PROGRESS, _STEPS.index(self.step), self.advice, self.source & 0xFF, self.taken & 0xFF]
        ) + bytes(PROGRESS_BYTES - 5)


@dataclass(frozen=True, repr=False)
class Result:
    """All that a capture leaves behind. `sealed` opens only at a gate, in its context."""

    outcome: Outcome
    source: int = 0
    """Which photograph the outcome is about."""
    advice: Advice = Advice.NONE
    detail: str = ""
    """One line of a device or model fault."""
    sealed: bytes = b""
    aux: bytes = b""
    qualities: tuple[float, ...] = ()

    def encode(self) -> bytes:
        """Return the 4096 bytes."""
        body = encode(
            {
                "outcome": int(self.outcome),
                "source": self.source,
                "advice": int(self.advice),
                "detail": self.detail[:400],
                "sealed": self.sealed,
                "aux": self.aux,
                "qualities": [round(q * 255) for q in self.qualities],
            }
        )
        record = bytes([_RESULT, 0]) + len(body).to_bytes(2) + body
        assert len(record) <= RESULT_BYTES
        return record.ljust(RESULT_BYTES, b"\0")


def record_size(head: bytes) -> int:
    """Return how long the record is that starts with these bytes.

    Raises:
        ProtocolViolation: neither kind.
    """
    sizes = {_PROGRESS: PROGRESS_BYTES, _RESULT: RESULT_BYTES}
    if not head or head[0] not in sizes:
        raise ProtocolViolation("capture worker sent an unknown record", "try again")
    return sizes[head[0]]


def decode(record: bytes) -> Progress | Result:
    """Return one outward record.

    Raises:
        ProtocolViolation: malformed in any way.
    """
    if len(record) != record_size(record):
        raise ProtocolViolation("capture worker sent a torn record", "try again")
    try:
        if record[0] == _PROGRESS:
            if any(record[5:]):
                raise ValueError
            return Progress(_STEPS[record[1]], Advice(record[2]), record[3], record[4])
        length = int.from_bytes(record[2:_HEAD_BYTES])
        if record[1] or any(record[_HEAD_BYTES + length :]) or length > RESULT_BYTES - _HEAD_BYTES:
            raise ValueError
        content = need(load(record[_HEAD_BYTES : _HEAD_BYTES + length]), dict)
        if len(content) != 7:
            raise ValueError
        qualities = [need(q, int) for q in field(content, "qualities", list)]
        if not all(0 <= q <= 255 for q in qualities):
            raise ValueError
        return Result(
            outcome=Outcome(field(content, "outcome", int)),
            source=field(content, "source", int),
            advice=Advice(field(content, "advice", int)),
            detail=field(content, "detail", str),
            sealed=field(content, "sealed", bytes),
            aux=field(content, "aux", bytes),
            qualities=tuple(q / 255 for q in qualities),
        )
    except (ValueError, IndexError, MalformedCbor):
        raise ProtocolViolation("capture worker sent a malformed record", "try again") from None


def _moment(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise MalformedCbor("a date of the capture job is impossible") from None
