"""The store: durable, one writer, refuses what does not match; the audit sees every change."""

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from firmware_bridge.ports import Crossing, OpenResult
from gate.errors import ConfigError, LedgerFault
from gate.ledger.checkpoint import Checkpoint, Signer
from gate.ledger.encoding import batch_of, encode
from gate.ledger.export import export
from gate.ledger.merkle import Frontier, leaf_hash
from gate.ledger.record import (
    Act,
    Decided,
    Enrolled,
    FaultCode,
    Faulted,
    KeyPurpose,
    KeyUsed,
    Missed,
    Mode,
    Moved,
    Pack,
    Probed,
    Record,
    Started,
    Stopped,
)
from gate.ledger.store import Ledger
from gate.ledger.verify import Report, verify_export, verify_store
from gate.passage.decision import DenyReason, Lane
from gate.template.outcome import KeyOutcome

ORIGIN = "gate.example/main"
SIGNER = Signer(ORIGIN, bytes(range(32)))
OTHER = Signer(ORIGIN, bytes(32))
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
START = Started(Mode.DEMO, Pack.EDGE, "ab" * 32, sandbox_ok=True, key_agent_ok=True)
KEY = KeyUsed(KeyPurpose.TEMPLATE, KeyOutcome.RELEASED)
GRANT = Decided(granted=True, reason=None, lane=Lane.FACE)
DENY = Decided(granted=False, reason=DenyReason.NO_MATCH, lane=Lane.FACE)
MOVE = Moved(OpenResult.OPENED, Crossing.ONE)
DAY: list[Record] = [
    START,
    DENY,
    KEY,
    GRANT,
    MOVE,
    Probed(9, 8, 8, 0, 0, 2, 0),
    KEY,
    GRANT,
    MOVE,
    Stopped(clean=True),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def write(path: Path, records: list[Record], minutes: int = 6, start: datetime = NOON) -> None:
    with closing(Ledger.open(path, SIGNER, ORIGIN)) as ledger:
        for index, record in enumerate(records):
            ledger.append(record, start + timedelta(minutes=minutes * index))


def test_a_new_log_is_signed_and_private(path: Path) -> None:
    with closing(Ledger.open(path, SIGNER, ORIGIN)) as ledger:
        assert ledger.size() == 0
        assert ledger.newest(5) == ()
        assert ledger.checkpoint_note().startswith(f"{ORIGIN}\n0\n47DEQpj8HBSa+/TImW+5")
        for file in path.parent.iterdir():
            assert file.stat().st_mode & 0o077 == 0, file.name
        assert verify_store(path, SIGNER.vkey).ok


def test_records_come_back_newest_first_and_survive_reopening(path: Path) -> None:
    write(path, DAY)
    with closing(Ledger.open(path, SIGNER, ORIGIN)) as ledger:
        assert ledger.size() == len(DAY)
        assert [entry.record for entry in ledger.newest(100)] == DAY[::-1]
        assert [entry.seq for entry in ledger.newest(2)] == [9, 8]
        assert ledger.append(START, NOON) == 10
    report = verify_store(path, SIGNER.vkey)
    assert report.ok, report.problems
    assert report.size == 11
    assert report.policies == ("ab" * 32,)
    expected = {"grants": 2, "denials": 1, "moved.opened": 2, "crossing.one": 2, "started": 2}
    assert expected.items() <= report.counts.items()
    assert report.counts["clock_steps_back"] == 1
    assert "unclean_stops" not in report.counts


def test_no_exact_time_is_kept(path: Path) -> None:
    """Two logs whose records differ only within quarters of an hour are the same bytes."""
    other = path.with_name("other.db")
    write(path, DAY, minutes=15)
    write(other, DAY, minutes=15, start=NOON + timedelta(minutes=14, seconds=59))
    assert contents(path) == contents(other)


def test_one_checkpoint_a_quarter_of_an_hour_is_kept(path: Path) -> None:
    write(path, DAY, minutes=5)
    sizes = [size for size, _ in contents(path)["checkpoints"]]
    assert sizes == [0, 3, 6, 9, 10]
    assert verify_store(path, SIGNER.vkey).counts["checkpoints"] == 5


def test_many_threads_append_without_a_gap(path: Path) -> None:
    with closing(Ledger.open(path, SIGNER, ORIGIN)) as ledger:
        ledger.append(START, NOON)
        seqs: list[int] = []

        def work() -> None:
            for _ in range(25):
                seqs.append(ledger.append(DENY, NOON))
                ledger.newest(3)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(seqs) == list(range(1, 201))
        report = verify_store(path, SIGNER.vkey)  # while the writer has it open
        assert (report.ok, report.size) == (True, 201)


def test_the_audit_works_while_the_gate_writes(path: Path) -> None:
    with closing(Ledger.open(path, SIGNER, ORIGIN)) as ledger:
        ledger.append(START, NOON)
        done = threading.Event()

        def work() -> None:
            while not done.is_set():
                ledger.append(DENY, NOON)

        writer = threading.Thread(target=work)
        writer.start()
        try:
            for round_ in range(10):
                report = verify_store(path, SIGNER.vkey)
                assert report.ok, report.problems
                export(path, path.parent / f"export{round_}")
                assert verify_export(path.parent / f"export{round_}", SIGNER.vkey).ok
        finally:
            done.set()
            writer.join()


def test_a_second_gate_is_refused(path: Path) -> None:
    with closing(Ledger.open(path, SIGNER, ORIGIN)) as ledger:
        with pytest.raises(LedgerFault, match="another gate writes") as refused:
            Ledger.open(path, SIGNER, ORIGIN)
        assert "\n" not in refused.value.diagnostics()
        ledger.append(START, NOON)
    Ledger.open(path, SIGNER, ORIGIN).close()


def test_close_is_idempotent_and_a_closed_log_is_a_fault(path: Path) -> None:
    ledger = Ledger.open(path, SIGNER, ORIGIN)
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerFault):
        ledger.append(START, NOON)
    with pytest.raises(LedgerFault):
        ledger.newest(1)


