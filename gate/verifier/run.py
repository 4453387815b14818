"""One verifier seen from the gate: hand over, listen, and write its death certificate."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import threading
import time
from pathlib import Path

from gate.errors import ProtocolViolation, VerifierContractBroken, VerifierFault
from gate.verifier.certificate import DeathCertificate
from gate.verifier.job import Job
from gate.verifier.locking import FILTERS
from gate.verifier.pipeline import GUIDANCE_MAX
from gate.verifier.wire import NONCE_BYTES, RECORD_BYTES, Answer, Kind, Verdict, decode
from gate.verifier.wire import read_standing as _read_standing
from models.types import Advice

GRACE_MS = 500
"""How long a verifier may take from its verdict to its end."""
_DRAIN_MAX = 1 << 16
_DEATH_POLL_S = 0.001
_PAGES_UNKNOWN = 65_535


class VerifierRun:
    """One verifier process, for one passage. One thread at a time, except `kill`.

    Args:
        process: the verifier.
        job_fd: write end of its job pipe.
        key_fd: write end of its key pipe.
        result_fd: read end of its answers.
        locked: it may look only while the kernel says that it is locked in.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        job_fd: int,
        key_fd: int,
        result_fd: int,
        *,
        locked: bool = True,
    ) -> None:
        self._process = process
        self._must_be_locked = locked
        self._job_fd: int | None = job_fd
        self._key_fd: int | None = key_fd
        self._result_fd = result_fd
        self._poll = select.poll()
        self._poll.register(result_fd, select.POLLIN)
        self._reaping = threading.Lock()
        self._nonce = bytes(NONCE_BYTES)
        self._buffer = b""
        self._bytes_in = 0
        self._bytes_out = 0
        self._guidance = 0
        self._threads = 0
        self._camera_on = False
        self._landlock_abi = 0
        self._dumpable = True
        self._began_s: float | None = None
        self._certificate: DeathCertificate | None = None
        self.ended = False
        """Whether the answer pipe has ended: nothing more can come."""

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def key_fd(self) -> int:
        """Write end of the key pipe, for the key agent.

        Raises:
            VerifierFault: already closed.
        """
        if self._key_fd is None:
            raise VerifierFault("the verifier's key pipe is already closed")
        return self._key_fd

    def close_key_fd(self) -> None:
        """Close this process's copy of the key pipe. Idempotent."""
        fd, self._key_fd = self._key_fd, None
        if fd is not None:
            os.close(fd)

    def begin(self, job: Job) -> None:
        """Hand over the one job.

        Raises:
            VerifierFault: a second job, or the verifier is gone.
            ConfigError: camera, zone or times out of range.
            TemplateRejected: the card's template data has the wrong form.
        """
        data = job.encode()
        if self._job_fd is None:
            raise VerifierFault("a verifier takes one job")
        self._nonce = job.nonce
        self._began_s = time.monotonic()
        try:
            # Under the size of a pipe's buffer, so this never waits.
            self._bytes_in += os.write(self._job_fd, data)
        except OSError:
            raise VerifierFault("the verifier died before its job") from None
        finally:
            self._close_job_fd()

    def next_answer(self, timeout_ms: int) -> Answer | None:
        """Return the next record, or None when none came within `timeout_ms`.

        A verdict is returned only once its pipe has ended: nothing can follow it any more.

        Raises:
            VerifierContractBroken: it said more than it may, or no record; it is killed then.
            VerifierFault: it ended without a verdict, or lingered after it; it is killed then.
        """
        try:
            record = self._next_record(timeout_ms)
            if record is None:
                return None
            answer = decode(record, self._nonce)
            self._check(answer)
            if answer.kind is Kind.VERDICT:
                self._check_last()
        except ProtocolViolation as broken:
            self.kill()
            raise VerifierContractBroken(broken.what) from None
        except VerifierFault:
            self.kill()
            raise
        return answer

    def wait_ready(self, timeout_ms: int) -> bool:
        """Whether READY came in time. For the pool only, before any job.

        Raises:
            VerifierFault: it ended or said something else.
        """
        answer = self.next_answer(timeout_ms)
        if answer is None:
            return False
        self._landlock_abi, self._dumpable = _read_standing(answer.code)
        return True

    def is_idle(self) -> bool:
        """Whether it lives and has said nothing since READY."""
        return not self._poll.poll(0)

    def kill(self) -> None:
        """End it now, from any thread. Idempotent."""
        # Not Popen.kill: it reaps the dead, and the certificate still needs what /proc says.
        with self._reaping:
            if self._process.returncode is None:
                os.kill(self.pid, signal.SIGKILL)

    def finish(self) -> DeathCertificate:
        """Wait until the kernel has taken its memory back; kill it when it lingers. Idempotent.

        Never raises: whatever went wrong stands in the certificate.
        """
        if self._certificate is not None:
            return self._certificate
        self.close_key_fd()
        self._close_job_fd()
        # The end of the pipe is not the end of the process: it may close the one and linger.
        if not (self._drain(GRACE_MS) and self._has_died(GRACE_MS)):
            self.kill()
            self._drain(GRACE_MS)
        # Dead, but not yet reaped: the kernel still answers for it.
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        pages_left = _pages(self.pid)
        ended_s = time.monotonic()
        status = _status(self.pid)
        filters = _own_filters(status)
        core, file = (_limit(self.pid, r) for r in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE))
        with self._reaping:
            exit_code = self._process.wait()
        os.close(self._result_fd)
        self._certificate = DeathCertificate(
            exit_code=exit_code,
            lifetime_ms=int((ended_s - (self._began_s or ended_s)) * 1000),
            threads=max(self._threads, status.get("Threads", 0)),
            no_new_privs=status.get("NoNewPrivs") == 1,
            seccomp_mode=status.get("Seccomp", 0) if filters >= FILTERS else 0,
            landlock_abi=self._landlock_abi,
            dumpable=self._dumpable,
            core_limit_bytes=core,
            file_limit_bytes=file,
            bytes_in=self._bytes_in,
            bytes_out=self._bytes_out,
            pages_left=pages_left,
        )
        return self._certificate

    def _has_died(self, timeout_ms: int) -> bool:
        """Wait for the death of the process, without reaping it."""
        end_s = time.monotonic() + timeout_ms / 1000
        while not os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
            if time.monotonic() > end_s:
                return False
            time.sleep(_DEATH_POLL_S)
        return True

    def _close_job_fd(self) -> None:
        fd, self._job_fd = self._job_fd, None
        if fd is not None:
            os.close(fd)

    def _next_record(self, timeout_ms: int) -> bytes | None:
        end_s = time.monotonic() + timeout_ms / 1000
        while len(self._buffer) < RECORD_BYTES:
            if not self._poll.poll(max(0, round((end_s - time.monotonic()) * 1000))):
                return None
            chunk = os.read(self._result_fd, RECORD_BYTES - len(self._buffer))
            if chunk == b"":
                self.ended = True
                if self._buffer:
                    raise VerifierContractBroken("the verifier tore a record")
                raise VerifierFault("the verifier ended without a verdict")
            self._bytes_out += len(chunk)
            self._buffer += chunk
        record, self._buffer = self._buffer, b""
        return record

    def _check(self, answer: Answer) -> None:
        """Refuse a record that does not follow from those before it."""
        begun, ok = self._began_s is not None, False
        match answer.kind:
            case Kind.READY:
                ok = not begun
            case Kind.CAMERA_ON:
                ok = begun and not self._camera_on and answer.code == 0
                self._camera_on = True
                # While it lives and is locked, but before it has seen anybody.
                status = _status(self.pid)
                self._threads = status.get("Threads", 0)
                if self._must_be_locked and status and not _is_locked(status):
                    raise VerifierContractBroken("the verifier looks without its sandbox")
            case Kind.GUIDANCE:
                self._guidance += 1
                ok = self._camera_on and self._guidance <= GUIDANCE_MAX
                ok = ok and answer.code in list(Advice)
            case Kind.VERDICT:
                ok = begun and (self._camera_on or answer.code != Verdict.MATCH)
        if not ok:
            raise VerifierContractBroken("the verifier said more than it may")

    def _check_last(self) -> None:
        """Wait for the end of the pipe behind a verdict."""
        said = self._bytes_out
        if not self._drain(GRACE_MS):
            raise VerifierFault("the verifier lingered after its verdict")
        if self._bytes_out != said:
            raise VerifierContractBroken("the verifier said more than it may")

    def _drain(self, timeout_ms: int) -> bool:
        """Read to end of file, counting. False: it still lives, or pours without end."""
        end_s = time.monotonic() + timeout_ms / 1000
        while not self.ended:
            if not self._poll.poll(max(0, round((end_s - time.monotonic()) * 1000))):
                return False
            chunk = os.read(self._result_fd, _DRAIN_MAX)
            self._bytes_out += len(chunk)
            self.ended = chunk == b""
            if self._bytes_out > _DRAIN_MAX:
                self.kill()
        return True


