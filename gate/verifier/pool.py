"""Spare verifiers: always one that is loaded, sandboxed and waiting."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

from gate import sandbox
from gate.errors import NoVerifier, VerifierFault, VerifierNotIsolated
from gate.verifier.run import VerifierRun

LOAD_S = 60.0
"""How long a slow machine may take to load a pack."""
SWEEP_S = 0.5
_BACK_OFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_POLL_MS = 100
_ENVIRONMENT = {
    "LANG": "C.UTF-8",
    # Newer ONNX Runtime reports usage over the network unless told not to.
    "ORT_DISABLE_TELEMETRY": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Seconds that OpenCV waits for a frame; its own default of 10 outlasts any passage.
    "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": "2",
}
# gate.verifier.worker.Exit, in words. Not imported: the worker's imports are not for the gate.
_LOAD_FAULTS = {
    3: ("the verifier could not load its model pack", "run: gate models verify"),
    4: ("the verifier could not lock itself in", "run: apt install libseccomp2"),
    5: ("a library started a thread in the verifier", "reinstall with the locked dependencies"),
}
_NOT_ISOLATED = (4, 5)
_LASTING = tuple(what for what, _ in _LOAD_FAULTS.values())


class VerifierPool:
    """Keeps `spares` verifiers ready and hands out each once.

    Args:
        pack: name of the model pack.
        pack_dir: its folder, see models.fetch.
        spares: how many wait at a time. Two absorb two arrivals without a gap.
        load_s: longest time for one to become ready.
    """

    def __init__(
        self, pack: str, pack_dir: Path, spares: int = 2, *, load_s: float = LOAD_S
    ) -> None:
        self._pack = pack
        self._pack_dir = pack_dir.absolute()
        self._target = spares
        self._load_s = load_s
        self._changed = threading.Condition()
        self._spares: deque[VerifierRun] = deque()
        self._fault: VerifierFault | None = None
        self._hopeless = False
        """The last one failed for a reason that waiting does not mend."""
        self._closing = False
        # The kernel ties a worker's life to the THREAD that started it, so one thread starts all.
        self._thread = threading.Thread(target=self._refill, name="verifier-pool", daemon=True)

    def start(self) -> None:
        """Begin to fill.

        Raises:
            ConfigError: this host cannot sandbox a verifier.
        """
        sandbox.check_available()
        self._thread.start()

    def ready(self) -> bool:
        """Whether a living spare waits right now."""
        with self._changed:
            return any(spare.is_idle() for spare in self._spares)

    def wait_ready(self, timeout_s: float) -> None:
        """Return once a living spare waits.

        Raises:
            VerifierFault: none in time; says why the last one failed, if one did.
        """
        self._first_alive(timeout_s, take=False)

    def take(self, timeout_s: float) -> VerifierRun:
        """Return a spare. The caller must `finish` it.

        Raises:
            VerifierFault: none in time; says why the last one failed, if one did.
        """
        return self._first_alive(timeout_s, take=True)

    def _first_alive(self, timeout_s: float, *, take: bool) -> VerifierRun:
        """Return the first spare that lives, and throw away those in front of it."""
        end_s = time.monotonic() + timeout_s
        with self._changed:
            while True:
                left_s = max(0.0, end_s - time.monotonic())
                self._changed.wait_for(self._any_or_hopeless, left_s)
                if not self._spares or self._closing:
                    raise self._why_none()
                spare = self._spares[0]
                alive = spare.is_idle()
                if take or not alive:
                    self._spares.popleft()
                    self._changed.notify_all()
                if alive:
                    return spare
                spare.kill()
                spare.finish()

    def close(self) -> None:
        """End all spares, and every verifier still out: they end with the thread that made them.

        Idempotent.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def _any_or_hopeless(self) -> bool:
        return self._closing or self._hopeless or bool(self._spares)

    def _why_none(self) -> VerifierFault:
        if self._closing:
            return NoVerifier("the verifier pool is closed")
        if self._fault is not None:
            return type(self._fault)(self._fault.what, self._fault.advice)
        return NoVerifier("no verifier was ready in time", "give the gate more CPU or spares")

    def _refill(self) -> None:
        failures = 0
        while True:
            with self._changed:
                self._changed.wait_for(self._short_or_closing, SWEEP_S)
                if self._closing:
                    break
                dead = [spare for spare in self._spares if not spare.is_idle()]
                for spare in dead:
                    self._spares.remove(spare)
                short = len(self._spares) < self._target
            for spare in dead:
                spare.kill()
                spare.finish()
            if not short:
                continue
            try:
                fresh = self._spawn()
            except VerifierFault as fault:
                self._back_off(fault, failures)
                failures += 1
                continue
            failures = 0
            with self._changed:
                self._fault, self._hopeless = None, False
                self._spares.append(fresh)
                self._changed.notify_all()
        for spare in self._spares:
            spare.kill()
            spare.finish()
        self._spares.clear()

    def _short_or_closing(self) -> bool:
        return self._closing or len(self._spares) < self._target

    def _back_off(self, fault: VerifierFault, failures: int) -> None:
        pause_s = _BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)]
        with self._changed:
            self._fault = fault
            self._hopeless = fault.what.startswith(_LASTING)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closing, pause_s)

    def _spawn(self) -> VerifierRun:
        """Start one verifier and wait until it is ready.

        Raises:
            VerifierFault: it did not start, or did not become ready in time.
        """
        try:
            run = start_worker(self._pack, self._pack_dir)
        except OSError as error:
            raise NoVerifier(f"no verifier can be started ({error.strerror})") from None
        end_s = time.monotonic() + self._load_s
        try:
            while not run.wait_ready(_POLL_MS):
                if self._closing or time.monotonic() > end_s:
                    raise NoVerifier(
                        "a verifier did not become ready in time", "give the gate more CPU"
                    )
        except VerifierFault as fault:
            code = run.finish().exit_code
            what, advice = _LOAD_FAULTS.get(code, (fault.what, fault.advice))
            kind = VerifierNotIsolated if code in _NOT_ISOLATED else NoVerifier
            raise kind(f"{what} (exit {code})", advice) from None
        return run


def start_worker(pack: str, pack_dir: Path) -> VerifierRun:
    """Start one verifier process, without waiting for it.

    Raises:
        OSError: no process or no descriptor left.
    """
    fds: list[int] = []
    try:
        for _ in range(3):
            fds += os.pipe()
        job_in, job_out, key_in, key_out, result_in, result_out = fds
        theirs = (job_in, key_in, result_out)
        command = [sys.executable, "-I", "-B", "-m", "gate.verifier.worker", pack, str(pack_dir)]
        process = subprocess.Popen(  # noqa: S603 - our own module, fixed arguments
            [*command, str(os.getpid()), *(str(fd) for fd in theirs)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            pass_fds=theirs,
            process_group=0,  # Ctrl-C at the terminal is for the gate to hear
        )
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
    # Only the child's copies are left, so end of file here means end of life there.
    for fd in theirs:
        os.close(fd)
    return VerifierRun(process, job_out, key_out, result_in)
