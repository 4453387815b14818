"""The `gate` command: parse, call, print, exit code. Nothing else happens here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gate.commands.keys import keys_app
from gate.commands.ledger import ledger_app
from gate.commands.models import models_app
from gate.commands.options import DEFAULT_CACHE, CacheDir, Json, ModelsDir, VKey, vkey_text
from gate.commands.probe import probe_command
from gate.commands.selftest import self_test_command
from gate.commands.witness import witness_app
from gate.exit_codes import EXIT_CODES_HELP, ExitCode, ends_with_code

app = typer.Typer(
    name="gate",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="A door that compares ONE live face with ONE template on the person's own card, "
    "and keeps neither.\n\nStart with `gate demo`. " + EXIT_CODES_HELP,
)
app.add_typer(models_app, name="models")
app.add_typer(ledger_app, name="ledger")
app.add_typer(witness_app, name="witness")
app.add_typer(keys_app, name="keys")

ConfigPath = Annotated[
    Path, typer.Option("--config", "-c", help="The gate's TOML file; see gate.example.toml.")
]


@app.command()
@ends_with_code("gate")
def demo(
    pack: Annotated[
        str,
        typer.Option("--pack", help="bootstrap, edge, or auto: edge when its files can be had."),
    ] = "auto",
    models: ModelsDir = None,
    cache: CacheDir = DEFAULT_CACHE,
    camera: Annotated[
        str | None,
        typer.Option(
            "--camera",
            help="Use a camera instead of the sample photographs: 0, a video file, a folder of "
            "images, or rtsp://...",
        ),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Leave the kiosk, admin and audit pages running.")
    ] = False,
    port: Annotated[int, typer.Option("--port", help="Port of the pages; 0 takes a free one.")] = 0,
    as_json: Json = False,
) -> ExitCode:
    """Walk through one door, step by step, on real photographs.

    Builds the models, makes a demo site, enrols a person, walks twelve passages (owner, another
    person, two faces, nobody, PIN, cloned, revoked, expired card, unplugged turnstile, withdrawn
    consent), verifies the log and looks for residues. Exit code 0 only when every outcome was the
    expected one.
    """
    from gate.demo.walk import Options, walk  # the demo stands above enrolment; see pyproject

    return walk(Options(pack, models, cache, camera, serve, port, as_json))


@app.command(name="run")
@ends_with_code("gate")
def run_gate(config: ConfigPath) -> ExitCode:
    """Run one gate until SIGTERM or Ctrl-C.

    A passage under way is finished when it is already granted, and denied otherwise.
    """
    from gate.running import run_until_signal

    return run_until_signal(config)


@app.command(name="check-config")
@ends_with_code("gate")
def check_config(config: ConfigPath, as_json: Json = False) -> ExitCode:
    """Read configuration, keys, policy, trust and models as `gate run` would; move no device."""
    from gate.checking import check

    lines = check(config)
    if as_json:
        typer.echo(json.dumps([{"part": part, "what": what} for part, what in lines]))
    else:
        for part, what in lines:
            typer.echo(f"{part:<12} {what}")
    return ExitCode.OK


@app.command()
@ends_with_code("gate")
def console(
    ledger: Annotated[Path, typer.Option("--ledger", help="The log of a gate.")],
    vkey: VKey,
    host: Annotated[str, typer.Option("--host")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="0 takes a free one.")] = 8444,
) -> ExitCode:
    """Serve the admin and audit pages of a log, apart from any gate, until Ctrl-C."""
    from gate.running import serve_console

    return serve_console(ledger, vkey_text(vkey), host, port)


app.command(name="self-test")(self_test_command)
app.command(name="probe")(probe_command)


def main() -> None:
    """Entry point."""
    app()


if __name__ == "__main__":
    main()
