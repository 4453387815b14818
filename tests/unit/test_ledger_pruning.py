"""Pruning: the bytes go, the tree stays, the log says so, and nothing young is touched."""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gate.cli import app
from gate.errors import LedgerFault
from gate.ledger import keys
from gate.ledger.checkpoint import Checkpoint, Signer
from gate.ledger.encoding import batch_of, encode
from gate.ledger.export import export
from gate.ledger.merkle import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_inclusion,
)
from gate.ledger.record import Decided, Mode, Pack, Pruned, Started
from gate.ledger.retention import DAY_S, Retention, prune_older
from gate.ledger.store import Ledger
from gate.ledger.verify import verify_export, verify_store
from gate.passage.decision import DenyReason, Lane

ORIGIN = "gate.example/main"
SIGNER = Signer(ORIGIN, bytes(range(32)))
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
START = Started(Mode.DEMO, Pack.EDGE, "ab" * 32, sandbox_ok=True, key_agent_ok=True)
DENY = Decided(granted=False, reason=DenyReason.NO_MATCH, lane=Lane.FACE)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def grow(ledger: Ledger, records: int, start: datetime = NOON) -> None:
    """Append so many records, a minute apart."""
    for index in range(records):
        ledger.append(DENY if ledger.size() else START, start + index * MINUTE)


def grown(path: Path, records: int) -> Ledger:
    """Open a new log that already has so many records, a minute apart, written at once."""
    Ledger.open(path, SIGNER, ORIGIN).close()
    frontier, batch = Frontier(), -1
    with closing(sqlite3.connect(path)) as db, db:
        for seq in range(records):
            last, batch = batch, batch_of(NOON + seq * MINUTE)
            if batch != last and seq:
                note = SIGNER.sign(Checkpoint(ORIGIN, seq, frontier.root()))
                db.execute("INSERT INTO checkpoints VALUES (?, ?)", (seq, note))
            body = encode(seq, batch, DENY if seq else START)
            frontier.append(leaf_hash(body))
            db.execute("INSERT INTO entries VALUES (?, ?)", (seq, body))
        note = SIGNER.sign(Checkpoint(ORIGIN, records, frontier.root()))
        db.execute("INSERT INTO checkpoints VALUES (?, ?)", (records, note))
    return Ledger.open(path, SIGNER, ORIGIN)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "ledger.db"


def seqs_on_disk(folder: Path) -> set[int]:
    """Every sequence number whose body's bytes stand in any file, live or not."""
    found = set[int]()
    for file in folder.rglob("*"):
        if file.is_file():
            found |= {int(n) for n in re.findall(rb'"seq":(\d+),', file.read_bytes())}
    return found


def test_the_bytes_of_pruned_bodies_are_gone_from_every_file(path: Path) -> None:
    with closing(grown(path, 700)) as ledger:
        grow(ledger, 400, NOON + 700 * MINUTE)  # these are in the write-ahead log as well
        assert seqs_on_disk(path.parent) == set(range(1100))
        assert ledger.prune(1024, NOON + DAY) == 1100
        assert not ledger.traces_left()
        assert seqs_on_disk(path.parent) == set(range(1024, 1101))
        assert ledger.pruned_below() == 1024
        grow(ledger, 100, NOON + DAY)
        assert seqs_on_disk(path.parent) == set(range(1024, 1201))
    assert seqs_on_disk(path.parent) == set(range(1024, 1201))


def test_the_scan_of_this_test_finds_what_a_plain_deletion_leaves(path: Path) -> None:
    """A control: without overwriting, bodies stay on the disk."""
    grown(path, 600).close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA secure_delete = OFF")
        db.execute("DELETE FROM entries WHERE seq < 512")
    assert len(seqs_on_disk(path.parent) & set(range(512))) > 400


