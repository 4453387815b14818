"""The verifier process: `python -I -B -m gate.verifier.worker PACK DIR PARENT JOB KEY RESULT`.

One life: load, harden, wait; one job, one camera; lock; one key; look; one verdict of 16 bytes;
gone. The numbered steps in `main` are the whole of it.

The key is read behind the lock, because opening a network camera already parses what the camera
sends. Until then it lies in the pipe, out of this memory but within reach of code that took the
process over: a network camera must be one you trust. With every other camera there is no network
from the job on, so such code could say nothing but 16-byte records.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import sys
import termios
import time
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

import cv2

from firmware_bridge.camera import open_camera
from firmware_bridge.camera_source import Means, means
from firmware_bridge.errors import DeviceFault
from firmware_bridge.ports import Camera
from gate import sandbox
from gate.errors import ConfigError, ProtocolViolation, TemplateRejected
from gate.template.biometric import Template
from gate.template.context import sha256
from gate.template.envelope import Envelope, open_envelope
from gate.template.protection import protect
from gate.template.wrapping import CONTENT_KEY_BYTES
from gate.verifier.job import JOB_MAX, Job
from gate.verifier.locking import OPEN_FILES, camera_devices, narrow, verifier_rules
from gate.verifier.pipeline import Guide, Look, LookRules, Seen
from gate.verifier.rehearsal import rehearse
from gate.verifier.wire import NONCE_BYTES, Answer, Kind, Verdict, encode, standing
from models.compare import score_cos
from models.errors import ModelFault
from models.pack import Pack, load_pack
from models.perceive import perceive
from models.types import Advice, Reference, Sighting

KEY_WAIT_MS = 2000
STALL_MS = 1000
"""A camera that gives no frame for so long is broken."""
_IDLE_S = 0.01


class Exit(IntEnum):
    """How a worker ends. The pool says in words what each means."""

    DONE = 0
    CRASHED = 1
    MODEL_FAULT = 3
    NO_SANDBOX = 4
    EXTRA_THREAD = 5
    BAD_JOB = 6


def main(arguments: list[str]) -> Exit:
    """Live once. Return the exit code."""
    pack_name, pack_dir, *numbers = arguments
    parent_pid, job_fd, key_fd, result_fd = (int(number) for number in numbers)
    sandbox.die_with_parent(parent_pid)
    # 1. Load everything that will ever be loaded.
    try:
        pack = _load(pack_name, Path(pack_dir))
    except ModelFault:
        return Exit.MODEL_FAULT
    # 2. One thread: a second one is a library that does something we did not ask for.
    if len(list(Path("/proc/self/task").iterdir())) != 1:
        return Exit.EXTRA_THREAD
    # 3. Stage 1 of the sandbox, before anything personal can arrive.
    try:
        landlock_abi = sandbox.harden(OPEN_FILES, camera_devices())
    except ConfigError:
        return Exit.NO_SANDBOX
    code = standing(landlock_abi, dumpable=sandbox.is_dumpable())
    os.write(result_fd, encode(Answer(Kind.READY, code, bytes(NONCE_BYTES))))
    # 4. Wait for the one job. It brings the envelope, which is ciphertext until step 7.
    data = _read_all(job_fd, JOB_MAX + 1)
    if data == b"":
        return Exit.DONE
    now_ms = _clock()
    try:
        job = Job.decode(data)
    except ProtocolViolation:
        return Exit.BAD_JOB
    # 5. The camera, if a key waits in the pipe. Neither key nor frame is read yet.
    camera_means = _means(job)
    try:
        narrow(camera_means)
        started = _start(job, key_fd, pack)
        # 6. Stage 2: whatever happens from here on can only compute, read and write 16 bytes.
        sandbox.lock(*verifier_rules(result_fd, camera_means))
    except ConfigError:
        return Exit.NO_SANDBOX

    def answer(kind: Kind, code: int) -> None:
        os.write(result_fd, encode(Answer(kind, code, job.nonce)))

    # 7. The content key, straight from the key agent: decrypt, look, and answer once.
    verdict = (
        started
        if isinstance(started, Verdict)
        else _judge(job, key_fd, started, pack, answer, now_ms)
    )
    answer(Kind.VERDICT, verdict)
    # 8. End the pipe at once: the gate believes a verdict only when nothing can follow it. It
    # takes the kernel longer to take the memory back, and the person need not wait for that.
    os.close(result_fd)
    return Exit.DONE


def _load(pack_name: str, pack_dir: Path) -> Pack:
    cv2.setNumThreads(1)
    pack = load_pack(pack_name, pack_dir)
    rehearse(pack)
    return pack


def _means(job: Job) -> Means:
    """Return what the camera needs; the least when there is no such camera."""
    try:
        return means(job.camera)
    except DeviceFault:
        return Means.MEMORY


def _start(job: Job, key_fd: int, pack: Pack) -> Camera | Verdict:
    """Return the opened camera, or why there will be no look."""
    if not _key_waits(key_fd):
        return Verdict.NO_KEY
    if job.context.model_id != pack.model_id or job.context.aux_hash != sha256(job.template_aux):
        return Verdict.TEMPLATE_REJECTED
    try:
        return open_camera(job.camera)
    except DeviceFault:
        return Verdict.CAMERA_FAULT


def _judge(
    job: Job,
    key_fd: int,
    camera: Camera,
    pack: Pack,
    answer: Callable[[Kind, int], None],
    now_ms: Callable[[], float],
) -> Verdict:
    try:
        reference = _open_reference(job, _read_key(key_fd), pack)
        answer(Kind.CAMERA_ON, 0)
        return _look(job, reference, camera, pack, answer, now_ms)
    except TemplateRejected:
        return Verdict.TEMPLATE_REJECTED
    except DeviceFault:
        return Verdict.CAMERA_FAULT
    except Exception:
        # ModelFault, or a defect. Whatever it holds must not leave this process.
        return Verdict.MODEL_FAULT


def _open_reference(job: Job, content_key: bytes, pack: Pack) -> Reference:
    plaintext = open_envelope(Envelope.decode(job.envelope), content_key, job.context)
    template = Template.decode(plaintext)
    if template.model_id != pack.model_id or template.values.size != pack.dim:
        raise TemplateRejected("template belongs to another model")
    return template.reference()


def _look(
    job: Job,
    reference: Reference,
    camera: Camera,
    pack: Pack,
    answer: Callable[[Kind, int], None],
    now_ms: Callable[[], float],
) -> Verdict:
    rules = LookRules(pack.match_min_cos, pack.live_min, job.agreeing)
    look, guide = Look(rules, job.deadline_ms), Guide()
    last_frame_ms = now_ms()
    while True:
        frame = camera.read()
        if frame is None:
            if now_ms() - last_frame_ms > STALL_MS:
                return Verdict.CAMERA_FAULT
            if now_ms() > job.deadline_ms:
                return look.end()
            time.sleep(_IDLE_S)
            continue
        last_frame_ms = now_ms()
        found = perceive(frame, pack, job.zone)
        if isinstance(found, Sighting):
            live = protect(found.embedding, job.template_aux)
            verdict = look.see(now_ms(), Seen(score_cos(live, reference), found.live_score))
            advice = guide.say(now_ms(), Advice.NONE)
        else:
            verdict = look.see(now_ms(), found)
            advice = guide.say(now_ms(), found)
        if verdict is not None:
            return verdict
        if advice is not None:
            answer(Kind.GUIDANCE, advice)


def _clock() -> Callable[[], float]:
    """Return a clock of milliseconds since now."""
    start_s = time.monotonic()
    return lambda: (time.monotonic() - start_s) * 1000


def _read_all(fd: int, limit: int) -> bytes:
    data = b""
    while len(data) < limit:
        chunk = os.read(fd, limit - len(data))
        if chunk == b"":
            break
        data += chunk
    os.close(fd)
    return data


def _key_waits(fd: int) -> bool:
    """Whether a whole key lies in the pipe and nobody can add to it. Reads nothing."""
    ended = select.poll()
    # No event asked for: only the hang-up counts, when key agent and gate have closed their ends.
    ended.register(fd, 0)
    if not ended.poll(KEY_WAIT_MS):
        return False
    waiting = fcntl.ioctl(fd, termios.FIONREAD, bytes(4))
    return int.from_bytes(waiting, sys.byteorder) == CONTENT_KEY_BYTES


def _read_key(fd: int) -> bytes:
    """Return the key that waits. Never blocks: the pipe has no writer any more."""
    content_key = os.read(fd, CONTENT_KEY_BYTES)
    os.close(fd)
    return content_key


if __name__ == "__main__":
    exit_code = Exit.CRASHED
    # Nothing about a crash is printed: a traceback could hold data. The pool sees the code.
    with contextlib.suppress(BaseException):
        exit_code = main(sys.argv[1:])
    os._exit(exit_code)
