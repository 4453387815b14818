"""Careless design 3, the gate's side: one verifier process serves one passage after another."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading

from gate.errors import VerifierFault
from gate.probe.designs.careless import CERTIFICATE, key_pipe
from gate.settings import Settings
from gate.verifier.certificate import DeathCertificate
from gate.verifier.job import Job
from gate.verifier.wire import NONCE_BYTES, RECORD_BYTES, Answer, decode

_START_S = 60.0


class Reused:
    """One verifier process for all passages. A gate.passage.ports.VerifierSource."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None

    def start(self) -> None:
        """Start the process and wait until its models are loaded."""
        if self._link is not None:
            self._link.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        models = self._settings.models
        module = "gate.probe.designs.reused_process"
        command = [sys.executable, "-I", "-m", module, models.pack, str(models.dir)]
        self._process = subprocess.Popen(  # noqa: S603 - our own module, fixed arguments
            [*command, str(theirs.fileno())], pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL
        )
        theirs.close()
        ours.settimeout(_START_S)
        if ours.recv(1) != b"+":
            raise VerifierFault("the reused verifier did not start")
        self._link = ours

    def ready(self) -> bool:
        """Whether the process lives; a dead one is started again."""
        with self._turn:
            if self._process is None or self._process.poll() is not None:
                self.start()
            return True

    def wait_ready(self, timeout_s: float) -> None:
        """Return when the process lives."""
        del timeout_s
        self.ready()

    def take(self, timeout_s: float) -> ReusedLook:
        """Return a look at the one process."""
        self.wait_ready(timeout_s)
        assert self._link is not None
        assert self._process is not None
        return ReusedLook(self._link, self._process)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._link is not None:
            self._link.close()


class ReusedLook:
    """One look of the process that goes on living. A gate.passage.ports.Look."""

    def __init__(self, link: socket.socket, process: subprocess.Popen[bytes]) -> None:
        self._link = link
        self._process = process
        self._read_fd, self._write_fd = key_pipe()
        self._nonce = bytes(NONCE_BYTES)
        self._begun = self._done = False

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
        """Send the job and the key's pipe."""
        self._nonce = job.nonce
        self._begun = True
        try:
            socket.send_fds(self._link, [job.encode()], [self._read_fd])
        except OSError:
            raise VerifierFault("the reused verifier is gone") from None

    def next_answer(self, timeout_ms: int) -> Answer | None:
        """See the port."""
        if not select.select([self._link], [], [], timeout_ms / 1000)[0]:
            return None
        try:
            record = self._link.recv(RECORD_BYTES)
        except OSError:
            record = b""
        if not record:
            raise VerifierFault("the reused verifier died")
        answer = decode(record, self._nonce)
        self._done = answer.kind.name == "VERDICT"
        return answer

    def kill(self) -> None:
        """End the process when it still looks."""
        if self._begun and not self._done:
            self._process.kill()

    def finish(self) -> DeathCertificate:
        """Let go of the look; the process stays."""
        self.close_key_fd()
        os.close(self._read_fd)
        if self._begun and not self._done:
            self._process.kill()
            self._process.wait()
        return CERTIFICATE
