"""`gate ledger prove` and `gate ledger check`: proofs that stand alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import typer

from gate.errors import ConfigError
from gate.exit_codes import ExitCode
from gate.ledger.proof_bundle import (
    FileLog,
    FolderLog,
    NoProof,
    ProvableLog,
    claims,
    prove_consistency,
    prove_inclusion,
)
from gate.ledger.verify.bundle import PROOF_BYTES_MAX, ProofReport, check_proof
from gate.whole_file import PUBLIC, write_whole

_NOTE_BYTES_MAX = 64 * 1024
_SIZES_NAMED = 4


def inclusion(path: Path, seq: int, at: str | None, output: Path | None) -> ExitCode:
    """Prove that one record is in a log.

    Args:
        path: a log file, an export or a mirror.
        seq: the record's sequence number.
        at: a number of records or a checkpoint file; the newest checkpoint otherwise.
        output: where to write; stdout otherwise.
    """
    log = _log(path)
    return _give(lambda: prove_inclusion(log, seq, _checkpoint(log, at)), output)


def consistency(path: Path, old: str, new: str | None, output: Path | None) -> ExitCode:
    """Prove that a log only grew from one checkpoint to another; arguments as in `inclusion`."""
    log = _log(path)
    return _give(
        lambda: prove_consistency(log, _checkpoint(log, old), _checkpoint(log, new)), output
    )


def check(proof: Path, vkey: str, entry: Path | None, *, as_json: bool) -> ExitCode:
    """Check a proof and say what it shows."""
    record = None if entry is None else _content(entry, PROOF_BYTES_MAX).removesuffix(b"\n")
    report = check_proof(_content(proof, PROOF_BYTES_MAX + 1), vkey, record)
    if as_json:
        typer.echo(json.dumps(asdict(report), indent=1))
    else:
        for line in _words(report):
            typer.echo(line)
    return ExitCode.OK if report.ok else ExitCode.NO


def _words(report: ProofReport) -> list[str]:
    if not report.ok:
        return [f"DOES NOT HOLD: {report.problem}"]
    if report.kind == "inclusion":
        record = json.dumps(report.record, sort_keys=True, separators=(",", ":"))
        return [
            f"HOLDS: record {report.index} is in the log of {report.origin}, as it was when it "
            f"had {report.size} records",
            f"  {record}",
        ]
    return [
        f"HOLDS: the log of {report.origin} only grew from {report.old_size} to {report.size} "
        "records; nothing before was changed or taken away"
    ]


def _log(path: Path) -> ProvableLog:
    if not path.exists():
        raise ConfigError(f"{path} does not exist", "name a log file, an export or a mirror")
    return FolderLog(path) if path.is_dir() else FileLog(path)


def _checkpoint(log: ProvableLog, place: str | None) -> str:
    """Return a checkpoint by its number of records, by its file, or the newest."""
    notes = log.notes()
    if not notes:
        raise ConfigError("the log has no checkpoint", "verify it")
    if place is None:
        return notes[-1]
    if not place.isdecimal():
        return _content(Path(place), _NOTE_BYTES_MAX).decode("utf-8", errors="replace")
    size = int(place)
    by_size = {claims(note).size: note for note in notes}
    if size not in by_size:
        near = sorted(sorted(by_size, key=lambda one: abs(one - size))[:_SIZES_NAMED])
        raise ConfigError(
            f"the log keeps no checkpoint of {size} records",
            f"near it are {', '.join(map(str, near))}; or name the file of one that you kept",
        )
    return by_size[size]


def _content(file: Path, limit: int) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(limit)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", "check the name") from None


def _give(make: Callable[[], str], output: Path | None) -> ExitCode:
    try:
        text = make()
    except NoProof as no:
        typer.echo(f"NO PROOF: {no.diagnostics()}")
        return ExitCode.NO
    if output is None:
        typer.echo(text, nl=False)
        return ExitCode.OK
    try:
        write_whole(output, text.encode(), PUBLIC)
    except OSError as error:
        raise ConfigError(f"{output} cannot be written: {error.strerror}", "check it") from None
    typer.echo(output)
    return ExitCode.OK