def test_root_checkpoints_and_proofs_survive(path: Path, tmp_path: Path) -> None:
    with closing(grown(path, 700)) as ledger:
        kept = ledger.checkpoint_note()
        with closing(sqlite3.connect(path)) as db:
            leaves = [leaf_hash(body) for (body,) in db.execute("SELECT body FROM entries")]
        ledger.prune(512, NOON + DAY)
        report = verify_store(path, SIGNER.vkey, [kept])  # while the gate runs
        assert report.ok, report.problems
        assert (report.size, report.counts["pruned_entries"]) == (701, 512)
        assert report.counts["checkpoints"] > 40
    with closing(Ledger.open(path, SIGNER, ORIGIN)) as ledger:
        assert (ledger.size(), ledger.pruned_below()) == (701, 512)
        assert [entry.seq for entry in ledger.newest(1000)] == list(range(700, 511, -1))
        assert ledger.newest(1)[0].record == Pruned(512)
    with closing(sqlite3.connect(path)) as db:
        tiles = b"".join(h for (h,) in db.execute("SELECT hashes FROM leaf_tiles ORDER BY tile"))
        rest = [leaf_hash(b) for (b,) in db.execute("SELECT body FROM entries ORDER BY seq")]
    assert [tiles[at : at + 32] for at in range(0, len(tiles), 32)] == leaves[:512]
    leaves = leaves[:512] + rest
    root = bytes.fromhex(report.root_hex)
    assert verify_inclusion(leaves[3], 3, 701, inclusion_proof(leaves, 3), root)
    assert consistency_proof(leaves, 300)
    export(path, tmp_path / "export")
    exported = verify_export(tmp_path / "export", SIGNER.vkey, [kept])
    assert exported.ok, exported.problems
    assert (exported.root_hex, exported.counts["pruned_entries"]) == (report.root_hex, 512)
    assert seqs_on_disk(tmp_path / "export") == set(range(512, 701))


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE leaf_tiles SET hashes = zeroblob(8192) WHERE tile = 0",
        "UPDATE leaf_tiles SET hashes = zeroblob(8191) WHERE tile = 0",
        "UPDATE leaf_tiles SET tile = 7 WHERE tile = 1",
        "DELETE FROM leaf_tiles WHERE tile = 0",
        "DELETE FROM leaf_tiles WHERE tile = 1",
        "DELETE FROM leaf_tiles",
        "DELETE FROM entries WHERE seq = 512",
        "INSERT INTO entries SELECT 511, body FROM entries WHERE seq = 512",
        "UPDATE leaf_tiles SET hashes = 'x' WHERE tile = 0",
    ],
)
def test_tampering_with_a_pruned_log_is_found(path: Path, tampering: str) -> None:
    with closing(grown(path, 600)) as ledger:
        ledger.prune(512, NOON + DAY)
    try:
        with closing(sqlite3.connect(path)) as db, db:
            assert db.execute(tampering).rowcount > 0
    except sqlite3.IntegrityError:
        assert "'x'" in tampering  # the table is strict
        return
    assert not verify_store(path, SIGNER.vkey).ok
    with pytest.raises(LedgerFault, match="does not match"):
        Ledger.open(path, SIGNER, ORIGIN)


def test_bodies_that_are_removed_without_saying_so_are_missed(path: Path) -> None:
    """The gate with its key, but without the record."""
    grown(path, 600).close()
    with closing(sqlite3.connect(path)) as db, db:
        bodies = [body for (body,) in db.execute("SELECT body FROM entries WHERE seq < 256")]
        db.execute("INSERT INTO leaf_tiles VALUES (0, ?)", (b"".join(map(leaf_hash, bodies)),))
        db.execute("DELETE FROM entries WHERE seq < 256")
    (problem,) = verify_store(path, SIGNER.vkey).problems
    assert problem == "step 4: 256 bodies are missing, but the log says only 0 were pruned"


@pytest.mark.parametrize("below", [0, 100, 255, 257, 1024, -256])
def test_only_whole_tiles_that_are_there(path: Path, below: int) -> None:
    with closing(grown(path, 600)) as ledger:
        ledger.prune(256, NOON + DAY)
        for refused in (below, 256):
            with pytest.raises(ValueError, match=r"prune|closed schema"):
                ledger.prune(refused, NOON + DAY)
        assert (ledger.size(), ledger.pruned_below()) == (601, 256)
        ledger.append(DENY, NOON + DAY)


def test_a_reader_of_an_older_state_delays_the_last_step_only(path: Path) -> None:
    with closing(grown(path, 600)) as ledger:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as reader:
            reader.isolation_level = None
            reader.execute("BEGIN")
            assert reader.execute("SELECT count(*) FROM entries").fetchone() == (600,)
            ledger.prune(512, NOON + DAY)
            assert ledger.traces_left()
            ledger.append(DENY, NOON + DAY)
            assert reader.execute("SELECT count(*) FROM entries").fetchone() == (600,)
        ledger.append(DENY, NOON + DAY)
        assert seqs_on_disk(path.parent) == set(range(512, 603))
        assert not ledger.traces_left()


def test_appends_and_audits_go_on_while_the_log_is_pruned(path: Path) -> None:
    with closing(grown(path, 1300)) as ledger:

        def work() -> None:
            for _ in range(60):
                ledger.append(DENY, NOON + DAY)

        writer = threading.Thread(target=work)
        writer.start()
        for below in range(256, 1300, 256):
            ledger.prune(below, NOON + DAY)
            report = verify_store(path, SIGNER.vkey)
            assert report.ok, report.problems
        writer.join()
    assert verify_store(path, SIGNER.vkey).size == 1300 + 60 + 5


