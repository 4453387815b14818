"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gate.errors import ConfigError

Json = Annotated[bool, typer.Option("--json", help="Machine-readable result on stdout.")]
VKey = Annotated[
    str,
    typer.Option("--vkey", help="Verifier key of the log, from a source you trust (text or file)."),
]
CacheDir = Annotated[
    Path,
    typer.Option(
        "--cache", envvar="GATE_CACHE_DIR", help="Where fetched and converted models are kept."
    ),
]
ModelsDir = Annotated[
    Path | None,
    typer.Option(
        "--models",
        envvar="GATE_MODELS_DIR",
        help="A folder with the files of the edge pack; otherwise their pinned origins are asked.",
    ),
]
DEFAULT_CACHE = Path(".cache/consentgate")


def vkey_text(value: str) -> str:
    """Accept the key itself or the path of a file that holds it."""
    if "+" in value:
        return value.strip()
    try:
        return Path(value).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        raise ConfigError(
            f"{value} is neither a verifier key nor a file that holds one",
            "give the text NAME+ID+KEY that the operator published, or its file",
        ) from None
