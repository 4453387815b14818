"""`gate ledger`: parse, call, print, exit code. What happens is in gate.auditing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gate.cli_options import Json, VKey, vkey_text
from gate.exit_codes import ExitCode, ends_with_code

ledger_app = typer.Typer(no_args_is_help=True, help="The log: verify it, export it, prove.")


@ledger_app.command(name="verify")
@ends_with_code("gate")
def ledger_verify(
    path: Annotated[Path, typer.Argument(help="A log file, or a folder made by `ledger export`.")],
    vkey: VKey,
    kept: Annotated[
        list[Path] | None,
        typer.Option(
            "--kept",
            help="A signed checkpoint that you kept from before (the file `checkpoint` of an "
            "export). May be repeated.",
        ),
    ] = None,
    as_json: Json = False,
) -> ExitCode:
    """Check a log without trusting the gate that wrote it; shares no code with the writer.

    A log that was cut short or rewritten with the gate's own key verifies by itself. Only a
    checkpoint that you kept elsewhere shows it: give it with --kept.
    """
    from gate.auditing import verify

    return verify(path, vkey_text(vkey), as_json=as_json, kept=kept or ())


@ledger_app.command(name="export")
@ends_with_code("gate")
def ledger_export(
    path: Annotated[Path, typer.Argument(help="The log file of a gate.")],
    folder: Annotated[Path, typer.Argument(help="A new folder for the export.")],
) -> ExitCode:
    """Write a log as plain files, so that an auditor can check it with tools of his own."""
    from gate.auditing import export_to

    export_to(path, folder)
    typer.echo(folder)
    return ExitCode.OK
