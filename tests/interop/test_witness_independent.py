"""Co-signatures, checked and made by a program on Go's own note package (Debian)."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gate.ledger.checkpoint import Signer
from gate.ledger.cosignature import Cosigner
from gate.ledger.record import Mode, Pack, Started
from gate.ledger.signed_note import split
from gate.ledger.store import Ledger
from gate.ledger.verify import verify_store
from gate.ledger.verify.proofs import parse_vkey
from gate.ledger.verify.witness import parse_witness
from gate.ledger.witness_client import Cosigned, parse_answer, request_body
from gate.ledger.witness_inbox import WitnessInbox
from gate.ledger.witnessing import Growth
from gate.witness.judge import Witness
from gate.witness.state import WitnessState

pytestmark = pytest.mark.interop

ORIGIN = "gate.example/main"
SIGNER = Signer(ORIGIN, bytes(range(32)))
GOPATH = Path("/usr/share/gocode")
SEED = bytes([7]) * 32
COSIGNER = Cosigner("witness.example/w1", SEED)
TIME_S = 1_772_452_800
SOURCE = Path(__file__).parent / "go" / "cosignature" / "main.go"


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("go") is None or not (GOPATH / "src/golang.org/x/mod/sumdb/note").is_dir():
        pytest.skip("needs Go: Debian packages golang-go and golang-golang-x-mod-dev")
    place = tmp_path_factory.mktemp("go-cosignature")
    environment = os.environ | {
        "GO111MODULE": "off",
        "GOPATH": str(GOPATH),
        "GOCACHE": str(place / "cache"),
        "GOFLAGS": "",
    }
    program = place / "cosignature"
    subprocess.run(["go", "build", "-o", program, str(SOURCE)], env=environment, check=True)
    return program


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    with closing(Ledger.open(path, SIGNER, ORIGIN)) as log:
        start = Started(Mode.DEMO, Pack.EDGE, "ab" * 32, sandbox_ok=True, key_agent_ok=True)
        log.append(start, datetime(2026, 3, 2, 12, 0, tzinfo=UTC))
    return path


def test_go_opens_what_our_witness_co_signed(go: Path, ledger: Path, tmp_path: Path) -> None:
    with closing(Ledger.open(ledger, SIGNER, ORIGIN)) as log:
        note = log.checkpoint_note()
    WitnessState.create(tmp_path / "state", COSIGNER.vkey)
    with closing(WitnessState.open(tmp_path / "state", COSIGNER.vkey)) as state:
        witness = Witness(
            COSIGNER,
            {ORIGIN: [parse_vkey(SIGNER.vkey)]},
            state,
            time_s=lambda: TIME_S,
            monotonic_s=lambda: 0.0,
        )
        answer = witness.add_checkpoint(request_body(0, [], note))
    file = tmp_path / "note"
    file.write_text(note + answer.body)
    assert run(go, "open", file, SIGNER.vkey, COSIGNER.vkey).stdout == f"1 {TIME_S}\n"
    another = Cosigner("witness.example/w1", bytes(32)).vkey
    assert run(go, "open", file, SIGNER.vkey, another).returncode == 1
    text, lines = split(note + answer.body)
    assert len(lines) == 2
    for before, after in ((text, text.replace("\n1\n", "\n2\n")), ("\u2014 w", "\u2014 W")):
        file.write_text((note + answer.body).replace(before, after))
        assert run(go, "open", file, SIGNER.vkey, COSIGNER.vkey).returncode == 1


def test_we_take_what_a_witness_written_in_go_co_signed(
    go: Path, ledger: Path, tmp_path: Path
) -> None:
    with closing(Ledger.open(ledger, SIGNER, ORIGIN)) as log:
        file = tmp_path / "note"
        file.write_text(log.checkpoint_note())
        line = run(go, "sign", file, "witness.example/w1", SEED.hex(), TIME_S).stdout
        assert line == COSIGNER.cosign(split(log.checkpoint_note())[0], TIME_S)
        answer = parse_answer(200, "text/plain", line.encode())
        assert isinstance(answer, Cosigned)
        (tmp_path / "inbox").mkdir()
        (tmp_path / "inbox" / "note").write_text(log.checkpoint_note() + line)
        root = Growth(ledger).root
        inbox = WitnessInbox(tmp_path / "inbox", log, SIGNER.vkey, [COSIGNER.key], root)
        assert inbox.look() == [COSIGNER.key]
    report = verify_store(ledger, SIGNER.vkey, witnesses=[COSIGNER.vkey])
    assert (report.ok, report.witnessed_size) == (True, 1), report.problems
    assert report.witnesses[0].time_s == TIME_S
    assert report.witnesses[0].witness == parse_witness(COSIGNER.vkey).ident
