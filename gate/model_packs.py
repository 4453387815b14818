"""`gate models`: what a person sees while packs are fetched, listed and verified."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn

from gate.exit_codes import ExitCode
from models.fetch import Progress as Step
from models.fetch import Report, fetch_pack
from models.manifest import manifest
from models.verified import verify_pack


@contextmanager
def progress_bars(console: Console) -> Iterator[Report]:
    """Show the steps of a fetch as bars; the bars go away when it ends."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        tasks: dict[str, int] = {}

        def report(step: Step) -> None:
            if step.what not in tasks:
                tasks[step.what] = progress.add_task(step.what, total=step.total_bytes)
            progress.update(tasks[step.what], completed=step.done_bytes, total=step.total_bytes)  # type: ignore[arg-type]  # TaskID

        yield report


def fetch(pack: str, cache: Path, models_dir: Path | None) -> Path:
    """Bring one pack into the cache with progress on stderr; return its folder."""
    console = Console(stderr=True)
    with progress_bars(console) as report:
        folder = fetch_pack(pack, cache, models_dir, report)
    console.print(f"{pack}: every file has the SHA-256 of models/manifest.toml")
    return folder


def verify(folder: Path) -> ExitCode:
    """Check the files of the pack in `folder` (its name is the pack's) by hash.

    Raises:
        ModelFault: the first file that is absent or differs.
    """
    verify_pack(folder)
    typer.echo(f"every file in {folder} has its SHA-256")
    return ExitCode.OK


def list_packs(*, as_json: bool) -> None:
    """Show every pack of the manifest."""
    packs = manifest().packs
    if as_json:
        typer.echo(json.dumps({name: asdict(spec) for name, spec in packs.items()}, indent=1))
        return
    for name, spec in packs.items():
        use = "production" if spec.for_production else "NOT for production"
        typer.echo(f"{name} ({use}): {spec.about}")
        typer.echo(f"  match_min_cos {spec.match_min_cos}, live_min {spec.live_min}")
        typer.echo(f"  thresholds: {spec.report.result}")
        typer.echo(f"  measured by: {spec.report.command}")
        for file in spec.files:
            typer.echo(f"  {file.name}: {file.role}, {file.size_bytes / 1e6:.1f} MB")
            typer.echo(f"    sha256 {file.sha256}")
            typer.echo(f"    licence {file.licence}")
