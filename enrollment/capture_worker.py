"""The single-use process that sees photographs. Started by enrollment.capture, never imported.

It reads one job, gives up what it does not need, loads the models, opens every source, locks
itself, and only then decodes pictures. What leaves is progress of 16 bytes a frame and one sealed
result; frames, embeddings and the template end with the process.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec

from enrollment.capture_wire import (
    JOB_MAX_BYTES,
    PROGRESS_BYTES,
    RESULT_BYTES,
    Job,
    Outcome,
    Progress,
    Result,
)
from enrollment.gathering import Gathering, Step
from enrollment.photographs import PHOTO_MAX_BYTES
from firmware_bridge.camera import decode_image, open_camera, read_image_file
from firmware_bridge.camera_source import Means, means
from firmware_bridge.errors import DeviceFault
from gate import sandbox
from gate.errors import ConfigError
from gate.template.biometric import make_template
from gate.template.context import SealContext
from gate.template.seal import seal
from gate.verifier.locking import OPEN_FILES, camera_devices, camera_rules, narrow
from gate.verifier.rehearsal import rehearse
from models.compare import score_cos
from models.errors import ModelFault
from models.pack import Pack, load_pack
from models.perceive import perceive
from models.types import Advice, Bgr8, Embedding, Zone

AUX_BYTES = 32
STALLED_READS_MAX = 50

Frames = Iterator[tuple[int, Bgr8]]
"""Which source a frame came from, and the frame."""


class _Ended(Exception):
    """The capture is over with this result."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.outcome.name)
        self.result = result


def main() -> None:
    """Serve one job: argv is the result pipe's descriptor and the parent's process id."""
    result_fd, parent_pid = int(sys.argv[1]), int(sys.argv[2])
    sandbox.die_with_parent(parent_pid)
    job = Job.decode(sys.stdin.buffer.read(JOB_MAX_BYTES + 1))
    os.close(0)

    def say(progress: Progress) -> None:
        os.write(result_fd, progress.encode())

    try:
        result = _serve(job, result_fd, say)
    except _Ended as ended:
        result = ended.result
    except DeviceFault as fault:
        result = Result(Outcome.SOURCE_FAULT, detail=fault.diagnostics())
    except (ModelFault, ConfigError) as fault:
        result = Result(Outcome.MODEL_FAULT, detail=fault.diagnostics())
    except Exception as error:  # noqa: BLE001, RUF100 - no traceback may quote a picture's values
        result = Result(Outcome.MODEL_FAULT, detail=f"capture failed ({type(error).__name__})")
    os.write(result_fd, result.encode())
    os._exit(0)


def _serve(job: Job, result_fd: int, say: Callable[[Progress], None]) -> Result:
    camera = means(job.sources[0]) if job.live else Means.MEMORY
    sandbox.harden(OPEN_FILES, camera_devices() if camera is Means.DEVICE else ())
    if camera is not Means.NETWORK:
        narrow(camera)
    photographs = None if job.live else _photographs(job)
    pack = load_pack(job.pack, Path(job.pack_folder))
    _warm_up(job, pack)
    if camera is Means.NETWORK:  # only now: it takes reading files, those of the models too
        narrow(camera)
    # A camera opens last, so that its lamp is on only while somebody is asked to look.
    frames = photographs or _camera(job)
    rules, open_files = camera_rules(camera)
    sandbox.lock(
        (
            *sandbox.COMPUTE,
            *rules,
            *sandbox.write_only(result_fd, PROGRESS_BYTES),
            *sandbox.write_only(result_fd, RESULT_BYTES),
        ),
        open_files,
    )
    gathering = _gather(job, pack, frames, say)
    return _seal(job, pack, gathering.mean(), gathering.qualities)


def _photographs(job: Job) -> Frames:
    """Read every file now; decode each one only when its turn comes, behind the lock."""
    contents = []
    for number, source in enumerate(job.sources):
        try:
            content = read_image_file(Path(source), PHOTO_MAX_BYTES)
        except OSError:
            raise _Ended(Result(Outcome.UNREADABLE, number)) from None
        contents.append(np.frombuffer(content, np.uint8))
    return _decoded(contents)


def _decoded(contents: list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]) -> Frames:
    for number, content in enumerate(contents):
        try:
            yield number, decode_image(content, "photograph")
        except DeviceFault:
            raise _Ended(Result(Outcome.UNREADABLE, number)) from None


def _camera(job: Job) -> Frames:
    camera = open_camera(job.sources[0])
    # The first frame makes the driver start streaming; that needs more than the lock allows.
    first = camera.read()
    until = time.monotonic() + job.deadline_ms / 1000

    def frames() -> Frames:
        frame, stalled = first, 0
        while time.monotonic() < until and stalled < STALLED_READS_MAX:
            if frame is not None:
                yield 0, frame
            stalled = 0 if frame is not None else stalled + 1
            frame = camera.read()

    return frames()


def _gather(job: Job, pack: Pack, frames: Frames, say: Callable[[Progress], None]) -> Gathering:
    gathering = Gathering(
        job.wanted,
        pack.match_min_cos,
        pack.live_min if job.live else None,
        score_cos,
        live=job.live,
    )
    started = time.monotonic()
    last_advice, last_step = Advice.NO_FACE, Step.SKIPPED
    for number, frame in frames:
        seen = perceive(frame, pack, Zone(*job.zone))
        last_advice = seen if isinstance(seen, Advice) else Advice.NONE
        last_step = gathering.take(seen, int((time.monotonic() - started) * 1000))
        if last_step is not Step.TOO_SOON:
            say(Progress(last_step, last_advice, number, len(gathering.qualities)))
        if last_step is Step.TWO_FACES and not job.live:
            raise _Ended(Result(Outcome.TWO_FACES, number))
        if gathering.somebody_else:
            raise _Ended(Result(Outcome.DIFFERENT_PEOPLE, number))
        if gathering.complete:
            return gathering
    if gathering.qualities and not job.live:
        return gathering
    outcome = Outcome.NOT_LIVE if last_step is Step.NOT_LIVE else Outcome.NO_FACE
    raise _Ended(Result(outcome, advice=last_advice))


def _seal(job: Job, pack: Pack, mean: Embedding, qualities: list[float]) -> Result:
    aux = os.urandom(AUX_BYTES)
    template = make_template(
        mean,
        aux,
        model_id=pack.model_id,
        pack_version=pack.name,
        frames=len(qualities),
        quality=sum(qualities) / len(qualities),
        created=job.created,
    )
    context = SealContext.for_template(
        job.credential_id, pack.model_id, job.consent_record, aux, job.expiry
    )
    public_key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), job.site_public_key)
    sealed = seal(template.encode(), context, public_key)
    return Result(Outcome.DONE, sealed=sealed, aux=aux, qualities=tuple(qualities))


def _warm_up(job: Job, pack: Pack) -> None:
    """Do everything once with nobody's data, so that nothing is left to load behind the lock.

    OpenCV looks for its threading plugin when it first works on a large picture, so small ones
    do not do.
    """
    cv2.setNumThreads(1)
    picture = np.random.default_rng(0).integers(0, 256, (1200, 1600, 3), np.uint8)
    for suffix in (".jpg", ".png", ".bmp", ".webp"):
        encoded = np.asarray(cv2.imencode(suffix, picture[:32, :32])[1], np.uint8)
        decode_image(encoded, "warm-up")
    perceive(picture, pack, Zone())
    rehearse(pack)
    nobody = np.full(pack.dim, 1 / pack.dim**0.5, np.float32)
    _seal(job, pack, Embedding(nobody), [1.0])


if __name__ == "__main__":
    main()
