"""`gate ledger`: what an auditor sees. The checks themselves are in gate.ledger.verify."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import Progress

from gate.audit_words import lines_of
from gate.errors import ConfigError
from gate.exit_codes import ExitCode
from gate.ledger import keys
from gate.ledger.export import export
from gate.ledger.retention import prune_older
from gate.ledger.store import Ledger
from gate.ledger.verify import Report, verify_export, verify_store

PROBLEMS_SHOWN = 5
"""The first break is the one that tells; the rest follows from it."""
_NOTE_BYTES_MAX = 64 * 1024
_TIME_MAX_S = 253_402_300_799
"""The last second that a date can say."""


def verify(
    path: Path,
    vkey: str,
    *,
    as_json: bool,
    kept: Sequence[Path] = (),
    policies: Sequence[Path] = (),
    witnesses: Sequence[str] = (),
    witnesses_needed: int | None = None,
) -> ExitCode:
    """Verify a log file or an export; print what was found.

    Args:
        path: the log file, or an export folder.
        vkey: the verifier key.
        as_json: print the result for machines.
        kept: files that each hold one signed checkpoint of this log, kept from before.
        policies: every policy that was published for this gate; any other is a problem then.
        witnesses: verifier keys of witnesses that the auditor trusts.
        witnesses_needed: how many of them must have co-signed; all when None.

    Raises:
        ConfigError: there is nothing at `path`, or a kept checkpoint or policy cannot be read.
    """
    if not path.exists():
        raise ConfigError(f"{path} does not exist", "name a log file or an export folder")
    notes = [_note(file) for file in kept]
    check = verify_export if path.is_dir() else verify_store
    known = {_sha256(file): file for file in policies}
    report = check(
        path,
        vkey,
        notes,
        policies=known.keys(),
        now=datetime.now(UTC),
        witnesses=witnesses,
        witnesses_needed=witnesses_needed,
    )
    if as_json:
        typer.echo(json.dumps(asdict(report), indent=1))
        return ExitCode.OK if report.ok else ExitCode.NO
    verdict = "VERIFIED" if report.ok else "NOT VERIFIED"
    typer.echo(f"{verdict}: {report.size} records, root {report.root_hex}")
    for file, fits in zip(kept, report.kept, strict=True):
        answer = "this log continues it" if fits else "NOT of this log"
        typer.echo(f"  kept checkpoint {file}: {answer}")
    for line in _witnessed(report):
        typer.echo(f"  {line}")
    for policy in dict.fromkeys(report.policies):
        where = known.get(policy, "none of those given" if known else "compare it; see --policy")
        typer.echo(f"  policy {policy}: {where}")
    for problem in report.problems[:PROBLEMS_SHOWN]:
        typer.echo(f"  problem: {problem}")
    if len(report.problems) > PROBLEMS_SHOWN:
        typer.echo(f"  and {len(report.problems) - PROBLEMS_SHOWN} more problems; see --json")
    for line in lines_of(report.counts):
        typer.echo(line)
    return ExitCode.OK if report.ok else ExitCode.NO


def _witnessed(report: Report) -> list[str]:
    lines = []
    for seen in report.witnesses:
        if seen.size is None or seen.time_s is None:
            lines.append(f"witness {seen.witness}: co-signed NOTHING of this log")
        else:
            at = datetime.fromtimestamp(min(seen.time_s, _TIME_MAX_S), UTC)
            lines.append(
                f"witness {seen.witness}: co-signed {seen.size} records, {at:%Y-%m-%d %H:%M:%S} UTC"
            )
    if report.witnessed_size is not None:
        after = report.size - report.witnessed_size
        lines.append(f"witnessed: {report.witnessed_size} records; {after} came after")
    return lines


def prune(
    path: Path,
    signer: Path,
    keep_days: int,
    *,
    as_json: bool,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> ExitCode:
    """Delete the old records of a log that no gate writes at the moment; print how many.

    Raises:
        ConfigError: there is no log at `path`, or its key cannot be read.
        LedgerFault: a gate writes it, or it cannot be written.
    """
    if not path.is_file():
        raise ConfigError(f"{path} is not a log file", "name the file that [ledger] path names")
    key = keys.load(signer)
    with closing(Ledger.open(path, key, key.name)) as ledger:
        deleted = prune_older(ledger, keep_days, now())
        below, size, traces = ledger.pruned_below(), ledger.size(), ledger.traces_left()
    if as_json:
        found = {"deleted": deleted, "pruned_below": below, "size": size, "traces_left": traces}
        typer.echo(json.dumps(found, indent=1))
    else:
        typer.echo(f"{deleted} records older than {keep_days} days deleted; {size - below} kept")
    if traces:
        typer.echo("somebody reads the log: the old bytes go when it is next opened", err=True)
    return ExitCode.NO if traces else ExitCode.OK


def _sha256(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(
            f"the policy {file} cannot be read: {error.strerror}",
            "name the signed file that was published",
        ) from None


def _note(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            raw = opened.read(_NOTE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(
            f"the kept checkpoint {file} cannot be read: {error.strerror}",
            "name the file 'checkpoint' of an earlier export",
        ) from None
    # What is no signed note of this log is found as such (step 8).
    return raw.decode("utf-8", errors="replace") if len(raw) <= _NOTE_BYTES_MAX else ""


def export_to(path: Path, folder: Path) -> None:
    """Export a log into a new folder.

    Raises:
        ConfigError: there is no log at `path`, or the folder already holds something.
    """
    if not path.is_file():
        raise ConfigError(f"{path} is not a log file", "name the file that [ledger] path names")
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty", "name a new folder")
    with Progress(console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(f"exporting {path.name}", total=None)
        export(path, folder, lambda done, size: shown.update(task, completed=done, total=size))
