"""Both sides of our OSDP line against libosdp, an implementation that we did not write."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import pytest

from firmware_bridge.osdp_turnstile import OsdpTurnstile, generate_key
from firmware_bridge.ports import Crossing, Link, OpenResult
from firmware_bridge.sim.turnstile import SimTurnstile

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("GATE_LIBOSDP_PYTHON", ROOT / ".venv-interop/bin/python"))
KEY = generate_key()
SLOW = 20_000


def has_libosdp() -> bool:
    try:
        check = [str(PYTHON), "-c", "import osdp"]
        return subprocess.run(check, capture_output=True, timeout=30, check=False).returncode == 0
    except OSError:
        return False


pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        not has_libosdp(),
        reason="needs libosdp in a virtual environment of its own: python3 -m venv .venv-interop "
        "&& .venv-interop/bin/pip install libosdp==3.2.9 (or set GATE_LIBOSDP_PYTHON)",
    ),
]


class Peer:
    """The other implementation, in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [str(PYTHON), str(Path(__file__).with_name("libosdp_peer.py")), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.events: queue.Queue[dict] = queue.Queue()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.put(json.loads(line))

    def tell(self, **order: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def expect(self, event: str, **facts: object) -> dict:
        """Wait for an event that has these facts; skip others."""
        end = time.monotonic() + 30
        while True:
            got = self.events.get(timeout=max(0.01, end - time.monotonic()))
            if got["event"] == event and facts.items() <= got.items():
                return got

    def finish(self) -> dict:
        """End the peer; return its last report."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.expect("end")

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None and not stream.closed:
                stream.close()


def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> bool:
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def device() -> Iterator[Peer]:
    with Peer("device", KEY.hex()) as peer:
        yield peer


@pytest.fixture
def turnstile(device: Peer) -> Iterator[OsdpTurnstile]:
    path = device.expect("ready")["path"]
    turnstile = OsdpTurnstile(path, KEY, reply_delay_ms=SLOW, max_gap_ms=SLOW)
    assert turnstile.wait_online(20)
    yield turnstile
    turnstile.close()


# --- our control panel, their peripheral -----------------------------------------------------


def test_our_panel_opens_their_turnstile(device, turnstile):
    device.expect("secure", active=True)
    assert turnstile.open(1200, SLOW) is OpenResult.OPENED
    output = device.expect("output")
    assert (output["output_no"], output["control_code"], output["timer_count"]) == (0, 5, 12)
    device.tell(output=[0])
    assert until(lambda: not turnstile.status().relay_active)
    assert turnstile.open(25_500, SLOW) is OpenResult.OPENED
    assert device.expect("output")["timer_count"] == 255


def test_their_turnstile_says_what_it_is(turnstile):
    assert until(lambda: turnstile.identity is not None)
    assert (turnstile.identity.inputs, turnstile.identity.outputs) == (5, 1)
    assert turnstile.identity.serial == 0xDEADBEAF


def test_our_panel_says_nothing_in_clear_text_but_the_handshake(device, turnstile):
    assert turnstile.open(500, SLOW) is OpenResult.OPENED
    turnstile.close()
    # Frames without a security block; the handshake's frames have one.
    assert device.finish()["clear"] == []


def test_their_turnstile_refuses(device, turnstile):
    device.tell(refuse=True)
    time.sleep(0.2)
    assert turnstile.open(500, SLOW) is OpenResult.REFUSED


def test_their_inputs_count_persons(device, turnstile):
    device.tell(inputs=[0, 0, 1, 1, 1])
    assert until(lambda: turnstile.status().ready)
    status = turnstile.status()
    assert (status.tamper, status.fire, status.passages_a) == (False, False, 0)
    for state in ([1, 0, 1, 1, 1], [0, 0, 1, 1, 1], [1, 0, 1, 1, 1], [0, 1, 1, 0, 0]):
        device.tell(inputs=state)
    assert until(lambda: turnstile.status().fire)
    status = turnstile.status()
    assert (status.tamper, status.passages_a, status.passages_b) == (True, 2, 1)


def test_one_crossing_at_their_turnstile(device, turnstile):
    device.tell(inputs=[0, 0, 1, 1, 1])
    assert until(lambda: turnstile.status().ready)
    assert turnstile.open(500, SLOW) is OpenResult.OPENED
    device.tell(inputs=[1, 0, 1, 1, 1])
    device.tell(inputs=[0, 0, 1, 1, 1])
    assert turnstile.watch_crossing(SLOW) is Crossing.ONE


def test_their_device_with_another_key():
    with Peer("device", generate_key().hex()) as peer:
        turnstile = OsdpTurnstile(peer.expect("ready")["path"], KEY)
        try:
            assert until(lambda: turnstile.status().link is Link.WRONG_KEY)
            assert turnstile.open(500) is OpenResult.NOT_DELIVERED
        finally:
            turnstile.close()


def test_their_device_without_a_key_gets_no_command():
    with Peer("insecure-device", KEY.hex()) as peer:
        turnstile = OsdpTurnstile(peer.expect("ready")["path"], KEY)
        try:
            assert turnstile.open(500, 1500) is OpenResult.NOT_DELIVERED
            assert turnstile.status().link is not Link.ONLINE
            assert turnstile.fault is not None
        finally:
            turnstile.close()
        assert peer.finish()["clear"] == []
        assert all(event["event"] != "output" for event in list(peer.events.queue))


# --- their control panel, our simulated turnstile ----------------------------------------------


def test_their_panel_opens_our_turnstile():
    with SimTurnstile(KEY) as sim, Peer("panel", KEY.hex(), sim.device_path) as peer:
        peer.expect("secure", active=True)
        peer.tell(open=5)
        assert until(lambda: len(sim.edges) == 2)
        assert sim.edges[1].at - sim.edges[0].at >= 0.499  # 0.5 s, less what a float loses
        sim.fire(True)
        peer.expect("status", report=[0, 0, 0, 1, 0])
        peer.tell(open=5)
        time.sleep(0.5)
        assert sim.openings == 1
        # Their panel asks ID and CAP in clear text, as the standard allows; ours answers.
        assert set(peer.finish()["clear"]) <= {0x45, 0x46, 0x41}


def test_their_panel_with_another_key_opens_nothing():
    with SimTurnstile(KEY) as sim, Peer("panel", generate_key().hex(), sim.device_path) as peer:
        peer.expect("ready")
        peer.tell(open=5)
        time.sleep(2)
        assert sim.edges == []
        assert all(event["event"] != "secure" for event in list(peer.events.queue))


def test_their_panel_cannot_hold_our_relay():
    with SimTurnstile(KEY) as sim, Peer("panel", KEY.hex(), sim.device_path) as peer:
        peer.expect("secure", active=True)
        peer.tell(open=0, control=2)  # permanently on
        time.sleep(0.5)
        assert sim.edges == []
