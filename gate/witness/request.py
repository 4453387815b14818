"""The body of add-checkpoint, C2SP tlog-witness. Pure and strict."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Final

BODY_BYTES_MAX: Final = 32 * 1024
"""63 proof lines and a checkpoint with some dozens of signatures are far below it."""
PROOF_LINES_MAX: Final = 63
_OLD = re.compile(r"old (0|[1-9][0-9]{0,15})", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True)
class AddCheckpoint:
    """A request to co-sign. `note` is not verified; its text starts with `origin`.

    `proof` has hashes of 32 bytes, at most 63.
    """

    old_size: int
    proof: tuple[bytes, ...]
    note: str
    origin: str


def parse(body: bytes) -> AddCheckpoint | None:
    """Return the request, or None when it is not in the one form that C2SP tlog-witness allows.

    The checkpoint itself is judged later: that needs the keys.
    """
    if len(body) > BODY_BYTES_MAX:
        return None
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return None
    head, found, note = text.partition("\n\n")
    lines = head.split("\n")
    old = _OLD.fullmatch(lines[0])
    origin = note.partition("\n")[0]
    if not found or old is None or not origin or _CONTROL.search(text):
        return None
    if len(lines) - 1 > PROOF_LINES_MAX or not note.endswith("\n"):
        return None
    proof = [_hash(line) for line in lines[1:]]
    if None in proof:
        return None
    return AddCheckpoint(int(old[1]), tuple(h for h in proof if h is not None), note, origin)


def _hash(line: str) -> bytes | None:
    """Decode base64 of 32 bytes in its one canonical form."""
    if not re.fullmatch(r"[A-Za-z0-9+/]{43}=", line):
        return None
    raw = base64.b64decode(line)
    return raw if base64.b64encode(raw).decode() == line else None
