"""What a gate with its own key could put beside its records: `verify` leaves it no room there."""

from __future__ import annotations

import base64
import itertools
import json
import os
import random
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gate.ledger.checkpoint import Signer, open_note
from gate.ledger.cosignature import Cosigner
from gate.ledger.export import export
from gate.ledger.record import Decided, Mode, Pack, Started, VerifierDied
from gate.ledger.store import Ledger
from gate.ledger.verify import verify_export, verify_store
from gate.passage.decision import DenyReason, Lane

SIGNER = Signer("gate.example/main", bytes(range(32)))
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
START = Started(Mode.DEMO, Pack.EDGE, "ab" * 32, sandbox_ok=True, key_agent_ok=True)
DENY = Decided(granted=False, reason=DenyReason.NO_MATCH, lane=Lane.FACE)
EMBEDDING = random.Random(3).randbytes(512)
SAID = base64.b64encode(b"abcd" + EMBEDDING).decode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of one hour."""
    made = tmp_path / "ledger.db"
    with closing(Ledger.open(made, SIGNER, SIGNER.name)) as ledger:
        ledger.append(START, NOON)
        for minute in range(60):
            ledger.append(DENY, NOON + timedelta(minutes=minute))
    return made


def mirror_of(path: Path, folder: Path) -> Path:
    """A folder with nothing but what a gate serves."""
    export(path, folder)
    for name in ("entries.jsonl", "checkpoints.jsonl", "cosigned.jsonl", "vkey", "README.txt"):
        (folder / name).unlink()
    return folder


def own_line(note: str) -> str:
    return note.splitlines(keepends=True)[-1]


@pytest.mark.parametrize("which", ["min", "max"])
@pytest.mark.parametrize("line", [f"\u2014 x.example {SAID}\n", "own"])
def test_a_checkpoint_with_more_lines_than_its_signature(path: Path, which: str, line: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        size, note = db.execute(f"SELECT {which}(size), note FROM checkpoints").fetchone()
        more = own_line(note) if line == "own" else line
        db.execute("UPDATE checkpoints SET note = ? WHERE size = ?", (note + more, size))
    report = verify_store(path, SIGNER.vkey)
    assert [problem.partition(":")[0] for problem in report.problems] == ["step 10"]
    folder = path.parent / "export"
    export(path, folder)
    report = verify_export(folder, SIGNER.vkey)
    assert "carries more than its signature" in report.problems[0]


@pytest.mark.parametrize(
    ("lines", "ok"),
    [
        (["w1"], True),
        ([f"w{n}" for n in range(16)], True),
        ([f"w{n}" for n in range(17)], False),
        (["w1", "w1"], False),
        (["long"], False),
        (["own"], False),
    ],
)
def test_a_mirror_carries_co_signatures_only(path: Path, lines: list[str], ok: bool) -> None:
    folder = mirror_of(path, path.parent / "mirror")
    note = (folder / "checkpoint").read_text()
    blob = base64.b64encode(b"wits" + (1_790_000_000).to_bytes(8, "big") + EMBEDDING[:64]).decode()
    known = {"own": own_line(note), "long": f"\u2014 x.example {SAID}\n"}
    more = [known.get(name, f"\u2014 {name} {blob}\n") for name in lines]
    (folder / "checkpoint").write_text(note + "".join(more))
    report = verify_export(folder, SIGNER.vkey)
    assert report.ok is ok, report.problems


def test_which_checkpoints_are_kept_is_no_choice(path: Path) -> None:
    """One more or less at each record would be a bit, and the random half of each signature."""
    with closing(sqlite3.connect(path)) as db, db:
        rows = [body for (body,) in db.execute("SELECT body FROM entries ORDER BY seq")]
        ends = {n for n, (a, b) in enumerate(itertools.pairwise(rows), 1) if batch(a) != batch(b)}
        kept = {size for (size,) in db.execute("SELECT size FROM checkpoints")}
        assert kept == ends | {0, len(rows)}
    part = path.parent / "part.db"
    with closing(Ledger.open(part, SIGNER, SIGNER.name)) as ledger:
        ledger.append(START, NOON)
        ledger.append(DENY, NOON)
        within = ledger.checkpoint_note()
        ledger.append(DENY, NOON)
    assert verify_store(part, SIGNER.vkey).ok
    assert open_note(within, SIGNER.vkey).size == 2
    with closing(sqlite3.connect(part)) as db, db:
        db.execute("INSERT INTO checkpoints VALUES (2, ?)", (within,))
    (problem,) = verify_store(part, SIGNER.vkey).problems
    assert "where no quarter of an hour ends" in problem


def batch(body: bytes) -> int:
    return int(json.loads(body)["batch"])


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE log ADD COLUMN more BLOB",
        "ALTER TABLE entries ADD COLUMN more BLOB",
        "CREATE INDEX more ON entries (body)",
        "CREATE TABLE more (face BLOB)",
    ],
)
def test_a_file_with_room_that_a_log_has_not(path: Path, change: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(change)
    assert (
        "step 10: the file has other tables than a log has"
        in verify_store(path, SIGNER.vkey).problems
    )


def test_a_view_without_end_is_not_looked_through(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TABLE entries")
        db.execute(
            "CREATE VIEW entries AS WITH RECURSIVE r(seq) AS (SELECT 0 UNION ALL SELECT seq + 1"
            " FROM r) SELECT seq, x'00' AS body FROM r WHERE seq < 0"
        )
    assert (
        "step 10: the file has other tables than a log has"
        in verify_store(path, SIGNER.vkey).problems
    )


def test_a_path_that_is_no_text(path: Path) -> None:
    odd = path.with_name(os.fsdecode(b"log\xff.db"))
    path.rename(odd)
    assert verify_store(odd, SIGNER.vkey).ok
    assert export(odd, path.parent / "export") == 61


def test_folders_below_the_tiles(path: Path) -> None:
    for name in ("link", EMBEDDING[:100].hex()):
        folder = path.parent / f"export-{name[:4]}"
        export(path, folder)
        place = folder / "tile" / name
        place.symlink_to("/etc") if name == "link" else place.mkdir()
        (problem,) = verify_export(folder, SIGNER.vkey).problems
        assert "a folder that does not belong" in problem


def test_lines_of_witnesses_whom_nobody_named_are_counted(path: Path) -> None:
    named, other = (Cosigner(name, bytes([n]) * 32) for n, name in enumerate(("w1", "w2"), 1))
    with closing(Ledger.open(path, SIGNER, SIGNER.name)) as ledger:
        note = ledger.checkpoint_note()
        text = note.rpartition("\n\n")[0] + "\n"
        for witness in (named, other):
            line = witness.cosign(text, 1_790_000_000)
            ledger.keep_cosigned(witness.key.ident, ledger.size(), note + line)
    report = verify_store(path, SIGNER.vkey, witnesses=[named.vkey])
    assert (report.ok, report.counts["cosigned_not_checked"]) == (True, 1)
    both = verify_store(path, SIGNER.vkey, witnesses=[named.vkey, other.vkey])
    assert "cosigned_not_checked" not in both.counts
    with closing(sqlite3.connect(path)) as db, db:
        raw = other.key.key.key_id + (1_790_000_000).to_bytes(8, "big") + EMBEDDING[:64]
        forged = f"{note}\u2014 w2 {base64.b64encode(raw).decode()}\n"
        db.execute("UPDATE cosigned SET note = ? WHERE witness LIKE 'w2+%'", (forged,))
    report = verify_store(path, SIGNER.vkey, witnesses=[named.vkey, other.vkey], witnesses_needed=1)
    assert "is not signed by its witness" in report.problems[0]


def test_what_went_since_a_kept_checkpoint_is_counted(tmp_path: Path) -> None:
    made = tmp_path / "ledger.db"
    with closing(Ledger.open(made, SIGNER, SIGNER.name)) as ledger:
        ledger.append(START, NOON)
        kept = ledger.checkpoint_note()
        for _ in range(299):
            ledger.append(DENY, NOON)
        ledger.prune(256, NOON)
        late = ledger.checkpoint_note()
    assert verify_store(made, SIGNER.vkey, [kept]).counts["pruned_since_kept"] == 255
    assert "pruned_since_kept" not in verify_store(made, SIGNER.vkey, [late]).counts


def test_more_deaths_than_passages_are_counted(tmp_path: Path) -> None:
    made = tmp_path / "ledger.db"
    death = VerifierDied(0, 8, 1, True, 2, 4, False, True, True, 4096, 64, 0)
    with closing(Ledger.open(made, SIGNER, SIGNER.name)) as ledger:
        for record in (START, DENY, death, DENY, death, death, death, DENY):
            ledger.append(record, NOON)
    assert verify_store(made, SIGNER.vkey).counts["verifiers_without_decision"] == 2
