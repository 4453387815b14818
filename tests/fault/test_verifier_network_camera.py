"""A real RTSP camera on this machine, and what the verifier is while it listens to one.

The camera speaks RTSP (RFC 2326) over TCP and sends JPEG pictures (RFC 2435) in the same
connection.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import termios
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from firmware_bridge.camera import open_camera
from gate.template.biometric import make_template
from gate.template.context import SealContext
from gate.template.envelope import Envelope
from gate.template.seal import seal
from gate.template.wrapping import unwrap
from gate.verifier.job import Job
from gate.verifier.pool import start_worker
from gate.verifier.run import VerifierRun
from gate.verifier.wire import Kind, Verdict
from models.manifest import manifest
from models.types import Embedding, Zone

CACHE = Path(os.environ.get("GATE_CACHE_DIR", Path(__file__).parents[2] / ".cache/consentgate"))
PACK = "bootstrap"
PACK_DIR = CACHE / "packs" / PACK
AUX = bytes(32)
KEY = b"K" * 32
ENVELOPE = b"E" * 300
SDP = (
    b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
    b"m=video 0 RTP/AVP 26\r\n"
)

needs_pack = pytest.mark.skipif(
    not all(
        (PACK_DIR / f.name).exists() for f in manifest().packs[PACK].files if f.role != "source"
    ),
    reason="the bootstrap pack is not fetched: run 'gate models fetch bootstrap'",
)


def jpeg_payloads() -> list[bytes]:
    """Return one grey picture as RFC 2435 payloads, its tables included."""
    ok, encoded = cv2.imencode(".jpg", np.full((240, 320, 3), 128, np.uint8))
    assert ok
    data, at = encoded.tobytes(), 2
    tables = b""
    while data[at + 1] != 0xDA:
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xDB:
            segment = data[at + 4 : at + 2 + size]
            tables += b"".join(segment[n + 1 : n + 65] for n in range(0, len(segment), 65))
        at += 2 + size
    scan = data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") : -2]
    payloads = []
    for offset in range(0, len(scan), 1000):
        # Type 1 is 4:2:0; Q of 255 says that the tables follow.
        payload = b"\0" + offset.to_bytes(3, "big") + bytes([1, 255, 320 // 8, 240 // 8])
        if offset == 0:
            payload += struct.pack(">BBH", 0, 0, len(tables)) + tables
        payloads.append(payload + scan[offset : offset + 1000])
    return payloads


class RtspCamera:
    """Serves one client, remembers what it asked, and may wait before it answers."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.asked = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._link: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def source(self) -> str:
        return f"rtsp://127.0.0.1:{self._listener.getsockname()[1]}/x"

    def close(self) -> None:
        self.may_answer.set()
        for link in (self._link, self._listener):
            if link is not None:
                with contextlib.suppress(OSError):
                    link.shutdown(socket.SHUT_RDWR)
                link.close()
        self._thread.join()

    def _serve(self) -> None:
        try:
            self._link, _ = self._listener.accept()
            buffer = b""
            while chunk := self._link.recv(4096):
                buffer += chunk
                while b"\r\n\r\n" in buffer:
                    request, _, buffer = buffer.partition(b"\r\n\r\n")
                    self.requests.append(request)
                    self.asked.set()
                    self.may_answer.wait()
                    sequence = request.partition(b"CSeq: ")[2].partition(b"\r\n")[0]
                    self._link.sendall(self._answer(request, sequence))
                    if request.startswith(b"PLAY"):
                        self._play(self._link)
        except OSError:
            pass

    def _answer(self, request: bytes, sequence: bytes) -> bytes:
        head = b"RTSP/1.0 200 OK\r\nCSeq: " + sequence + b"\r\nSession: 1\r\n"
        if request.startswith(b"DESCRIBE"):
            return head + b"Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%b" % (
                len(SDP),
                SDP,
            )
        if request.startswith(b"SETUP"):
            return head + b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n"
        return head + b"Public: DESCRIBE, SETUP, PLAY\r\n\r\n"

    def _play(self, link: socket.socket) -> None:
        number, payloads = 0, jpeg_payloads()
        for picture in range(2000):
            for payload in payloads:
                last = 0x80 if payload is payloads[-1] else 0
                packet = struct.pack(">BBHII", 0x80, 26 | last, number, picture * 6000, 7) + payload
                link.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
                number = (number + 1) & 0xFFFF
            time.sleep(0.03)


@pytest.fixture
def camera() -> Iterator[RtspCamera]:
    camera = RtspCamera()
    yield camera
    camera.close()


@pytest.fixture
def worker() -> Iterator[VerifierRun]:
    run = start_worker(PACK, PACK_DIR)
    while not run.wait_ready(1000):
        pass
    yield run
    run.kill()
    run.finish()


