"""A look as careless designs do it: the product's steps without the product's walls.

The same models, the same rules and the same comparison as gate.verifier.worker; what is missing is
the process that ends, the sandbox and the lock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.camera import open_camera
from firmware_bridge.errors import DeviceFault
from gate.errors import TemplateRejected
from gate.template.biometric import Template
from gate.template.context import sha256
from gate.template.envelope import Envelope, open_envelope
from gate.template.protection import protect
from gate.template.wrapping import CONTENT_KEY_BYTES
from gate.verifier.job import Job
from gate.verifier.pipeline import Look, LookRules, Seen
from gate.verifier.wire import Verdict
from models.compare import score_cos
from models.pack import Pack
from models.perceive import perceive
from models.types import Advice, Bgr8, Reference, Sighting

_IDLE_S = 0.01


@dataclass(repr=False)
class Named:
    """Arrays that a careful programmer can name, to be overwritten at the end."""

    arrays: list[NDArray[np.generic]] = field(default_factory=list)

    def keep(self, array: NDArray[np.generic]) -> None:
        """Remember an array."""
        self.arrays.append(array)

    def zero(self) -> None:
        """Overwrite what can be overwritten. Bytes objects and libraries' buffers cannot."""
        for array in self.arrays:
            if array.flags.writeable:
                array.view(np.uint8).fill(0)
        self.arrays.clear()


def look(
    job: Job,
    key_fd: int,
    pack: Pack,
    *,
    camera_on: Callable[[], None],
    stopped: Callable[[], bool],
    zeroing: bool,
) -> Verdict:
    """Decrypt the template, look until there is a verdict, and return it.

    Args:
        job: what to do.
        key_fd: where the key agent writes the content key; closed here.
        pack: the models.
        camera_on: called when looking begins.
        stopped: whether the passage has ended meanwhile.
        zeroing: overwrite every array that has a name here.
    """
    named = Named()
    try:
        content_key = os.read(key_fd, CONTENT_KEY_BYTES)
        if len(content_key) != CONTENT_KEY_BYTES:
            return Verdict.NO_KEY
        if job.context.model_id != pack.model_id or job.context.aux_hash != sha256(
            job.template_aux
        ):
            return Verdict.TEMPLATE_REJECTED
        template = Template.decode(
            open_envelope(Envelope.decode(job.envelope), content_key, job.context)
        )
        reference = template.reference()
        named.keep(template.values)
        named.keep(reference.values)
        return _watch(job, reference, pack, camera_on, stopped, named, zeroing=zeroing)
    except TemplateRejected:
        return Verdict.TEMPLATE_REJECTED
    except DeviceFault:
        return Verdict.CAMERA_FAULT
    finally:
        os.close(key_fd)
        if zeroing:
            named.zero()


def _watch(
    job: Job,
    reference: Reference,
    pack: Pack,
    camera_on: Callable[[], None],
    stopped: Callable[[], bool],
    named: Named,
    *,
    zeroing: bool,
) -> Verdict:
    camera = open_camera(job.camera)
    began_s = time.monotonic()

    def now_ms() -> float:
        return (time.monotonic() - began_s) * 1000

    camera_on()
    rules = LookRules(pack.match_min_cos, pack.live_min, job.agreeing)
    looking = Look(rules, job.deadline_ms)
    try:
        while not stopped():
            frame = camera.read()
            if frame is None:
                if now_ms() > job.deadline_ms:
                    return looking.end()
                time.sleep(_IDLE_S)
                continue
            named.keep(frame)
            verdict = looking.see(now_ms(), _seen(frame, job, reference, pack, named))
            if zeroing:
                # The reference is needed until the end.
                later, named.arrays = named.arrays[:2], named.arrays[2:]
                named.zero()
                named.arrays = later
            if verdict is not None:
                return verdict
        return looking.end()
    finally:
        camera.close()


def _seen(frame: Bgr8, job: Job, reference: Reference, pack: Pack, named: Named) -> Advice | Seen:
    found = perceive(frame, pack, job.zone)
    if not isinstance(found, Sighting):
        return found
    live = protect(found.embedding, job.template_aux)
    named.keep(found.embedding.values)
    named.keep(live.values)
    return Seen(score_cos(live, reference), found.live_score)