def test_another_key_name_or_file_is_refused(path: Path) -> None:
    write(path, DAY)
    with pytest.raises(LedgerFault, match="another key"):
        Ledger.open(path, OTHER, ORIGIN)
    with pytest.raises(LedgerFault, match="belongs to"):
        Ledger.open(path, SIGNER, "gate.example/side")
    path.chmod(0o660)
    with pytest.raises(LedgerFault, match="other users") as refused:
        Ledger.open(path, SIGNER, ORIGIN)
    assert "chmod 600" in refused.value.advice
    with pytest.raises(LedgerFault, match="cannot open"):
        Ledger.open(path.parent / "absent" / "ledger.db", SIGNER, ORIGIN)
    text = path.with_name("text.db")
    text.write_text("not a database, but long enough to be taken for one" * 20)
    text.chmod(0o600)
    with pytest.raises(LedgerFault, match="not a whole SQLite file"):
        Ledger.open(text, SIGNER, ORIGIN)
    with closing(sqlite3.connect(path.with_name("foreign.db"))) as db:
        db.execute("CREATE TABLE faces (template BLOB)")
    path.with_name("foreign.db").chmod(0o600)
    with pytest.raises(LedgerFault, match="not a log"):
        Ledger.open(path.with_name("foreign.db"), SIGNER, ORIGIN)
    with pytest.raises(LedgerFault, match="no log"):
        verify_store(path.with_name("none.db"), SIGNER.vkey)
    with pytest.raises(ConfigError):
        verify_store(path, "nonsense")


def contents(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as db:
        return {
            table: db.execute(f"SELECT * FROM {table}").fetchall()
            for table in ("log", "entries", "checkpoints")
        }


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)
        assert db.total_changes or "CREATE" in statements[0] or "PRAGMA" in statements[0]


TAMPERING = {
    "a body": (
        "UPDATE entries SET body = "
        "CAST(replace(CAST(body AS TEXT), 'no_match', 'no_face') AS BLOB) WHERE seq = 1",
    ),
    "the newest gone": ("DELETE FROM entries WHERE seq = 9",),
    "the newest and its checkpoint gone": (
        "DELETE FROM entries WHERE seq > 4",
        "DELETE FROM checkpoints WHERE size > 5",
    ),
    "a middle one gone": ("DELETE FROM entries WHERE seq = 1",),
    "two swapped": (
        "UPDATE entries SET seq = 100 WHERE seq = 1",
        "UPDATE entries SET seq = 1 WHERE seq = 2",
        "UPDATE entries SET seq = 2 WHERE seq = 100",
    ),
    "one added": ("INSERT INTO entries SELECT 10, body FROM entries WHERE seq = 9",),
    "no checkpoint": ("DELETE FROM checkpoints",),
    "the newest checkpoint gone": (
        "DELETE FROM checkpoints WHERE size = (SELECT max(size) FROM checkpoints)",
    ),
    "a checkpoint's size": (
        "UPDATE checkpoints SET size = 99 WHERE size = (SELECT max(size) FROM checkpoints)",
    ),
    "another key's name": ("UPDATE log SET vkey = replace(vkey, 'gate', 'gat3')",),
    "no name": ("DELETE FROM log",),
}
SEEN_BY_THE_AUDITOR_ONLY = {
    "an earlier checkpoint": ("UPDATE checkpoints SET note = 'x' WHERE size = 3",),
    "an earlier checkpoint's root": (
        "UPDATE checkpoints SET note = (SELECT note FROM checkpoints WHERE size = 5) "
        "WHERE size = 3",
    ),
    "a table": ("CREATE TABLE faces (template BLOB)",),
    "a view": ("CREATE VIEW people AS SELECT 1",),
    "a mark": ("PRAGMA application_id = 7",),
}


