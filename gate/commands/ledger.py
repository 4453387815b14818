"""`gate ledger`: parse, call, print, exit code. What happens is in gate.auditing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gate.commands.options import Json, VKey, vkey_text
from gate.commands.proofs import add_to
from gate.commands.witness import add_cosigning_to
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
    policy: Annotated[
        list[Path] | None,
        typer.Option(
            "--policy",
            help="A policy that was published for this gate. May be repeated; once given, a "
            "record that names any other policy is a problem.",
        ),
    ] = None,
    witness: Annotated[
        list[str] | None,
        typer.Option(
            "--witness",
            help="Verifier key of a witness you trust (text or file). May be repeated.",
        ),
    ] = None,
    witnesses_needed: Annotated[
        int | None,
        typer.Option(
            "--witnesses-needed", help="How many of them must have co-signed; otherwise all."
        ),
    ] = None,
    as_json: Json = False,
) -> ExitCode:
    """Check a log without trusting the gate that wrote it; shares no code with the writer.

    A log that was cut short or rewritten with the gate's own key verifies by itself. Only a
    checkpoint that you kept elsewhere shows it: give it with --kept. A log that tells two people
    two histories cannot have told both to one witness: name those you trust with --witness.
    """
    from gate.auditing import verify

    return verify(
        path,
        vkey_text(vkey),
        as_json=as_json,
        kept=kept or (),
        policies=policy or (),
        witnesses=[vkey_text(text) for text in witness or ()],
        witnesses_needed=witnesses_needed,
    )


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


@ledger_app.command(name="prune")
@ends_with_code("gate")
def ledger_prune(
    path: Annotated[Path, typer.Argument(help="The log file of a gate that is stopped.")],
    signer: Annotated[Path, typer.Option("--signer", help="The log's key ([ledger] signer).")],
    keep_days: Annotated[
        int, typer.Option("--keep-days", min=30, help="Records older than this are deleted.")
    ] = 365,
    as_json: Json = False,
) -> ExitCode:
    """Delete the oldest records, 256 at a time; their hashes stay, so the log still verifies.

    A gate that runs does this by itself once a day ([ledger] keep_days). How long records must be
    kept, and how long they may be, is for the site to decide by its law.
    """
    from gate.auditing import prune

    return prune(path, signer, keep_days, as_json=as_json)


add_to(ledger_app)
add_cosigning_to(ledger_app)
