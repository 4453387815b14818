"""`gate ledger prove` and `gate ledger check`: parse, call, exit code. See gate.proving."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gate.commands.options import Json, VKey, vkey_text
from gate.exit_codes import ExitCode, ends_with_code

prove_app = typer.Typer(
    no_args_is_help=True, help="Make a proof that stands alone and is checked offline."
)

Log = Annotated[
    Path, typer.Argument(help="A log file, an export, or a mirror of the tiles of a gate.")
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write here instead of to stdout.")
]
_PLACE = "a number of records that the log keeps a checkpoint of, or the file of a checkpoint"


@prove_app.command(name="inclusion")
@ends_with_code("gate")
def prove_inclusion(
    log: Log,
    seq: Annotated[int, typer.Argument(help="The sequence number of the record.", min=0)],
    at: Annotated[
        str | None, typer.Option("--at", help=f"Lead to this checkpoint ({_PLACE}).")
    ] = None,
    output: Output = None,
) -> ExitCode:
    """Prove that one record is in the log: a C2SP tlog-proof that carries the record.

    Exit code 3 when there is no such proof.
    """
    from gate.proving import inclusion

    return inclusion(log, seq, at, output)


@prove_app.command(name="consistency")
@ends_with_code("gate")
def prove_consistency(
    log: Log,
    old: Annotated[str, typer.Argument(help=f"The older checkpoint: {_PLACE}.")],
    new: Annotated[
        str | None, typer.Argument(help="The newer one, in the same way; the newest otherwise.")
    ] = None,
    output: Output = None,
) -> ExitCode:
    """Prove that the log only grew from one checkpoint to another.

    Exit code 3 when it did not.
    """
    from gate.proving import consistency

    return consistency(log, old, new, output)


def check(
    proof: Annotated[Path, typer.Argument(help="A file that `gate ledger prove` wrote.")],
    vkey: VKey,
    entry: Annotated[
        Path | None,
        typer.Option(
            "--entry",
            help="The record that the proof shall be about: one line of entries.jsonl. Needed "
            "only where the proof does not carry it.",
        ),
    ] = None,
    as_json: Json = False,
) -> ExitCode:
    """Check a proof offline; shares no code with the writer. Exit code 3 when it does not hold."""
    from gate.proving import check as check_file

    return check_file(proof, vkey_text(vkey), entry, as_json=as_json)


def add_to(ledger_app: typer.Typer) -> None:
    """Put both beside the other commands of the log."""
    ledger_app.add_typer(prove_app, name="prove")
    ledger_app.command(name="check")(ends_with_code("gate")(check))
