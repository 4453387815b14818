"""A log that is deleted, moved or replaced while a gate writes it: no record counts as durable."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gate.errors import LedgerFault
from gate.ledger.checkpoint import Checkpoint, Signer
from gate.ledger.record import Decided, Mode, Pack, Started
from gate.ledger.store import Ledger
from gate.ledger.verify import verify_store
from gate.passage.decision import DenyReason, Lane

ORIGIN = "gate.example/main"
SIGNER = Signer(ORIGIN, bytes(range(32)))
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
START = Started(Mode.DEMO, Pack.EDGE, "ab" * 32, sandbox_ok=True, key_agent_ok=True)
DENY = Decided(granted=False, reason=DenyReason.NO_MATCH, lane=Lane.FACE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(path, SIGNER, ORIGIN)
    opened.append(START, NOON)
    opened.append(DENY, NOON)
    yield opened
    opened.close()


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def refuses(ledger: Ledger) -> None:
    size, note = ledger.size(), ledger.checkpoint_note()
    with pytest.raises(LedgerFault, match="moved, replaced or deleted") as fault:
        ledger.append(DENY, NOON)
    assert "stop the gate, restore the file with its -wal, start again" in fault.value.advice
    assert "\n" not in fault.value.diagnostics()
    assert (ledger.size(), ledger.checkpoint_note()) == (size, note)


def delete(*suffixes: str) -> Callable[[Path], object]:
    return lambda path: [beside(path, suffix).unlink() for suffix in suffixes]


def replace(suffix: str) -> Callable[[Path], object]:
    def copy_over(path: Path) -> None:
        file, fresh = beside(path, suffix), beside(path, ".fresh")
        shutil.copy(file, fresh)
        fresh.replace(file)

    return copy_over


def replace_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("before"))
    path.parent.mkdir()


def link_instead(path: Path) -> None:
    path.rename(beside(path, ".real"))
    path.symlink_to(beside(path, ".real"))


HARM: dict[str, Callable[[Path], object]] = {
    "all deleted": delete("", "-wal", "-shm"),
    "database deleted": delete(""),
    "wal deleted": delete("-wal"),
    "index deleted": delete("-shm"),
    "database replaced by its copy": replace(""),
    "wal replaced by its copy": replace("-wal"),
    "moved": lambda path: path.rename(beside(path, ".old")),
    "folder moved": replace_folder,
    "a link to it instead": link_instead,
    "wal cut in place": lambda path: os.truncate(beside(path, "-wal"), 0),
}


@pytest.mark.parametrize("what", HARM)
def test_a_record_is_refused_when_nobody_would_find_it(
    ledger: Ledger, path: Path, what: str
) -> None:
    HARM[what](path)
    refuses(ledger)
    refuses(ledger)


def test_a_log_that_comes_back_is_used_after_a_restart_only(ledger: Ledger, path: Path) -> None:
    away = path.parent.with_name("away")
    path.parent.rename(away)
    refuses(ledger)
    away.rename(path.parent)
    refuses(ledger)  # somebody may have read or written it meanwhile
    ledger.close()
    again = Ledger.open(path, SIGNER, ORIGIN)
    try:
        assert again.append(DENY, NOON) == 2
    finally:
        again.close()
    report = verify_store(path, SIGNER.vkey)
    assert (report.ok, report.size) == (True, 3), report.problems


def test_a_deletion_between_the_check_and_the_commit_is_seen(ledger: Ledger, path: Path) -> None:
    """The second look, after the commit: the record is nowhere, so it must not count."""

    class DeletesWhileSigning(Signer):
        def sign(self, checkpoint: Checkpoint) -> str:
            path.unlink()
            return super().sign(checkpoint)

    ledger.close()
    late = Ledger.open(path, SIGNER, ORIGIN)
    try:
        late._signer = DeletesWhileSigning(ORIGIN, bytes(range(32)))
        refuses(late)
    finally:
        late.close()


def test_readers_and_checkpoints_of_sqlite_do_not_disturb(ledger: Ledger, path: Path) -> None:
    """What an auditor does, and SQLite's own reuse of the write-ahead log, is no harm."""
    for round_ in range(1200):
        ledger.append(DENY, NOON)
        if round_ % 200 == 0:
            assert verify_store(path, SIGNER.vkey).ok
            ledger._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert verify_store(path, SIGNER.vkey).size == 1202


def test_no_descriptor_is_left_behind(path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        Ledger.open(path, SIGNER, ORIGIN).close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