@pytest.mark.parametrize("what", [*TAMPERING, *SEEN_BY_THE_AUDITOR_ONLY])
def test_tampering_is_found(path: Path, what: str) -> None:
    write(path, DAY)
    with closing(Ledger.open(path, SIGNER, ORIGIN)) as ledger:
        kept = ledger.checkpoint_note()
    assert verify_store(path, SIGNER.vkey, [kept]).ok
    change(path, *(TAMPERING | SEEN_BY_THE_AUDITOR_ONLY)[what])
    if what == "the newest and its checkpoint gone":
        # A log cut at an older checkpoint verifies by itself: that is why checkpoints are kept
        # elsewhere.
        assert verify_store(path, SIGNER.vkey).ok
    else:
        assert not verify_store(path, SIGNER.vkey).ok
        if what in TAMPERING or what == "a mark":
            with pytest.raises(LedgerFault):
                Ledger.open(path, SIGNER, ORIGIN)
    report = verify_store(path, SIGNER.vkey, [kept])
    assert not report.ok
    assert all(problem.startswith("step ") for problem in report.problems)


def test_a_rewritten_history_is_found_with_a_kept_checkpoint(path: Path) -> None:
    write(path, [START, DENY])
    with closing(Ledger.open(path, SIGNER, ORIGIN)) as ledger:
        kept = ledger.checkpoint_note()
    path.unlink()
    write(path, [START, START, DENY])
    assert verify_store(path, SIGNER.vkey).ok
    (problem,) = verify_store(path, SIGNER.vkey, [kept]).problems
    assert "rewritten" in problem
    for foreign in ("nonsense", OTHER.sign(Checkpoint(ORIGIN, 0, Frontier().root()))):
        assert not verify_store(path, SIGNER.vkey, [foreign]).ok


def test_a_signer_who_speaks_for_another_log_is_found(path: Path) -> None:
    write(path, [])
    note = SIGNER.sign(Checkpoint("gate.example/side", 0, Frontier().root()))
    change(path, f"UPDATE checkpoints SET note = '{note}'")
    assert any("step 2" in problem for problem in verify_store(path, SIGNER.vkey).problems)


def forge(path: Path, bodies: list[bytes]) -> Report:
    """A gate with its key that writes what the schema or the order forbids."""
    write(path, [])
    frontier = Frontier()
    with closing(sqlite3.connect(path)) as db, db:
        for seq, body in enumerate(bodies):
            frontier.append(leaf_hash(body))
            db.execute("INSERT INTO entries VALUES (?, ?)", (seq, body))
        note = SIGNER.sign(Checkpoint(ORIGIN, frontier.size, frontier.root()))
        db.execute("INSERT INTO checkpoints VALUES (?, ?)", (frontier.size, note))
    return verify_store(path, SIGNER.vkey)


FIRST = encode(0, batch_of(NOON), START)


@pytest.mark.parametrize(
    "body",
    [
        b'{"name":"someone"}',
        b"\xff" * 512,
        FIRST.replace(b'"mode":"demo"', b'"mode":"demo","name":"someone"'),
        FIRST.replace(b'"seq":0', b'"seq":1'),
        FIRST + b" ",
        b"",
    ],
)
def test_a_gate_that_writes_more_than_the_schema_is_found(path: Path, body: bytes) -> None:
    report = forge(path, [body])
    assert not report.ok
    assert report.problems[0].startswith(("step 4", "step 5"))
    assert "someone" not in " ".join(report.problems)


