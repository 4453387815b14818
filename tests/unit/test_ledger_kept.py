"""`gate ledger verify --kept`: what only a checkpoint kept elsewhere can show."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from gate.cli import app
from gate.ledger.checkpoint import Checkpoint, Signer
from gate.ledger.export import export
from gate.ledger.merkle import Frontier
from gate.ledger.record import Decided, Mode, Pack, Record, Started
from gate.ledger.store import Ledger
from gate.passage.decision import DenyReason, Lane

ORIGIN = "gate.example/main"
SIGNER = Signer(ORIGIN, bytes(range(32)))
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
START = Started(Mode.DEMO, Pack.EDGE, "ab" * 32, sandbox_ok=True, key_agent_ok=True)
DENY = Decided(granted=False, reason=DenyReason.NO_MATCH, lane=Lane.FACE)


def write(path: Path, *records: Record) -> str:
    """Append to a log and return its checkpoint."""
    with closing(Ledger.open(path, SIGNER, ORIGIN)) as ledger:
        for record in records:
            ledger.append(record, NOON)
        return ledger.checkpoint_note()


def keep(path: Path, note: str) -> Path:
    path.write_text(note)
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    write(path, START, DENY)
    return path


def verify(path: Path, *kept: Path, more: tuple[str, ...] = ()) -> Result:
    options = [part for file in kept for part in ("--kept", str(file))]
    command = ["ledger", "verify", str(path), "--vkey", SIGNER.vkey, *options, *more]
    return CliRunner().invoke(app, command)


@pytest.mark.parametrize("exported", [False, True])
def test_a_log_that_goes_on_from_each_kept_checkpoint(
    log: Path, tmp_path: Path, *, exported: bool
) -> None:
    export(log, tmp_path / "first")
    newer = keep(tmp_path / "newer", write(log, DENY, DENY))
    if exported:
        export(log, tmp_path / "second")
        log = tmp_path / "second"
    result = verify(log, tmp_path / "first" / "checkpoint", newer)
    assert result.exit_code == 0, result.output
    flat = " ".join(result.stdout.split())
    assert f"kept checkpoint {newer}: this log continues it" in flat
    assert flat.count("this log continues it") == 2


@pytest.mark.parametrize("exported", [False, True])
def test_a_log_that_was_cut(log: Path, tmp_path: Path, *, exported: bool) -> None:
    shutil.copy(log, tmp_path / "cut.db")
    kept = keep(tmp_path / "kept", write(log, DENY))
    older = keep(tmp_path / "older", write(tmp_path / "cut.db"))
    cut = tmp_path / "cut.db"
    if exported:
        export(cut, tmp_path / "export")
        cut = tmp_path / "export"
    assert verify(cut).exit_code == 0, "it verifies by itself"
    result = verify(cut, older, kept)
    assert result.exit_code == 3
    assert "NOT VERIFIED" in result.stdout
    flat = " ".join(result.stdout.split())
    assert f"{older}: this log continues it" in flat
    assert f"{kept}: NOT of this log" in flat
    assert "step 8: the log was cut: 3 entries were signed, 2 are left" in flat


def test_a_log_that_was_rewritten(log: Path, tmp_path: Path) -> None:
    kept = keep(tmp_path / "kept", write(log))
    log.unlink()
    write(log, START, START, DENY)
    assert verify(log).exit_code == 0
    result = verify(log, kept, more=("--json",))
    assert result.exit_code == 3
    report = json.loads(result.stdout)
    assert (report["ok"], report["kept"]) == (False, [False])
    assert report["problems"] == [
        "step 8: the log was rewritten: kept checkpoint 0 has another root"
    ]


FOREIGN = Signer(ORIGIN, bytes(32)).sign(Checkpoint(ORIGIN, 0, Frontier().root()))


@pytest.mark.parametrize("note", [FOREIGN.encode(), b"", b"\xff\xfe", b"x" * 100_000])
def test_what_is_no_checkpoint_of_this_log(log: Path, tmp_path: Path, note: bytes) -> None:
    file = tmp_path / "note"
    file.write_bytes(note)
    result = verify(log, file)
    assert result.exit_code == 3
    assert "is not signed by this log" in " ".join(result.stdout.split())


def test_a_kept_file_that_is_not_there(log: Path, tmp_path: Path) -> None:
    result = verify(log, tmp_path / "nothing")
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert "cannot be read" in line
    assert "name the file 'checkpoint' of an earlier export" in line


def test_it_is_explained_where_an_auditor_looks(log: Path, tmp_path: Path) -> None:
    text = CliRunner().invoke(app, ["ledger", "verify", "--help"]).stdout
    assert "--kept" in text
    assert "kept elsewhere" in " ".join(text.replace("│", "").split())
    export(log, tmp_path / "export")
    assert (tmp_path / "export" / "README.txt").read_text().count("--kept") == 2
