"""`gate keys`: make template keys, show which ones a gate holds, give their public halves out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gate.errors import ConfigError
from gate.exit_codes import ExitCode, ends_with_code
from gate.template.key_source import DEFAULT_TPM

keys_app = typer.Typer(
    no_args_is_help=True,
    help="The key that opens templates: make it, show it. Which kind for whom: docs/keys.md.",
)
make_app = typer.Typer(no_args_is_help=True, help="Make a new key: in a TPM, a token or a file.")
keys_app.add_typer(make_app, name="make")

_Config = Annotated[
    Path, typer.Option("--config", "-c", help="The gate's TOML file; see gate.example.toml.")
]
_Json = Annotated[bool, typer.Option("--json", help="Machine-readable result on stdout.")]
_Public = Annotated[
    Path,
    typer.Option(
        "--public", help="A new file for the public half: enrolment seals templates to it."
    ),
]


@make_app.command(name="tpm2")
@ends_with_code("gate")
def make_tpm2(
    out: Annotated[Path, typer.Option("--out", help="A new key file; only this TPM loads it.")],
    public: _Public,
    tpm: Annotated[
        Path, typer.Option("--tpm", help="The TPM's device, or a software TPM's socket.")
    ] = Path(DEFAULT_TPM),
    pcrs: Annotated[
        str,
        typer.Option(
            "--pcrs",
            help="Bind the key to the boot as it is now: SHA-256 PCRs, for example 0,2,4,7. An "
            "update of what they measure needs a new key.",
        ),
    ] = "",
) -> ExitCode:
    """Make a key inside this machine's TPM. It never leaves it; no other machine can use it."""
    from gate.key_making import make_tpm_key

    kid = make_tpm_key(out, public, tpm, _pcrs(pcrs))
    _made(kid, f"tpm2:{out}", public)
    return ExitCode.OK


@make_app.command(name="pkcs11")
@ends_with_code("gate")
def make_pkcs11(
    uri: Annotated[
        str,
        typer.Argument(
            help="pkcs11:token=T;object=O?module-path=/usr/lib/...so&pin-source=FILE (RFC 7512)."
        ),
    ],
    public: _Public,
) -> ExitCode:
    """Make a key inside a PKCS#11 token, sensitive and not extractable."""
    from gate.key_making import make_token_key

    _made(make_token_key(uri, public), uri, public)
    return ExitCode.OK


@make_app.command(name="file")
@ends_with_code("gate")
def make_file(
    out: Annotated[
        Path, typer.Option("--out", help="A new PEM file; - pipes it, for systemd-creds.")
    ],
    public: _Public,
    with_passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Encrypt it; the passphrase is asked for.")
    ] = False,
) -> ExitCode:
    """Make a key in a file. Whoever can read file and passphrase can copy it: see docs/keys.md."""
    from gate.key_making import STDOUT, make_file_key

    kid = make_file_key(out, public, with_passphrase=with_passphrase)
    # Where the key itself goes to stdout, nothing else may.
    _made(kid, "credential:NAME" if out == STDOUT else str(out), public, say_kid=out != STDOUT)
    return ExitCode.OK


@keys_app.command(name="show")
@ends_with_code("gate")
def show(config: _Config, as_json: _Json = False) -> ExitCode:
    """Start the key agent as a gate would, try every key, show what it holds and end it."""
    from gate.key_plan import plan_of, self_tested
    from gate.settings import load_settings

    held = self_tested(plan_of(load_settings(config)))
    if as_json:
        rows = [{"kid": k.kid.hex(), "kind": k.kind.value, "self_test": "passed"} for k in held]
        typer.echo(json.dumps(rows))
    else:
        for key in held:
            typer.echo(f"{key.kid.hex()}  {key.kind.value:<10}  self-test passed")
    return ExitCode.OK


@keys_app.command(name="public")
@ends_with_code("gate")
def public_half(
    config: _Config,
    kid: Annotated[
        str, typer.Option("--kid", help="Of which key, see `gate keys show`; else the newest.")
    ] = "",
) -> ExitCode:
    """Print the public half of a key as PEM: the enrolment side needs it, everybody may have it."""
    from gate.key_plan import plan_of, self_tested
    from gate.settings import load_settings

    for key in self_tested(plan_of(load_settings(config))):
        if kid in ("", key.kid.hex()):
            typer.echo(key.public_pem, nl=False)
            return ExitCode.OK
    raise ConfigError(f"this gate holds no key {kid}", "see: gate keys show")


def _pcrs(text: str) -> list[int]:
    try:
        numbers = sorted({int(part) for part in text.split(",")}) if text else []
    except ValueError:
        numbers = [-1]
    if any(not 0 <= number <= 23 for number in numbers):
        raise ConfigError("--pcrs takes numbers from 0 to 23", "for example --pcrs 0,2,4,7")
    return numbers


def _made(kid: str, source: str, public: Path, *, say_kid: bool = True) -> None:
    if say_kid:
        typer.echo(kid)
    typer.echo(
        f"Key {kid} is made. Next:\n"
        "  1. in gate.toml, [keys], in front of the keys that are there:\n"
        f'     template_keys = ["{source}", ...]\n'
        f"  2. {public} to the enrolment side, as its issuer/template.pub.pem\n"
        "  3. keep the old key until the last card that was sealed to it has expired",
        err=True,
    )