@pytest.mark.parametrize(
    ("records", "step_9"),
    [
        ([DENY], "where no gate was running"),
        ([START, Stopped(True), DENY], "where no gate was running"),
        ([START, MOVE], "has no grant"),
        ([START, DENY, MOVE], "has no grant"),
        ([START, KEY, GRANT, MOVE, MOVE], "has no grant"),
        ([START, KEY, GRANT, DENY], "no movement"),
        ([START, KEY, GRANT, KEY, GRANT, MOVE], "no movement"),
        ([START, KEY, GRANT, Stopped(True)], "no movement"),
        ([Enrolled(Act.ISSUED), Enrolled(Act.WITHDRAWN)], None),
        ([START, KEY, GRANT], None),
        ([START, KEY, GRANT, START], None),
        ([START, KEY, GRANT, Stopped(False), START], None),
        ([START, KEY, GRANT, Faulted(FaultCode.TAMPER), MOVE], None),
        ([START, KEY, GRANT, Missed(1), DENY], None),
    ],
)
def test_the_order_of_records(path: Path, records: list[Record], step_9: str | None) -> None:
    bodies = [encode(seq, 1, record) for seq, record in enumerate(records)]
    report = forge(path, bodies)
    if step_9 is None:
        assert report.ok, report.problems
        grants = report.counts.get("grants", 0) - report.counts.get("moved", 0)
        assert report.counts.get("grants_without_movement", 0) == grants
    else:
        assert not report.ok
        assert all("step 9" in problem for problem in report.problems)
        assert step_9 in report.problems[0]


def test_many_problems_are_counted_not_listed(path: Path) -> None:
    report = forge(path, [b"x"] * 200)
    assert len(report.problems) == 51
    assert report.problems[-1] == "and 150 more"


def byte_changes(raw: bytes, step: int) -> Iterator[bytes]:
    for place in range(0, len(raw), step):
        changed = bytearray(raw)
        changed[place] ^= 1 + place % 255
        yield bytes(changed)


def test_every_changed_byte_of_an_export_is_found(path: Path) -> None:
    write(path, DAY[:3], minutes=6)
    folder = path.parent / "export"
    assert export(path, folder) == 3
    assert verify_export(folder, SIGNER.vkey).ok
    for name in ("entries.jsonl", "checkpoint", "checkpoints.jsonl", "vkey"):
        raw = (folder / name).read_bytes()
        for changed in [*byte_changes(raw, 1), raw[:-1], raw + b"\n", raw + raw, b""]:
            (folder / name).write_bytes(changed)
            assert not verify_export(folder, SIGNER.vkey).ok, name
        (folder / name).write_bytes(raw)
    assert verify_export(folder, SIGNER.vkey).ok


def test_a_changed_byte_of_the_file_is_found_or_changes_nothing(path: Path) -> None:
    write(path, DAY)
    good, raw = contents(path), path.read_bytes()
    found = 0
    for changed in byte_changes(raw, 41):
        path.write_bytes(changed)
        try:
            ok = verify_store(path, SIGNER.vkey).ok
        except LedgerFault:
            ok = False
        found += not ok
        assert not ok or contents(path) == good
    assert found > 20


def test_an_export_is_whole_or_absent(path: Path, tmp_path: Path) -> None:
    write(path, DAY)
    folder = tmp_path / "audit" / "march"
    export(path, folder)
    assert sorted(item.name for item in folder.iterdir()) == [
        "README.txt",
        "checkpoint",
        "checkpoints.jsonl",
        "cosigned.jsonl",
        "entries.jsonl",
        "tile",
        "vkey",
    ]
    assert "전체 기록" in (folder / "README.txt").read_text(encoding="utf-8")
    before = (folder / "checkpoint").read_bytes()
    with pytest.raises(LedgerFault, match="cannot export"):
        export(path, folder)
    assert (folder / "checkpoint").read_bytes() == before
    with pytest.raises(LedgerFault, match="no log"):
        export(tmp_path / "absent.db", tmp_path / "x")
    (tmp_path / "bad.db").write_bytes(b"x" * 5000)
    with pytest.raises(LedgerFault, match="cannot read"):
        export(tmp_path / "bad.db", tmp_path / "x")
    assert [item.name for item in folder.parent.iterdir()] == ["march"]
    assert not list(tmp_path.glob("*.partial-*"))
    assert not list(tmp_path.glob(".x*"))
    empty = tmp_path / "empty"
    empty.mkdir()
    export(path, empty)
    (empty / "more.txt").write_text("x")
    assert any("step 10" in p for p in verify_export(empty, SIGNER.vkey).problems)
    shutil.rmtree(empty)
    with pytest.raises(LedgerFault, match="cannot read"):
        verify_export(empty, SIGNER.vkey)


def test_the_audit_leaves_no_trace(path: Path) -> None:
    write(path, DAY)

    def state() -> list[tuple[str, bytes]]:
        return sorted((item.name, item.read_bytes()) for item in path.parent.iterdir())

    before = state()
    act: Callable[[], Report] = lambda: verify_store(path, SIGNER.vkey)  # noqa: E731
    assert act().ok
    assert state() == before
