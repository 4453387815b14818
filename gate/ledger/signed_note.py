"""C2SP signed-note: key texts, key ids and signature lines. Pure.

A note is a text, an empty line, and signature lines `— name base64(key id || signature)`. What is
signed, and how, depends on the algorithm byte of the key: see checkpoint.py and cosignature.py.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from gate.errors import ConfigError, LedgerFault

SEED_BYTES: Final = 32
"""The secret of an Ed25519 key (RFC 8032)."""
PUBLIC_BYTES: Final = 32
KEY_ID_BYTES: Final = 4
SIGNATURES_MAX: Final = 64
"""More signature lines than a note of ours ever has; C2SP asks to accept at least 16."""
_NAME = re.compile(r"[!-*,-~]{1,128}")
"""A key name: printable ASCII without space and plus (C2SP allows more; we do not need it)."""


@dataclass(frozen=True)
class SignatureLine:
    """One line under a note: who says to have signed (name, 4 bytes) and the signature's bytes."""

    name: str
    key_id: bytes
    signature: bytes

    def text(self) -> str:
        """Return the line with its line feed."""
        raw = base64.b64encode(self.key_id + self.signature).decode()
        return f"\u2014 {self.name} {raw}\n"


@dataclass(frozen=True)
class NoteKey:
    """A public note key: name, algorithm byte, 32 bytes of Ed25519 public key."""

    name: str
    algorithm: bytes
    public: bytes

    @property
    def key_id(self) -> bytes:
        """SHA-256(name || 0x0A || algorithm || public key)[:4]. Source: C2SP signed-note."""
        raw = self.name.encode() + b"\n" + self.algorithm + self.public
        return hashlib.sha256(raw).digest()[:KEY_ID_BYTES]

    @property
    def vkey(self) -> str:
        """The verifier key to publish: name+key id+base64(algorithm || public key)."""
        raw = base64.b64encode(self.algorithm + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{raw}"

    def skey(self, seed: bytes) -> str:
        """Return the secret text form. Only `gate.ledger.keys` writes it, to a 0600 file."""
        raw = base64.b64encode(self.algorithm + seed).decode()
        return f"PRIVATE+KEY+{self.name}+{self.key_id.hex()}+{raw}"

    def lines(self, note: str) -> list[SignatureLine]:
        """Return the lines of a note that name this key. They are not verified here.

        Raises:
            LedgerFault: not a signed note.
        """
        _, found = split(note)
        return [line for line in found if (line.name, line.key_id) == (self.name, self.key_id)]


def check_name(name: str, whose: str) -> None:
    """Refuse what cannot stand in a signature line.

    Raises:
        ConfigError: empty, too long, or with a space, a plus or other than printable ASCII.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"a {whose} name must be 1 to 128 printable ASCII characters, no space, +",
            "use a name like example.org/main-entrance",
        )


def parse_vkey(vkey: str, algorithm: bytes) -> NoteKey | None:
    """Return the key of its text form, or None when it is not one of this algorithm."""
    name, _, rest = vkey.partition("+")
    raw = unbase64(rest.partition("+")[2])
    if raw is None or raw[:1] != algorithm or len(raw) != 1 + PUBLIC_BYTES:
        return None
    key = NoteKey(name, algorithm, raw[1:])
    return key if _NAME.fullmatch(name) and key.vkey == vkey else None


def parse_secret(text: str, algorithm: bytes) -> tuple[str, bytes] | None:
    """Return name and seed of a secret text form, or None when it is not one of this algorithm.

    Whoever calls it makes the key and compares the text: the key id needs the public half.
    """
    parts = text.strip().split("+", 4)
    if len(parts) != 5 or parts[:2] != ["PRIVATE", "KEY"]:
        return None
    raw = unbase64(parts[4])
    if raw is None or raw[:1] != algorithm or len(raw) != 1 + SEED_BYTES:
        return None
    return parts[2], raw[1:]


def split(note: str) -> tuple[str, list[SignatureLine]]:
    """Return the text that is signed (with its last line feed) and the signature lines.

    Raises:
        LedgerFault: not a signed note.
    """
    text, sep, signatures = note.rpartition("\n\n")
    if not sep or not signatures.endswith("\n"):
        raise LedgerFault("a checkpoint is not a signed note")
    return text + "\n", parse_lines(signatures)


def parse_lines(signatures: str) -> list[SignatureLine]:
    """Return signature lines, each of which ends with a line feed.

    Raises:
        LedgerFault: no line, too many, or a malformed one.
    """
    lines = signatures.split("\n")
    if lines.pop() or not 0 < len(lines) <= SIGNATURES_MAX:
        raise LedgerFault("a checkpoint has no signature lines, or too many")
    found = []
    for line in lines:
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        raw = unbase64(encoded)
        if dash != "\u2014" or not name or raw is None or len(raw) <= KEY_ID_BYTES:
            raise LedgerFault("a checkpoint has a malformed signature line")
        found.append(SignatureLine(name, raw[:KEY_ID_BYTES], raw[KEY_ID_BYTES:]))
    return found


def unbase64(text: str) -> bytes | None:
    """Decode standard base64 (RFC 4648 section 4) in its one canonical form, or return None."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64.b64encode(raw).decode() == text else None
