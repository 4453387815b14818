"""A gate's log, checked with implementations that this project did not write.

Go's sumdb packages (tests/interop/go/auditlog) and tlog-scales read what a gate wrote: folders,
tiles over HTTP, proof files.
"""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gate.console.app import create_app
from gate.console.deps import ConsoleDeps
from gate.console.serve import Serving, serve
from gate.ledger.checkpoint import Checkpoint, Signer, open_note, parse_skey
from gate.ledger.export import export
from gate.ledger.merkle import leaf_hash, root_of
from gate.ledger.proof_bundle import FileLog, FolderLog, prove_consistency, prove_inclusion
from gate.ledger.record import Decided, Mode, Pack, Started
from gate.ledger.store import Ledger
from gate.ledger.verify import verify_export
from gate.ledger.verify.bundle import check_proof
from gate.passage.decision import DenyReason, Lane

pytestmark = pytest.mark.interop

ORIGIN = "gate.example/main"
SIGNER = Signer(ORIGIN, bytes(range(32)))
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SIZES = (1, 255, 256, 257, 511, 512, 513, 5000)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one log of 5 000 records and its exports at each size of SIZES."""
    place = tmp_path_factory.mktemp("log")
    with closing(Ledger.open(place / "ledger.db", SIGNER, ORIGIN)) as ledger:
        ledger.append(Started(Mode.DEMO, Pack.EDGE, "ab" * 32, True, True), NOON)
        for size in SIZES:
            while (seq := ledger.size()) < size:
                record = Decided(False, list(DenyReason)[seq % 20], Lane.FACE)
                ledger.append(record, NOON + timedelta(minutes=seq // 4))
            export(place / "ledger.db", place / str(size))
    return place


@pytest.fixture(scope="module")
def pages(logs: Path) -> Iterator[Serving]:
    """The log of 5 000 records as `gate console` serves it."""
    with serve(create_app(ConsoleDeps(logs / "ledger.db", SIGNER.vkey, None, demo=False))) as here:
        yield here


Answer = subprocess.CompletedProcess[str]
Ask = Callable[..., Answer]


@pytest.fixture
def ask(auditlog: Path) -> Ask:
    """Ask the Go program."""

    def run(*arguments: object) -> Answer:
        return subprocess.run(
            [auditlog, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


@pytest.mark.parametrize("size", SIZES)
def test_go_verifies_a_folder(ask: Ask, logs: Path, size: int) -> None:
    kept = [logs / str(smaller) / "checkpoint" for smaller in SIZES if smaller <= size]
    done = ask("verify", logs / str(size), SIGNER.vkey, *kept)
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith(f"verified {size} records, 0 pruned, ")
    proofs, earlier = int(done.stdout.split()[5]), int(done.stdout.split()[8])
    assert proofs >= min(size, 400)
    assert earlier >= len(kept) + 1


def test_go_verifies_what_is_served(ask: Ask, logs: Path, pages: Serving) -> None:
    kept = [logs / str(size) / "checkpoint" for size in SIZES]
    done = ask("verify", f"{pages.url}/log", SIGNER.vkey, *kept)
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("verified 5000 records, 0 pruned, ")
    assert done.stdout.endswith(f" {len(SIZES)} earlier checkpoints\n")
    other = Signer(ORIGIN, bytes(32)).vkey
    assert ask("verify", f"{pages.url}/log", other).returncode == 1


def test_go_sees_a_log_that_was_cut_or_rewritten(ask: Ask, logs: Path, tmp_path: Path) -> None:
    done = ask("verify", logs / "512", SIGNER.vkey, logs / "513" / "checkpoint")
    assert (done.returncode, "the log was cut" in done.stdout) == (1, True)
    other = tmp_path / "other.db"
    with closing(Ledger.open(other, SIGNER, ORIGIN)) as ledger:
        for _ in range(600):
            ledger.append(Started(Mode.DEMO, Pack.EDGE, "cd" * 32, True, True), NOON)
    export(other, tmp_path / "other")
    assert ask("verify", tmp_path / "other", SIGNER.vkey).returncode == 0
    done = ask("verify", tmp_path / "other", SIGNER.vkey, logs / "513" / "checkpoint")
    assert (done.returncode, "the log was rewritten" in done.stdout) == (1, True)


def test_go_and_our_verifier_refuse_the_same_damage(ask: Ask, logs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "513"
    shutil.copytree(logs / "513", folder)
    verdicts = {True: 0, False: 0}

    def judge(what: str) -> None:
        ours, theirs = verify_export(folder, SIGNER.vkey).ok, ask("verify", folder, SIGNER.vkey)
        assert ours is (theirs.returncode == 0), (what, theirs.stdout)
        verdicts[ours] += 1

    judge("as written")
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        # The Go program asks nothing about the form of the lists, and takes no key from a folder.
        if path.name in {"README.txt", "vkey", "checkpoints.jsonl", "cosigned.jsonl"}:
            continue
        raw = path.read_bytes()
        middle = len(raw) // 2
        damaged = {
            "a bit": raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :],
            "cut": raw[:-1],
            "longer": raw + b"\n",
            "twice": raw + raw,
            "empty": b"",
            "swapped": raw[middle:] + raw[:middle],
        }
        for what, changed in damaged.items():
            path.write_bytes(changed)
            judge(f"{path.name}: {what}")
        path.write_bytes(raw)
    for gone in ("checkpoint", "tile/0/001", "tile/1/000.p/2", "tile/entries/002.p/1"):
        raw = (folder / gone).read_bytes()
        (folder / gone).unlink()
        if gone == "checkpoint":
            assert ask("verify", folder, SIGNER.vkey).returncode == 1
        else:
            judge(f"{gone} is gone")
        (folder / gone).write_bytes(raw)
    judge("as written again")
    assert verdicts == {True: 2, False: 6 * 9 + 3}


def test_a_record_changed_everywhere_but_in_the_signed_root(
    ask: Ask, logs: Path, tmp_path: Path
) -> None:
    """The writer's own tools over a changed record: only the signature stands in the way."""
    other = tmp_path / "other.db"
    shutil.copy(logs / "ledger.db", other)
    export(other, tmp_path / "same")
    assert ask("verify", tmp_path / "same", SIGNER.vkey).returncode == 0
    forger = Signer(ORIGIN, bytes(32))
    with closing(Ledger.open(tmp_path / "forged.db", forger, ORIGIN)) as ledger:
        for _ in range(300):
            ledger.append(Started(Mode.DEMO, Pack.EDGE, "ee" * 32, True, True), NOON)
    export(tmp_path / "forged.db", tmp_path / "forged")
    assert ask("verify", tmp_path / "forged", forger.vkey).returncode == 0
    assert ask("verify", tmp_path / "forged", SIGNER.vkey).returncode == 1