def _status(pid: int) -> dict[str, int]:
    """Return the numeric lines of /proc/PID/status that a certificate needs."""
    wanted = ("Threads", "NoNewPrivs", "Seccomp", "Seccomp_filters")
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name: int(value) for name, _, value in pairs if name in wanted}


def _own_filters(status: dict[str, int]) -> int:
    """Return how many filters a verifier put on itself; 0 where the kernel does not tell.

    The gate may itself run under filters of its container, which its children inherit.
    """
    return status.get("Seccomp_filters", 0) - _status(os.getpid()).get("Seccomp_filters", 0)


def _is_locked(status: dict[str, int]) -> bool:
    """Whether a verifier is alone and behind its lock, as far as the kernel tells."""
    told = "Seccomp_filters" in status  # since Linux 5.9
    filtered = _own_filters(status) >= FILTERS if told else status.get("Seccomp") == 2
    return filtered and status.get("NoNewPrivs") == 1 and status.get("Threads") == 1


def _pages(pid: int) -> int:
    """Return how many pages of memory a process still has; 0 once the kernel took all back.

    Unknown counts as very many.
    """
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return _PAGES_UNKNOWN


def _limit(pid: int, which: int) -> int:
    """Return a soft limit of another process, -1 when unlimited or unknown."""
    try:
        return resource.prlimit(pid, which)[0]
    except OSError:
        return -1
