"""`gate ledger`: what an auditor sees. The checks themselves are in gate.ledger.verify."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from gate.errors import ConfigError
from gate.exit_codes import ExitCode
from gate.ledger.export import export
from gate.ledger.verify import verify_export, verify_store


def verify(path: Path, vkey: str, *, as_json: bool) -> ExitCode:
    """Verify a log file or an export; print what was found.

    Raises:
        ConfigError: there is nothing at `path`.
    """
    if not path.exists():
        raise ConfigError(f"{path} does not exist", "name a log file or an export folder")
    report = verify_export(path, vkey) if path.is_dir() else verify_store(path, vkey)
    out = Console()
    if as_json:
        out.print_json(json.dumps(asdict(report)))
    else:
        verdict = "VERIFIED" if report.ok else "NOT VERIFIED"
        out.print(f"{verdict}: {report.size} records, root {report.root_hex}", highlight=False)
        for problem in report.problems:
            out.print(f"  problem: {problem}", highlight=False, markup=False)
        for name, count in sorted(report.counts.items()):
            out.print(f"  {name:<28} {count}", highlight=False)
    return ExitCode.OK if report.ok else ExitCode.NO


def export_to(path: Path, folder: Path) -> None:
    """Export a log into a new folder.

    Raises:
        ConfigError: there is no log at `path`, or the folder already holds something.
    """
    if not path.is_file():
        raise ConfigError(f"{path} is not a log file", "name the file that [ledger] path names")
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty", "name a new folder")
    export(path, folder)
