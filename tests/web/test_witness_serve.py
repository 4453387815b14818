"""A witness that runs as its own process, asked over HTTP as a gate asks it."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gate.ledger.checkpoint import Checkpoint, Signer
from gate.ledger.consistency import consistency_path
from gate.ledger.cosignature import Cosigner
from gate.ledger.keys import write_secret
from gate.ledger.merkle import leaf_hash, root_of
from gate.ledger.record import Decided, Mode, Pack, Started
from gate.ledger.store import Ledger
from gate.ledger.verify import verify_store
from gate.ledger.witness_client import Cosigned, OtherSize, Refused, WitnessFault, ask, request_body
from gate.ledger.witness_site import WitnessSite
from gate.ledger.witnessing import Growth, Witnessing
from gate.passage.decision import DenyReason, Lane
from gate.witness.request import BODY_BYTES_MAX
from gate.witness.state import WitnessState

ORIGIN = "gate.example/main"
SIGNER = Signer(ORIGIN, bytes(range(32)))
OTHER_LOG = Signer("gate.example/side", bytes([3]) * 32)
COSIGNER = Cosigner("witness.example/w1", bytes([7]) * 32)
DENY = Decided(granted=False, reason=DenyReason.NO_MATCH, lane=Lane.FACE)
LEAVES = [leaf_hash(bytes([n])) for n in range(64)]
FORKED = [*LEAVES[:5], leaf_hash(b"another history"), *LEAVES[6:]]


def note(leaves: Sequence[bytes], size: int, signer: Signer = SIGNER) -> str:
    return signer.sign(Checkpoint(signer.name, size, root_of(leaves[:size])))


def body(leaves: Sequence[bytes], first: int, second: int, signer: Signer = SIGNER) -> bytes:
    path = consistency_path(lambda a, b: root_of(leaves[a:b]), first, second)
    return request_body(first, path, note(leaves, second, signer))


@contextmanager
def running(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "gate", "witness", "run", "--key", str(folder / "key")]
    command += ["--log", SIGNER.vkey, "--log", OTHER_LOG.vkey, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r"http://\S+?(?=;)", line)
            assert found, line
            yield found[0], process
        finally:
            process.kill()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_secret(COSIGNER.skey(), tmp_path / "key", "a witness")
    WitnessState.create(tmp_path / "key.state", COSIGNER.vkey)
    return tmp_path


def test_the_protocol_over_http_and_across_a_kill(folder: Path) -> None:
    with running(folder) as (url, process):
        answer = ask(url, body(LEAVES, 0, 5))
        assert isinstance(answer, Cosigned)
        whole = note(LEAVES, 5) + answer.lines[0].text()
        at = COSIGNER.key.cosigned_at(whole)
        assert at is not None
        assert abs(at - time.time()) < 60
        assert ask(url, body(LEAVES, 0, 9)) == OtherSize(5)
        assert isinstance(ask(url, body(LEAVES, 5, 9)), Cosigned)
        process.kill()
    with running(folder) as (url, process):
        assert ask(url, body(LEAVES, 5, 8)) == OtherSize(9), "it remembers what it co-signed"
        assert ask(url, body(FORKED, 9, 9)) == Refused(409)
        assert ask(url, body(FORKED, 9, 20)) == Refused(422)
        assert ask(url, body(FORKED, 5, 7)) == OtherSize(9)
        assert isinstance(ask(url, body(LEAVES, 9, 20)), Cosigned)
        assert isinstance(ask(url, body(FORKED, 0, 20, OTHER_LOG)), Cosigned), "logs are apart"
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        said = process.stderr.read()
        assert process.wait(timeout=20) == 0
        assert said.count("ALARM") == 2
        assert said.endswith("witness stopped\n")
    command = [sys.executable, "-m", "gate", "witness", "list", "--key", str(folder / "key")]
    listed = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    logs = json.loads(listed.stdout)["logs"]
    assert [(log["origin"], log["size"], log["refused"]) for log in logs] == [
        (ORIGIN, 20, 2),
        (OTHER_LOG.name, 20, 0),
    ]


def raw(url: str, method: str, path: str, content: bytes) -> tuple[int, str, bytes]:
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)) as line:
        line.request(method, path, content)
        answer = line.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()


def test_statuses_and_types_on_the_wire(folder: Path) -> None:
    good = body(LEAVES, 0, 5)
    unknown = body(LEAVES, 0, 5, Signer("gate.example/unknown", bytes(32)))
    forged = body(LEAVES, 0, 5, Signer(ORIGIN, bytes(32)))
    tampered = good.replace(b"\n5\n", b"\n6\n")
    with running(folder) as (url, _):
        assert raw(url, "POST", "/add-checkpoint", unknown)[0] == 404
        assert raw(url, "POST", "/add-checkpoint", forged)[0] == 403
        assert raw(url, "POST", "/add-checkpoint", tampered)[0] == 403
        assert raw(url, "POST", "/add-checkpoint", b"old 6" + good[5:])[0] == 400
        for malformed in (b"", b"old 05" + good[5:], good[:-1], good.replace(b"\n\n", b"\n", 1)):
            assert raw(url, "POST", "/add-checkpoint", malformed)[0] == 400
        assert raw(url, "POST", "/add-checkpoint", bytes(BODY_BYTES_MAX + 1))[0] in (400, 413)
        assert raw(url, "GET", "/add-checkpoint", b"")[0] == 405
        assert raw(url, "POST", "/add-checkpoint", good)[0] == 200
        conflict = raw(url, "POST", "/add-checkpoint", good)
        assert conflict == (409, "text/x.tlog.size", b"5\n")
        status, _, page = raw(url, "GET", "/", b"")
        assert status == 200
        assert COSIGNER.vkey.encode() in page
        assert f"{ORIGIN}: 5 records".encode() in page


def test_of_two_histories_that_race_one_is_signed(folder: Path) -> None:
    with running(folder) as (url, _), ThreadPoolExecutor(8) as pool:
        signed = 0
        for _ in range(3):
            sizes = [(leaves, size) for size in (7, 8, 9, 10) for leaves in (LEAVES, FORKED)]
            answers = list(pool.map(lambda s: ask(url, body(s[0], 0, s[1])), sizes))
            signed += sum(isinstance(answer, Cosigned) for answer in answers)
        assert signed == 1
        _, _, page = raw(url, "GET", "/", b"")
        assert page.count(b" records,") == 1


def test_a_gate_has_its_log_co_signed_in_the_background(folder: Path) -> None:
    path = folder / "ledger.db"
    now = datetime.now(UTC)
    with closing(Ledger.open(path, SIGNER, ORIGIN)) as ledger, running(folder) as (url, process):
        ledger.append(
            Started(Mode.DEMO, Pack.EDGE, "ab" * 32, sandbox_ok=True, key_agent_ok=True), now
        )
        kept = threading.Event()

        class Told:
            """The ledger, and a bell for when a co-signature is kept."""

            size, checkpoint_note = ledger.size, ledger.checkpoint_note
            settled_note, cosigned = ledger.settled_note, ledger.cosigned

            def keep_cosigned(self, witness: str, size: int, note: str) -> None:
                ledger.keep_cosigned(witness, size, note)
                kept.set()

        def witnessing() -> Witnessing:
            return Witnessing(
                Told(),
                Growth(path),
                SIGNER.vkey,
                [WitnessSite(COSIGNER.key, url)],
                folder / "inbox",
                ask=ask,
                utc_now=lambda: datetime.now(UTC),
                spread=0,
            )

        with closing(witnessing()) as asking:
            asking.start()
            assert kept.wait(30)
            (line,) = asking.health()
            assert (line.ok, line.part) == (True, "witness witness.example/w1")
        report = verify_store(path, SIGNER.vkey, witnesses=[COSIGNER.vkey])
        assert (report.ok, report.witnessed_size) == (True, 1), report.problems
        process.kill()
        process.wait()
        with closing(witnessing()) as alone:
            alone.start()
            assert ledger.append(DENY, now) == 1, "a witness that is gone holds nobody up"


def test_no_witness_is_a_line_and_no_thread(folder: Path) -> None:
    with closing(Ledger.open(folder / "ledger.db", SIGNER, ORIGIN)) as ledger:
        before = threading.active_count()
        none = Witnessing(
            ledger,
            Growth(folder / "ledger.db"),
            SIGNER.vkey,
            [],
            folder / "inbox",
            ask=ask,
            utc_now=lambda: datetime.now(UTC),
            spread=0,
        )
        none.start()
        assert threading.active_count() == before
        assert not (folder / "inbox").exists()
        (line,) = none.health()
        assert "could show two histories" in line.what
        none.close()


class Peer:
    """Somebody at the witness's address who is no witness: sends fixed bytes, then waits."""

    def __init__(self, said: bytes, *, hang: bool = False) -> None:
        self._line = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._line.getsockname()[1]}"
        self._said, self._hang = said, hang
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        try:
            peer, _ = self._line.accept()
        except OSError:
            return
        with peer:
            peer.recv(65536)
            peer.sendall(self._said)
            if self._hang:
                self._ended.wait(20)

    def close(self) -> None:
        self._ended.set()
        self._line.close()


