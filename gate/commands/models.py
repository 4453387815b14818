"""`gate models`: fetch, verify and list model packs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gate.commands.options import DEFAULT_CACHE, CacheDir, Json, ModelsDir
from gate.exit_codes import ExitCode, ends_with_code

models_app = typer.Typer(no_args_is_help=True, help="Model packs: fetch, verify, list.")

PackName = Annotated[str, typer.Argument(help="bootstrap or edge.")]


@models_app.command(name="list")
@ends_with_code("gate")
def models_list(as_json: Json = False) -> ExitCode:
    """Show the packs: what is in them, licences, thresholds and where those come from."""
    from gate.model_packs import list_packs

    list_packs(as_json=as_json)
    return ExitCode.OK


@models_app.command(name="fetch")
@ends_with_code("gate")
def models_fetch(
    pack: PackName = "bootstrap", models: ModelsDir = None, cache: CacheDir = DEFAULT_CACHE
) -> ExitCode:
    """Bring one pack into the cache; every file is checked against its SHA-256 first."""
    from gate.model_packs import fetch

    typer.echo(fetch(pack, cache, models))
    return ExitCode.OK


@models_app.command(name="verify")
@ends_with_code("gate")
def models_verify(
    pack: PackName = "bootstrap",
    folder: Annotated[
        Path | None, typer.Option("--dir", help="The pack's folder; the cache otherwise.")
    ] = None,
    cache: CacheDir = DEFAULT_CACHE,
) -> ExitCode:
    """Check the files of a pack against their SHA-256, without parsing any."""
    from gate.model_packs import verify

    return verify(folder or cache / "packs" / pack)
