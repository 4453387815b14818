"""`gate witness`, and what a witness and a gate hand each other: parse, call, print, exit code."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gate.commands.options import Json, VKey, vkey_text
from gate.errors import ConfigError
from gate.exit_codes import ExitCode, ends_with_code

witness_app = typer.Typer(
    no_args_is_help=True,
    help="A witness of logs, run by somebody else than the gate's operator: it co-signs that a "
    "log only grew, so that nobody can be shown another history.",
)

Key = Annotated[
    Path, typer.Option("--key", help="The witness's key file, made by `gate witness keygen`.")
]
State = Annotated[
    Path | None,
    typer.Option("--state", help="The witness's memory; beside the key, KEY.state, otherwise."),
]


@witness_app.command(name="keygen")
@ends_with_code("gate")
def witness_keygen(
    name: Annotated[str, typer.Argument(help="A name like witness.example.org/w1.")],
    key: Annotated[Path, typer.Option("--key", help="The new key file, mode 0600.")],
    state: State = None,
) -> ExitCode:
    """Make a witness: a key, and the empty memory that belongs to it.

    Prints the verifier key, which gates name in [ledger] witnesses and auditors in --witness.
    Back up the key; never put an old copy of the memory back: it could sign two histories.
    """
    from gate.ledger.cosignature import generate_cosigner
    from gate.ledger.keys import write_secret
    from gate.witness.state import WitnessState

    cosigner = generate_cosigner(name, os.urandom)
    memory = _state(key, state)
    if key.exists():
        raise ConfigError(f"{key} exists", "a witness keeps its key; name another file")
    WitnessState.create(memory, cosigner.vkey)
    try:
        write_secret(cosigner.skey(), key, "a witness")
    except ConfigError:
        memory.unlink(missing_ok=True)
        raise
    typer.echo(cosigner.vkey)
    return ExitCode.OK


@witness_app.command(name="run")
@ends_with_code("gate")
def witness_run(
    key: Key,
    log: Annotated[
        list[str],
        typer.Option("--log", help="Verifier key of a log to co-sign (text or file). Repeat it."),
    ],
    state: State = None,
    host: Annotated[
        str, typer.Option("--host", help="Behind a proxy with TLS, 127.0.0.1 is right.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="0 takes a free one.")] = 8445,
) -> ExitCode:
    """Answer gates (C2SP tlog-witness) until Ctrl-C or SIGTERM.

    Never signs a smaller tree or another history; says on stderr what it refused and keeps it.
    """
    from gate.witness.running import run_until_signal

    return run_until_signal(key, _state(key, state), [vkey_text(text) for text in log], host, port)


@witness_app.command(name="list")
@ends_with_code("gate")
def witness_list(key: Key, state: State = None, as_json: Json = False) -> ExitCode:
    """Show what this witness co-signed last of each log, and how much it refused."""
    from gate.witness.running import open_witness

    cosigner, memory = open_witness(key, _state(key, state))
    try:
        found = memory.logs()
    finally:
        memory.close()
    if as_json:
        logs = [
            {"origin": s.origin, "size": s.size, "root_hex": s.root.hex(), "time_s": s.time_s}
            | {"refused": refused}
            for s, refused in found
        ]
        typer.echo(json.dumps({"vkey": cosigner.vkey, "logs": logs}))
        return ExitCode.OK
    typer.echo(cosigner.vkey)
    for seen, refused in found:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seen.time_s))
        doubt = f", {refused} that did not fit REFUSED" if refused else ""
        typer.echo(f"{seen.origin}: {seen.size} records, {at} UTC{doubt}")
    return ExitCode.OK


def ledger_cosign(
    folder: Annotated[Path, typer.Argument(help="A folder made by `gate ledger export`.")],
    vkey: VKey,
    key: Key,
    state: State = None,
    kept: Annotated[
        list[Path] | None,
        typer.Option("--kept", help="A checkpoint that you kept from before. May be repeated."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the result here, not to stdout.")
    ] = None,
    as_json: Json = False,
) -> ExitCode:
    """Verify an exported log as a whole and co-sign its newest checkpoint, without a network.

    For auditors of gates that reach no witness. Nothing is signed unless everything holds and the
    log goes on from what you co-signed before. Bring the result back with
    `gate ledger add-cosignature`.
    """
    from gate.ledger.witness_inbox import note_of
    from gate.whole_file import PUBLIC, write_whole
    from gate.witness.offline import cosign_export
    from gate.witness.running import open_witness

    if not folder.is_dir():
        raise ConfigError(f"{folder} is not an exported log", "make one with: gate ledger export")
    notes = [note_of(path) for path in kept or ()]
    cosigner, memory = open_witness(key, _state(key, state))
    try:
        report, note = cosign_export(
            folder, vkey_text(vkey), cosigner, memory, lambda: int(time.time()), notes
        )
    finally:
        memory.close()
    if note is not None and output is not None:
        try:
            write_whole(output, note.encode(), PUBLIC)
        except OSError as error:
            raise ConfigError(f"cannot write {output}: {error.strerror}", "name another") from None
    if as_json:
        typer.echo(json.dumps({"cosigned": note, "report": asdict(report)}))
    elif note is not None and output is None:
        typer.echo(note, nl=False)
    said = f"{report.size} records verified and co-signed" if note else "NOT CO-SIGNED"
    typer.echo(said, err=True)
    for problem in () if as_json else report.problems[:5]:
        typer.echo(f"  problem: {problem}", err=True)
    return ExitCode.NO if note is None else ExitCode.OK


def ledger_add_cosignature(
    file: Annotated[Path, typer.Argument(help="What `gate ledger cosign` wrote.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="The gate's TOML file.")],
) -> ExitCode:
    """Hand a co-signed checkpoint to the gate: a running one takes it within half a minute.

    A stopped gate takes it at its next start. The witness must stand in [ledger] witnesses.
    """
    from gate.ledger.handing_in import hand_in

    for line in hand_in(file, config):
        typer.echo(line)
    return ExitCode.OK


def add_cosigning_to(ledger_app: typer.Typer) -> None:
    """Put the commands that stand between a gate and a witness under `gate ledger`."""
    commands: dict[str, Callable[..., ExitCode]] = {
        "cosign": ledger_cosign,
        "add-cosignature": ledger_add_cosignature,
    }
    for name, command in commands.items():
        ledger_app.command(name=name)(ends_with_code("gate")(command))


def _state(key: Path, state: Path | None) -> Path:
    return state or key.with_name(key.name + ".state")