@pytest.mark.parametrize(
    ("said", "hang", "what"),
    [
        (b"", False, "cannot be reached|does not speak HTTP"),
        (b"hello\r\n\r\n", False, "does not speak HTTP"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n" + bytes(30_000),
            False,
            "too long",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", False, "no signature lines"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", False, "status 302"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", True, "cannot be reached|too slow"),
        (b"", True, "cannot be reached"),
    ],
)
def test_a_peer_that_is_no_witness(said: bytes, hang: bool, what: str) -> None:
    with closing(Peer(said, hang=hang)) as peer, pytest.raises(WitnessFault, match=what):
        ask(peer.url, b"old 0\n", timeout_s=1.0)


@pytest.mark.parametrize(
    ("said", "again"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
    ],
    ids=["continue", "header", "chunk"],
)
def test_a_peer_that_never_ends_its_answer(said: bytes, again: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as line:

        def drip() -> None:
            peer, _ = line.accept()
            with peer, contextlib.suppress(OSError):
                peer.sendall(said)
                while not ended.wait(0.05):
                    peer.sendall(again)

        ended = threading.Event()
        dripping = threading.Thread(target=drip)
        asking = ThreadPoolExecutor(1)
        dripping.start()
        try:
            url = f"http://127.0.0.1:{line.getsockname()[1]}"
            answer = asking.submit(ask, url, b"old 0\n", timeout_s=0.5)
            with pytest.raises(WitnessFault):
                answer.result(timeout=30)
        finally:
            ended.set()
            dripping.join()
            asking.shutdown()


def test_nobody_at_the_address() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as line:
        port = line.getsockname()[1]
    with pytest.raises(WitnessFault, match="cannot be reached"):
        ask(f"http://127.0.0.1:{port}", b"old 0\n")


def test_a_witness_without_its_memory_does_not_start(folder: Path) -> None:
    (folder / "key.state").unlink()
    command = [sys.executable, "-m", "gate", "witness", "run", "--key", str(folder / "key")]
    command += ["--log", SIGNER.vkey, "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "is gone; restore its newest copy" in done.stderr