def test_go_verifies_a_pruned_log(ask: Ask, logs: Path, tmp_path: Path) -> None:
    pruned = tmp_path / "ledger.db"
    shutil.copy(logs / "ledger.db", pruned)
    with closing(Ledger.open(pruned, SIGNER, ORIGIN)) as ledger:
        ledger.prune(1024, NOON + timedelta(days=1))
    export(pruned, tmp_path / "out")
    kept = [logs / str(size) / "checkpoint" for size in SIZES]
    done = ask("verify", tmp_path / "out", SIGNER.vkey, *kept)
    assert done.stdout.startswith("verified 5001 records, 1024 pruned, "), done.stdout
    with serve(create_app(ConsoleDeps(pruned, SIGNER.vkey, None, demo=False))) as here:
        done = ask("verify", f"{here.url}/log", SIGNER.vkey, *kept)
    assert done.stdout.startswith("verified 5001 records, 1024 pruned, "), done.stdout


def test_go_checks_our_proofs_and_refuses_changed_ones(
    ask: Ask, logs: Path, tmp_path: Path
) -> None:
    source = FileLog(logs / "ledger.db")
    newest = source.notes()[-1]
    proofs = [prove_inclusion(source, seq, newest) for seq in (0, 255, 256, 257, 4999)]
    for size in SIZES:
        at = (logs / str(size) / "checkpoint").read_text()
        proofs.append(prove_inclusion(FolderLog(logs / str(size)), size - 1, at))
        proofs.append(prove_consistency(source, at, newest))
    proofs.append(prove_consistency(source, source.notes()[0], newest))
    file = tmp_path / "proof"
    for text in proofs:
        file.write_text(text)
        done = ask("proof", file, SIGNER.vkey)
        assert done.returncode == 0, done.stdout
        assert check_proof(text.encode(), SIGNER.vkey).ok
    for text in (proofs[2], proofs[8]):
        lines = text.split("\n")
        for place, line in enumerate(lines):
            for changed in (line[:-1], line + "x", "", line.swapcase(), line[::-1]):
                if changed == line or (place == len(lines) - 1 and not changed):
                    continue
                file.write_text("\n".join([*lines[:place], changed, *lines[place + 1 :]]))
                done = ask("proof", file, SIGNER.vkey)
                assert done.returncode == 1, (place, changed, done.stdout)
                assert not check_proof(file.read_bytes(), SIGNER.vkey).ok


