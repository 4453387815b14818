"""The canary gate seen from the probe: start it, watch its kiosk, type PINs, stop it."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from gate.probe.designs import Design
from gate.probe.faults import ProbeFault

START_S: Final = 90.0
STOP_S: Final = 20.0


@dataclass(frozen=True)
class Kiosk:
    """What a person at the gate sees."""

    screen: str = ""
    camera_on: bool = False
    pin_token: str | None = None
    online: bool = False


class RemoteGate:
    """One running canary gate. Use it as a context manager, or `close` it.

    Raises:
        ProbeFault: it did not start; says why.
    """

    def __init__(self, config: Path, design: Design, camera: str, look_ms: int, cwd: Path) -> None:
        module = "gate.probe.gate_process"
        command = [sys.executable, "-I", "-m", module, str(config), design.value, camera]
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [*command, str(look_ms)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            process_group=0,  # Ctrl-C at the terminal is for the probe to hear
        )
        self._changed = threading.Condition()
        self._kiosk = Kiosk()
        self._pages = ""
        self._spares = 0
        self._passages: list[dict[str, Any]] = []
        self._last_words = ""
        self.pids: dict[str, int] = {}
        """The gate's own long-lived processes, by name."""
        self._ended = False
        self._listeners = [
            threading.Thread(target=self._listen, daemon=True),
            threading.Thread(target=self._keep_errors, daemon=True),
        ]
        for listener in self._listeners:
            listener.start()
        try:
            self.wait(lambda: bool(self._pages), START_S, "the canary gate did not start")
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Process id of the gate process."""
        return self._process.pid

    @property
    def kiosk(self) -> Kiosk:
        """What the kiosk shows now."""
        with self._changed:
            return self._kiosk

    def wait(self, until: Callable[[], bool], timeout_s: float, otherwise: str) -> None:
        """Return once `until` holds; asked again after each line of the gate.

        Raises:
            ProbeFault: not in time, or the gate ended.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ended or until(), timeout_s)
            if not until():
                raise ProbeFault(otherwise, self._last_words)

    def wait_spare(self) -> None:
        """Return once the gate has a verifier ready.

        Raises:
            ProbeFault: it has none.
        """
        with self._changed:
            before = self._spares
        try:
            assert self._process.stdin is not None
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ProbeFault("the canary gate ended", self._last_words) from None
        self.wait(lambda: self._spares > before, START_S, "the canary gate has no verifier")

    def passages(self) -> list[dict[str, Any]]:
        """Return how the passages so far ended."""
        with self._changed:
            return list(self._passages)

    def enter_pin(self, token: str, pin: str) -> None:
        """Type a PIN at the kiosk page, as its script does."""
        self._post("/kiosk/pin", json.dumps({"token": token, "pin": pin}))

    def leave(self) -> None:
        """Walk away from the kiosk."""
        self._post("/kiosk/leave", "")

    def _post(self, path: str, body: str) -> None:
        netloc = urlsplit(self._pages).netloc
        connection = http.client.HTTPConnection(netloc, timeout=5)
        try:
            connection.request("POST", path, body, {"Origin": self._pages})
            connection.getresponse().read()
        except OSError:
            pass  # the passage then ends without it, and its outcome says so
        finally:
            connection.close()

    def close(self) -> None:
        """Stop the gate; end it when it does not. Idempotent."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for listener in self._listeners:
            listener.join(timeout=5.0)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def __enter__(self) -> RemoteGate:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                continue
            with self._changed:
                self._take(said)
                self._changed.notify_all()
        self._listeners[1].join()  # its last words come another way
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _take(self, said: dict[str, Any]) -> None:
        match said:
            case {"kiosk": kiosk}:
                self._kiosk = Kiosk(**kiosk)
            case {"passage": passage}:
                self._passages.append(passage)
            case {"ready": ready}:
                self._pages, self.pids = ready["pages"], ready["pids"]
            case {"spare": True}:
                self._spares += 1

    def _keep_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._last_words = line.strip()[:300]
