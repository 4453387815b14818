"""The needles as YARA rules, so that an auditor searches with a tool that we did not write.

One rule a needle; its strings are smallest pieces that count, in hexadecimal. The controls have
rules of their own: a scanner that does not find those in the helper process finds nothing.
Rules hold pieces of the canary's pictures. With photographs of real people they are personal data.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gate.errors import ConfigError
from gate.probe.needles import Fragment, Kind, Needle, fragments
from gate.whole_file import PRIVATE, write_whole

STRINGS_MAX: Final = 64
"""Of one rule, spread over the needle."""
_WORD: Final = re.compile(r"[^a-z0-9]+")


def rules(needles: Sequence[Needle], controls: Sequence[Needle] = ()) -> str:
    """Return the text of one YARA file."""
    head = [
        "// Retention probe: pieces of canary passages. A match of a rule tagged `residue` in a",
        "// process of the gate or in a file is a residue. The rules tagged `control` must match",
        "// the probe's helper process: they show that the scanner works.",
        "",
    ]
    named = [(needle, "residue") for needle in needles] + [(c, "control") for c in controls]
    return "\n".join([*head, *(rule(n, tag, at) for at, (n, tag) in enumerate(named, start=1))])


def rule(needle: Needle, tag: str, number: int) -> str:
    """Return one rule. `number` keeps the names of two rules apart."""
    name = f"{tag}_{number:03}_{_WORD.sub('_', needle.name.lower()).strip('_')}"[:100]
    strings = [
        f"    $p{at} = {{ {piece.data.hex(' ').upper()} }}"
        for at, piece in enumerate(_spread(fragments(needle)), start=1)
    ]
    return "\n".join(
        [
            f"rule {name} : {tag}",
            "{",
            "  meta:",
            f'    needle = "{needle.name}"',
            f'    kind = "{needle.kind.value}"',
            "  strings:",
            *strings,
            "  condition:",
            "    any of them",
            "}",
            "",
        ]
    )


def _spread(pieces: Sequence[Fragment]) -> list[Fragment]:
    """Return at most STRINGS_MAX pieces, the first and then every so many."""
    step = -(-len(pieces) // STRINGS_MAX)
    return list(pieces[:: max(1, step)])


def searchable(needles: Sequence[Needle]) -> list[Needle]:
    """Return the needles that have a piece which says something; keys and PINs are not handed out.

    A key or a PIN of a canary is worth nothing, but where they are expected a scanner of the
    auditor would find them and could not know why.
    """
    biometric = [n for n in needles if n.kind in (Kind.IMAGE, Kind.VECTOR) or "printed" in n.name]
    return [needle for needle in biometric if fragments(needle)]


def write_rules(path: Path, needles: Sequence[Needle], controls: Sequence[Needle]) -> None:
    """Write a YARA file that only its owner can read.

    Raises:
        ConfigError: it cannot be written.
    """
    text = rules(searchable(needles), controls)
    try:
        write_whole(path, text.encode("ascii"), PRIVATE)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}", "name a file in a folder of yours"
        ) from None
