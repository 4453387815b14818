"""From photographs or a camera to a sealed template, without ever holding either.

Everything that sees a picture happens in a single-use child process (enrollment.capture_worker).
This side gets advice for the person and, at the end, bytes that only a gate can open.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from enrollment.capture_wire import (
    PROGRESS_BYTES,
    Job,
    Outcome,
    Progress,
    Result,
    decode,
    record_size,
)
from enrollment.errors import CaptureFault, EnrolmentRefused
from enrollment.photographs import photo_files
from enrollment.words import advice_words
from firmware_bridge.errors import DeviceFault
from gate.errors import ConfigError
from models.types import Zone

FRAMES_WANTED = 5
CAMERA_DEADLINE_MS = 60_000
_PHOTO_MS = 20_000
"""Time for one photograph on a slow machine; only a worker that hangs needs it all."""
START_MS = 60_000
_ENDING_S = 5.0


@dataclass(frozen=True)
class Photographs:
    """Image files of one person; a folder stands for its images in name order."""

    paths: tuple[Path, ...]


@dataclass(frozen=True)
class LiveCamera:
    """A camera as firmware_bridge.camera names it: "v4l2:0", "file:PATH", "rtsp://..."."""

    source: str


@dataclass(frozen=True)
class ModelPack:
    """Which models look at the pictures; the gate must use the same."""

    name: str
    folder: Path


@dataclass(frozen=True, repr=False)
class SealedFace:
    """What a capture leaves. Nobody but a gate with the site's key opens it."""

    sealed_template: bytes
    template_aux: bytes
    consent_record: bytes
    """The signed consent it is bound to."""
    qualities: tuple[float, ...]
    """0..1 of each frame that was used."""


def capture(
    source: Photographs | LiveCamera,
    pack: ModelPack,
    site_public_key: ec.EllipticCurvePublicKey,
    *,
    credential_id: bytes,
    consent_record: bytes,
    expiry: datetime,
    now: datetime,
    zone: Zone | None = None,
    frames_wanted: int = FRAMES_WANTED,
    deadline_ms: int = CAMERA_DEADLINE_MS,
    start_ms: int = START_MS,
    progress: Callable[[Progress], None] = lambda _: None,
) -> SealedFace:
    """Make and seal one template. Call from a thread that outlives the capture.

    Args:
        source: photographs, each of which must show the person alone; or a camera.
        pack: the models.
        site_public_key: the site's template key, P-256.
        credential_id: 16 bytes of the card it is for.
        consent_record: the signed consent it is bound to.
        expiry: aware, whole seconds; end of the card.
        now: aware; noted in the template.
        zone: the part of the picture to look at; all of it when None.
        frames_wanted: how many good frames make a template.
        deadline_ms: how long a camera may look.
        start_ms: how long loading the models may take.
        progress: called for each frame, for advice to the person.

    Raises:
        EnrolmentRefused: no usable face, two faces, different people, or an unreadable image.
        DeviceFault: the camera is absent, busy or gone.
        ConfigError: the models cannot be used.
        CaptureFault: the worker died or hung.
    """
    seen = zone or Zone()
    sources = _sources(source)
    live = isinstance(source, LiveCamera)
    job = Job(
        sources=sources,
        live=live,
        zone=(float(seen.left), float(seen.top), float(seen.right), float(seen.bottom)),
        wanted=frames_wanted,
        deadline_ms=deadline_ms,
        pack=pack.name,
        pack_folder=str(pack.folder.resolve()),
        credential_id=credential_id,
        consent_record=consent_record,
        expiry=expiry,
        created=now,
        site_public_key=site_public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
    )
    looking_ms = deadline_ms if live else _PHOTO_MS * len(sources)
    result = _run(job, time.monotonic() + (start_ms + looking_ms) / 1000, progress)
    if result.outcome is not Outcome.DONE:
        raise _failure(result, sources, live=live)
    return SealedFace(result.sealed, result.aux, consent_record, result.qualities)


def _sources(source: Photographs | LiveCamera) -> tuple[str, ...]:
    if isinstance(source, LiveCamera):
        return (source.source,)
    return tuple(str(path.absolute()) for path in photo_files(source.paths))


def _run(job: Job, until_s: float, progress: Callable[[Progress], None]) -> Result:
    read_fd, write_fd = os.pipe()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, read_fd)
        try:
            worker = subprocess.Popen(  # noqa: S603 - our own module, fixed arguments
                [
                    *(sys.executable, "-I", "-m", "enrollment.capture_worker"),
                    *(str(write_fd), str(os.getpid())),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(write_fd,),
                env=_ENVIRONMENT,
            )
        finally:
            os.close(write_fd)
        stack.callback(_end, worker)
        assert worker.stdin is not None
        with contextlib.suppress(BrokenPipeError), worker.stdin as stdin:
            stdin.write(job.encode())
        return _listen(read_fd, until_s, progress)


def _listen(read_fd: int, until_s: float, progress: Callable[[Progress], None]) -> Result:
    while True:
        head = _read(read_fd, PROGRESS_BYTES, until_s)
        record = decode(head + _read(read_fd, record_size(head) - len(head), until_s))
        if isinstance(record, Result):
            return record
        progress(record)


def _read(read_fd: int, count: int, until_s: float) -> bytes:
    content = b""
    while len(content) < count:
        ready, _, _ = select.select([read_fd], [], [], max(0.0, until_s - time.monotonic()))
        if not ready:
            raise CaptureFault("the capture took too long and was ended", "try again")
        piece = os.read(read_fd, count - len(content))
        if not piece:
            raise CaptureFault(
                "the capture process ended without a result", "try again; nothing was kept"
            )
        content += piece
    return content


def _end(worker: subprocess.Popen[bytes]) -> None:
    """Leave no process behind, whatever happened."""
    try:
        worker.wait(0 if worker.poll() is not None else 0.5)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait(_ENDING_S)


def _failure(
    result: Result, sources: Sequence[str], *, live: bool
) -> EnrolmentRefused | DeviceFault | ConfigError:
    which = "the camera" if live else Path(sources[min(result.source, len(sources) - 1)]).name
    why = advice_words(result.advice, "en")
    match result.outcome:
        case Outcome.NO_FACE:
            where = "in front of the camera" if live else "in any photograph"
            return EnrolmentRefused(f"no usable face {where}", why or "try again")
        case Outcome.TWO_FACES:
            return EnrolmentRefused(f"more than one face in {which}", "use pictures of one person")
        case Outcome.DIFFERENT_PEOPLE:
            if live:
                return EnrolmentRefused("another person came into view", "start again alone")
            return EnrolmentRefused(
                f"{which} does not show the same person as the photographs before it",
                "leave it out, or use clearer ones",
            )
        case Outcome.NOT_LIVE:
            return EnrolmentRefused(
                "the camera sees a picture of a face, not a person", "look at the camera yourself"
            )
        case Outcome.UNREADABLE:
            return EnrolmentRefused(f"{which} is not a readable image", "give a JPEG or PNG file")
        case Outcome.SOURCE_FAULT:
            device, _, what = result.detail.partition(": ")
            return DeviceFault(device, what or "cannot be used")
        case _:
            return ConfigError(result.detail or "the models cannot be used")


_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    # onnxruntime 1.29 and later report usage over the network unless told not to.
    "ORT_DISABLE_TELEMETRY": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OPENCV_LOG_LEVEL": "ERROR",
}
