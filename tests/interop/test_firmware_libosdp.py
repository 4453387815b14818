"""Our firmware with libosdp's control panel, an implementation that we did not write.

The panel runs in a process of its own (libosdp_peer.py); the firmware runs in QEMU, and its core
once more as a program of this computer.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firmware_bridge.firmware.emulator import FIRE, EmulatedController
from firmware_bridge.firmware.host_core import build
from firmware_bridge.firmware.key_page import key_page
from firmware_bridge.firmware.slow_line import SlowLine
from firmware_bridge.osdp_key import generate_key

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("GATE_LIBOSDP_PYTHON", ROOT / ".venv-interop/bin/python"))
KEY = generate_key()
PATIENCE_S = 40.0
CLEAR_REPLIES = {0x45, 0x46, 0x41}
"""Their panel asks ID and CAP in clear text before the handshake, as the standard allows."""


def has_libosdp() -> bool:
    try:
        check = [str(PYTHON), "-c", "import osdp"]
        return subprocess.run(check, capture_output=True, timeout=60, check=False).returncode == 0
    except OSError:
        return False


NEEDED = {
    "make": "make",
    "gcc": "gcc",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
}
MISSING = [package for tool, package in NEEDED.items() if shutil.which(tool) is None]
pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(MISSING), reason=f"needs the Debian packages {', '.join(MISSING)}"),
    pytest.mark.skipif(
        not has_libosdp(),
        reason="needs libosdp in a virtual environment of its own: python3 -m venv .venv-interop "
        "&& .venv-interop/bin/pip install libosdp==3.2.9 (or set GATE_LIBOSDP_PYTHON)",
    ),
]


class Child:
    """A program whose lines are read in a thread."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.strip())

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def expect(self, wanted: Callable[[str], bool], patience_s: float = PATIENCE_S) -> str:
        end = time.monotonic() + patience_s
        while True:
            line = self.lines.get(timeout=max(0.01, end - time.monotonic()))
            if wanted(line):
                return line

    def end(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None and not stream.closed:
                with contextlib.suppress(OSError):
                    stream.close()


class Panel(Child):
    """libosdp's control panel."""

    def __init__(self, key: bytes, path: str) -> None:
        script = str(Path(__file__).with_name("libosdp_peer.py"))
        super().__init__(str(PYTHON), script, "panel", key.hex(), path)

    def event(self, event: str, patience_s: float = PATIENCE_S, **facts: object) -> dict:
        def fits(line: str) -> bool:
            got = json.loads(line)
            return got["event"] == event and facts.items() <= got.items()

        return json.loads(self.expect(fits, patience_s))

    def order(self, **order: object) -> None:
        self.tell(json.dumps(order))

    def clear_replies(self) -> set[int]:
        self.end()
        return set(self.event("end")["clear"])


@contextlib.contextmanager
def a_panel(key: bytes, path: str) -> Iterator[Panel]:
    panel = Panel(key, path)
    try:
        panel.event("ready")
        yield panel
    finally:
        panel.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("firmware")
    build("all", folder)
    return build("program", folder)


@pytest.fixture
def device(folder) -> Iterator[EmulatedController]:
    with EmulatedController(folder / "firmware.bin", key_page(KEY)) as controller:
        controller.power_on()
        yield controller


def rises(device: EmulatedController) -> int:
    return sum(edge.active for edge in device.entry_edges)


def test_their_panel_opens_our_firmware(device):
    with a_panel(KEY, device.device_path) as panel:
        panel.event("secure", active=True)
        for number in (1, 2):
            panel.order(open=5)
            assert device.wait_for(lambda n=number: len(device.entry_edges) == 2 * n)
            assert rises(device) == number
            time.sleep(0.5)  # its rest
        assert panel.clear_replies() <= CLEAR_REPLIES


@pytest.mark.parametrize("baud", [9600, 115200])
def test_their_panel_over_a_slow_line_that_trickles(folder, baud):
    with EmulatedController(folder / "firmware.bin", key_page(KEY, baud=baud)) as device:
        device.power_on()
        with SlowLine(device.device_path, baud=baud, piece=4) as line:
            for _ in range(5):  # their panel gives up for long when this computer stands still
                with a_panel(KEY, line.device_path) as panel, contextlib.suppress(queue.Empty):
                    panel.event("secure", active=True, patience_s=10)
                    panel.order(open=5)
                    if device.wait_for(lambda: len(device.entry_edges) == 2, 10):
                        break
        assert rises(device) == 1


def test_fire_is_told_to_their_panel_and_wins(device):
    with a_panel(KEY, device.device_path) as panel:
        panel.event("secure", active=True)
        device.set_loop(FIRE, closed=False)
        panel.event("status", report=[0, 0, 0, 1, 0, 0, 0])
        panel.order(open=5)
        time.sleep(1)
        assert device.fire_release_active
        assert device.entry_edges == []


@pytest.mark.parametrize("control", [1, 2, 3, 4, 6])
def test_their_panel_cannot_hold_our_relay(device, control):
    with a_panel(KEY, device.device_path) as panel:
        panel.event("secure", active=True)
        panel.order(open=5, control=control)
        panel.event("done", ok=False)
        assert device.entry_edges == []


def test_a_timer_of_zero_opens_nothing(device):
    with a_panel(KEY, device.device_path) as panel:
        panel.event("secure", active=True)
        panel.order(open=0)
        panel.event("done", ok=False)
        assert device.entry_edges == []


def test_their_panel_with_another_key_opens_nothing(device):
    with a_panel(generate_key(), device.device_path) as panel:
        panel.order(open=5)
        time.sleep(3)
        assert device.entry_edges == []
        seen = []
        while not panel.lines.empty():
            seen.append(json.loads(panel.lines.get())["event"])
        assert "secure" not in seen


def test_a_panel_that_dies_lets_the_relay_fall(device):
    with a_panel(KEY, device.device_path) as panel:
        panel.event("secure", active=True)
        panel.order(open=50)
        assert device.wait_for(lambda: device.entry_active)
        panel.process.kill()
        assert device.wait_for(lambda: not device.entry_active)
        assert rises(device) == 1


# --- the same core as a program, under the address sanitizer --------------------------------------


@pytest.fixture
def program(folder, tmp_path) -> Iterator[Child]:
    page = tmp_path / "page"
    page.write_bytes(key_page(KEY))
    child = Child(str(folder / "controller"), str(page), "1")
    yield child
    child.close()


def test_their_panel_opens_the_core_on_a_pty(program):
    path = program.expect(lambda line: line.startswith("/dev/"))
    with a_panel(KEY, path) as panel:
        panel.event("secure", active=True)
        panel.order(open=5)
        program.expect(lambda line: line == "outputs 1")
        program.expect(lambda line: line == "outputs 0")
        program.tell(str(0b101100))  # the fire loop opens
        program.expect(lambda line: line == "outputs 2")
        panel.event("status", report=[0, 0, 0, 1, 0, 0, 0])
