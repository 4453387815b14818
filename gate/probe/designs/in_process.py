"""Careless designs 1 and 2: the gate process itself looks at faces, in a thread."""

from __future__ import annotations

import contextlib
import os
import queue
import threading

from gate.errors import VerifierFault
from gate.probe.designs.careless import CERTIFICATE, key_pipe
from gate.probe.designs.looking import look
from gate.settings import Settings
from gate.verifier.certificate import DeathCertificate
from gate.verifier.job import Job
from gate.verifier.wire import Answer, Kind, Verdict
from models.pack import Pack, load_pack


class InProcess:
    """Verifiers that are no processes. A gate.passage.ports.VerifierSource.

    Args:
        settings: of the canary gate.
        zeroing: overwrite every array that has a name.
    """

    def __init__(self, settings: Settings, *, zeroing: bool) -> None:
        self._settings = settings
        self._zeroing = zeroing
        self._pack: Pack | None = None

    def start(self) -> None:
        """Load the models into the gate."""
        self._pack = load_pack(self._settings.models.pack, self._settings.models.dir)

    def ready(self) -> bool:
        """Whether the models are loaded."""
        return self._pack is not None

    def wait_ready(self, timeout_s: float) -> None:
        """Return at once: `start` has loaded everything."""
        del timeout_s
        if self._pack is None:
            raise VerifierFault("the models are not loaded")

    def take(self, timeout_s: float) -> InProcessLook:
        """Return a look."""
        self.wait_ready(timeout_s)
        assert self._pack is not None
        return InProcessLook(self._pack, zeroing=self._zeroing)

    def close(self) -> None:
        """Leave everything where it is."""


class InProcessLook:
    """One look in a thread of the gate. A gate.passage.ports.Look."""

    def __init__(self, pack: Pack, *, zeroing: bool) -> None:
        self._pack = pack
        self._zeroing = zeroing
        self._read_fd, self._write_fd = key_pipe()
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def key_fd(self) -> int:
        """See the port."""
        return self._write_fd

    def close_key_fd(self) -> None:
        """See the port."""
        if self._write_fd >= 0:
            os.close(self._write_fd)
            self._write_fd = -1

    def begin(self, job: Job) -> None:
        """Look in a thread."""
        self._thread = threading.Thread(target=self._look, args=(job,), daemon=True)
        self._thread.start()

    def _look(self, job: Job) -> None:
        verdict = Verdict.MODEL_FAULT
        with contextlib.suppress(Exception):  # whatever broke, the passage gets an answer
            verdict = look(
                job,
                self._read_fd,
                self._pack,
                camera_on=lambda: self._answers.put(Answer(Kind.CAMERA_ON, 0, job.nonce)),
                stopped=self._stopped.is_set,
                zeroing=self._zeroing,
            )
        self._answers.put(Answer(Kind.VERDICT, verdict, job.nonce))

    def next_answer(self, timeout_ms: int) -> Answer | None:
        """See the port."""
        try:
            return self._answers.get(timeout=timeout_ms / 1000)
        except queue.Empty:
            return None

    def kill(self) -> None:
        """Ask the thread to end; nobody can make it."""
        self._stopped.set()

    def finish(self) -> DeathCertificate:
        """Wait for the thread. Nothing of it dies."""
        self.close_key_fd()
        if self._thread is None:
            os.close(self._read_fd)
        else:
            self._thread.join(timeout=10.0)
        return CERTIFICATE