def test_we_open_what_go_signed(ask: Ask) -> None:
    checkpoint = Checkpoint(ORIGIN, 45, bytes(range(32)))
    done = ask("sign", SIGNER.skey(), checkpoint.text())
    assert done.returncode == 0
    assert open_note(done.stdout, SIGNER.vkey) == checkpoint
    assert done.stdout == parse_skey(SIGNER.skey()).sign(checkpoint)


REASON = "needs the Python package tlog-scales"


@pytest.mark.parametrize("served", [False, True])
@pytest.mark.parametrize("size", [255, 256, 257, 513, 5000])
def test_tlog_scales_reads_the_tiles(
    logs: Path, pages: Serving, size: int, *, served: bool
) -> None:
    signing = pytest.importorskip("tlog_scales.signing", reason=REASON)
    tlog = pytest.importorskip("tlog_scales.tlog", reason=REASON)
    backend = pytest.importorskip("tlog_scales.backend", reason=REASON)
    reader_module = pytest.importorskip("tlog_scales.reader", reason=REASON)
    tiles = backend.make_backend(f"{pages.url}/log" if served else str(logs / str(size)))
    reader = reader_module.TilesReader(tiles)
    checkpoint = reader.get_checkpoint()
    checkpoint.verify(signing.Vkey.from_string(SIGNER.vkey))
    with pytest.raises(RuntimeError, match="no signature matched"):
        checkpoint.verify(signing.Vkey.from_string(Signer("other", bytes(32)).vkey))
    if served:
        # A client that still holds an older checkpoint finds the tiles of its size.
        assert checkpoint.size == 5000
        note = (logs / str(size) / "checkpoint").read_text()
        checkpoint = tlog.Checkpoint.from_text(note)
        reader.set_size(size)
    assert reader.calculate_root_hash() == checkpoint.root_hash
    lines = (logs / str(size) / "entries.jsonl").read_bytes().splitlines()
    for index in {0, 1, size // 2, size - 2, size - 1}:
        assert reader.get_entry(index) == lines[index]
        proof = reader.get_inclusion_proof(index, size)
        proof.check(leaf_hash(lines[index]), checkpoint.root_hash)
        with pytest.raises(tlog.InclusionProofInvalid):
            proof.check(leaf_hash(b"x"), checkpoint.root_hash)
    for old in (1, 2, 128, size - 1, size):
        old_root = root_of([leaf_hash(line) for line in lines[:old]])
        proof = reader.get_consistency_proof(old, size)
        proof.check(old_root, checkpoint.root_hash)
        if old < size:
            with pytest.raises(tlog.ConsistencyProofInvalid):
                proof.check(leaf_hash(b"x"), checkpoint.root_hash)
    if hasattr(tiles, "session"):
        tiles.session.close()


def test_a_proof_that_tlog_scales_made_holds_here(logs: Path) -> None:
    pytest.importorskip("tlog_scales.cli", reason=REASON)
    command = [sys.executable, "-m", "tlog_scales.cli"]
    made = subprocess.run(
        [*command, "gen-proof", logs / "513", "300"], capture_output=True, check=True, timeout=60
    ).stdout
    record = subprocess.run(
        [*command, "get-leaf", "--check", logs / "513", "300"],
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    assert json.loads(record)["seq"] == 300
    assert not check_proof(made, SIGNER.vkey).ok, "it does not carry its record"
    assert check_proof(made, SIGNER.vkey, record).ok
    ours = prove_inclusion(
        FolderLog(logs / "513"), 300, (logs / "513" / "checkpoint").read_text()
    ).encode()
    extra = b"extra " + base64.b64encode(record) + b"\n"
    assert ours.replace(extra, b"") == made