def test_age_is_what_counts(path: Path) -> None:
    with closing(grown(path, 600)) as ledger:
        assert ledger.prunable(NOON - DAY) == 0
        assert ledger.prunable(NOON + 255 * MINUTE) == 0  # entry 255 is in that quarter
        assert ledger.prunable(NOON + 270 * MINUTE) == 256
        assert ledger.prunable(NOON + DAY) == 512
        assert prune_older(ledger, 30, NOON + 30 * DAY) == 0
        assert prune_older(ledger, 30, NOON + 31 * DAY) == 512
        assert prune_older(ledger, 30, NOON + 31 * DAY) == 0
        # One young entry among old ones keeps its tile and all after it.
        ledger.append(DENY, NOON + 31 * DAY)
        grow(ledger, 170, NOON + DAY)
        assert ledger.size() > 768
        assert ledger.prunable(NOON + 2 * DAY) == 0


class Clock:
    """Both clocks of a gate, set by the test."""

    def __init__(self) -> None:
        self.utc, self.monotonic_s = NOON, 1000.0

    def move(self, days: float) -> None:
        self.utc += days * DAY
        self.monotonic_s += days * DAY_S


def test_a_running_gate_prunes_at_its_start_and_once_a_day(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    with closing(Ledger.open(path, SIGNER, ORIGIN)) as ledger:
        grow(ledger, 260, NOON - 40 * DAY)
        grow(ledger, 260, NOON - 29.5 * DAY)
        retention = Retention(ledger, 30, lambda: clock.utc, lambda: clock.monotonic_s)
        assert retention.prune_when_due() == 256
        clock.move(0.9)
        assert retention.prune_when_due() == 0
        clock.move(0.2)
        assert retention.prune_when_due() == 256
        clock.utc += 400 * DAY  # a clock that jumps destroys nothing
        clock.monotonic_s += DAY_S
        assert retention.prune_when_due() == 0
        assert "clock jumped ahead" in caplog.text
        caplog.clear()
        clock.utc -= 400 * DAY
        clock.move(31)
        ledger.close()
        assert retention.prune_when_due() == 0
        assert "no record is pruned" in caplog.text
    assert verify_store(path, SIGNER.vkey).ok


def test_a_log_that_was_killed_after_pruning_is_cleaned_when_it_is_opened(path: Path) -> None:
    with closing(grown(path, 600)) as ledger:
        held = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        held.execute("BEGIN")
        held.execute("SELECT * FROM entries").fetchone()
        ledger.prune(512, NOON + DAY)
        left = path.parent.with_name("left")
        left.mkdir()
        for file in path.parent.iterdir():
            (left / file.name).write_bytes(file.read_bytes())
            (left / file.name).chmod(0o600)
        held.close()
    assert min(seqs_on_disk(left)) < 512
    Ledger.open(left / path.name, SIGNER, ORIGIN).close()
    assert seqs_on_disk(left) == set(range(512, 601))


def test_the_command_prunes_a_stopped_gates_log(path: Path, tmp_path: Path) -> None:
    keys.save(SIGNER, tmp_path / "ledger.key")
    command = ["ledger", "prune", str(path), "--signer", str(tmp_path / "ledger.key")]
    run = CliRunner().invoke
    assert run(app, command).exit_code == 2
    with closing(grown(path, 600)):
        busy = run(app, command)
        assert (busy.exit_code, "another gate writes" in busy.stderr) == (2, True)
    assert run(app, [*command, "--keep-days", "29"]).exit_code == 2
    long_ago = run(app, [*command, "--keep-days", "36500", "--json"])
    assert json.loads(long_ago.stdout) == {
        "deleted": 0,
        "pruned_below": 0,
        "size": 600,
        "traces_left": False,
    }
    done = run(app, [*command, "--keep-days", "30"])
    assert done.exit_code == 0, done.output
    assert "512 records older than 30 days deleted; 89 kept" in done.stdout
    verified = run(app, ["ledger", "verify", str(path), "--vkey", SIGNER.vkey])
    assert verified.exit_code == 0, verified.output
    assert re.search(r"pruned_entries +512", verified.stdout)
    export(path, tmp_path / "export")
    verified = run(app, ["ledger", "verify", str(tmp_path / "export"), "--vkey", SIGNER.vkey])
    assert re.search(r"pruned_entries +512", verified.stdout), verified.output


def test_the_command_names_policies(path: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    policy.write_bytes(b"{}")
    command = ["ledger", "verify", str(path), "--vkey", SIGNER.vkey]
    with closing(Ledger.open(path, SIGNER, ORIGIN)) as ledger:
        ledger.append(START, NOON)
    run = CliRunner().invoke
    assert f"policy {'ab' * 32}: compare it; see --policy" in run(app, command).stdout
    unknown = run(app, [*command, "--policy", str(policy)])
    assert unknown.exit_code == 3
    assert "none of those given" in unknown.stdout
    missing = run(app, [*command, "--policy", str(tmp_path / "absent")])
    assert (missing.exit_code, "cannot be read" in missing.stderr) == (2, True)