def job(source: str, envelope: bytes = ENVELOPE, deadline_ms: int = 1500) -> Job:
    context = SealContext.for_template(
        bytes(16),
        manifest().packs[PACK].model_id,
        b"consent",
        AUX,
        datetime(2031, 1, 1, tzinfo=UTC),
    )
    return Job(source, Zone(), envelope, context, AUX, bytes(8), deadline_ms)


def memory_of(pid: int) -> bytes:
    """Return everything writable that a process holds. Needs root or the right to trace."""
    held = []
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            start, end = (int(x, 16) for x in span.split("-"))
            if "rw" in rights:
                memory.seek(start)
                held.append(memory.read(end - start))
    return b"".join(held)


def test_one_connection_carries_everything(camera: RtspCamera) -> None:
    opened = open_camera(camera.source)
    frame = opened.read()
    opened.close()
    assert frame is not None
    assert frame.shape == (240, 320, 3)
    (setup,) = [x for x in camera.requests if x.startswith(b"SETUP")]
    assert b"RTP/AVP/TCP" in setup
    assert not any(b"client_port" in x for x in camera.requests), "no UDP was offered"


@needs_pack
def test_while_the_camera_opens_the_key_is_not_in_memory(
    camera: RtspCamera, worker: VerifierRun
) -> None:
    camera.may_answer.clear()
    # The worker's own end of the key pipe, to see from outside whether it was read.
    arguments = Path(f"/proc/{worker.pid}/cmdline").read_bytes().split(b"\0")
    try:
        key_pipe = os.open(f"/proc/{worker.pid}/fd/{int(arguments[-3])}", os.O_RDONLY)
    except PermissionError:
        pytest.skip("needs root: looks into another process")
    try:
        os.write(worker.key_fd, KEY)
        worker.close_key_fd()
        worker.begin(job(camera.source))
        assert camera.asked.wait(20)
        waiting = fcntl.ioctl(key_pipe, termios.FIONREAD, bytes(4))
        held = memory_of(worker.pid)
    finally:
        os.close(key_pipe)
    assert int.from_bytes(waiting, "little") == len(KEY), "unread"
    assert ENVELOPE in held, "this memory is the right one"
    assert KEY not in held


@needs_pack
def test_a_look_through_a_network_camera_ends_under_the_lock(
    camera: RtspCamera, worker: VerifierRun
) -> None:
    site_key = ec.generate_private_key(ec.SECP256R1())
    context = job(camera.source).context
    template = make_template(
        Embedding(np.eye(1, manifest().packs[PACK].dim, dtype=np.float32)[0]),
        AUX,
        model_id=manifest().packs[PACK].model_id,
        pack_version=PACK,
        frames=1,
        quality=1.0,
        created=datetime(2026, 1, 1, tzinfo=UTC),
    )
    sealed = seal(template.encode(), context, site_key.public_key())
    key = unwrap(Envelope.decode(sealed).wrapped, context.hpke_info(), site_key)
    os.write(worker.key_fd, key)
    worker.close_key_fd()
    worker.begin(job(camera.source, sealed))
    kinds = []
    while (answer := worker.next_answer(20_000)) is not None:
        kinds.append(answer.kind)
        if answer.kind is Kind.VERDICT:
            break
    assert kinds == [Kind.CAMERA_ON, Kind.GUIDANCE, Kind.VERDICT], "frames were seen"
    assert answer is not None
    assert answer.code == Verdict.NO_FACE
    assert worker.finish().is_clean()


@needs_pack
@pytest.mark.parametrize("key", [b"", KEY[:31], KEY + b"K"], ids=["none", "short", "long"])
def test_without_a_whole_key_the_camera_hears_nothing(
    camera: RtspCamera, worker: VerifierRun, key: bytes
) -> None:
    os.write(worker.key_fd, key)
    worker.close_key_fd()
    worker.begin(job(camera.source))
    answer = worker.next_answer(20_000)
    assert answer is not None
    assert (answer.kind, answer.code) == (Kind.VERDICT, Verdict.NO_KEY)
    assert worker.finish().is_clean()
    assert camera.requests == []


@needs_pack
def test_a_key_pipe_that_stays_open_is_no_key(camera: RtspCamera, worker: VerifierRun) -> None:
    os.write(worker.key_fd, KEY)
    worker.begin(job(camera.source))
    answer = worker.next_answer(20_000)
    assert answer is not None
    assert answer.code == Verdict.NO_KEY
    assert camera.requests == []


@needs_pack
def test_a_spare_waits_under_a_filter_that_does_not_count_as_the_lock(worker: VerifierRun) -> None:
    status = Path(f"/proc/{worker.pid}/status").read_text()
    assert "\nSeccomp:\t2\n" in status
    certificate = worker.finish()
    assert certificate.exit_code == 0
    assert certificate.seccomp_mode == 0
    assert not certificate.is_clean()
