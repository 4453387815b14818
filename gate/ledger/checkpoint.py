"""Signed checkpoints: C2SP signed-note with Ed25519 and C2SP tlog-checkpoint. Pure.

A checkpoint is three lines (origin, size, root in base64), an empty line and a signature line.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from gate.errors import ConfigError, LedgerFault
from gate.ledger.merkle import HASH_BYTES
from gate.ledger.signed_note import (
    SEED_BYTES,
    NoteKey,
    SignatureLine,
    check_name,
    parse_secret,
    parse_vkey,
    split,
    unbase64,
)

ED25519: Final = b"\x01"
"""The algorithm byte of an Ed25519 note key. Source: C2SP signed-note."""
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")


@dataclass(frozen=True)
class Checkpoint:
    """What a gate says about its log. `root` is 32 bytes."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the text that is signed. Source: C2SP tlog-checkpoint."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


class Signer:
    """The log's signing key. Its text form is the one of Go's `sumdb/note`.

    Args:
        name: the log's origin, such as "consentgate.example/main-entrance".
        seed: 32 secret bytes (RFC 8032).
    """

    def __init__(self, name: str, seed: bytes) -> None:
        check_name(name, "log")
        if len(seed) != SEED_BYTES:
            raise ConfigError("a log key has 32 secret bytes", "make a new one")
        self.name = name
        self._seed = seed
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self._key = NoteKey(name, ED25519, self._private.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"Signer({self.name!r})"

    @property
    def vkey(self) -> str:
        """The verifier key to publish: name+key id+public key. Source: C2SP signed-note."""
        return self._key.vkey

    def skey(self) -> str:
        """Return the secret text form. Only `gate.ledger.keys` writes it, to a 0600 file."""
        return self._key.skey(self._seed)

    def sign(self, checkpoint: Checkpoint) -> str:
        """Return the signed note of a checkpoint."""
        text = checkpoint.text()
        signature = self._private.sign(text.encode())
        return f"{text}\n{SignatureLine(self.name, self._key.key_id, signature).text()}"


def generate(name: str, random: Callable[[int], bytes]) -> Signer:
    """Make a new log key. `random(n)` returns n unpredictable bytes, such as `os.urandom`."""
    return Signer(name, random(SEED_BYTES))


def parse_skey(text: str) -> Signer:
    """Return the signer of a secret text form.

    Raises:
        ConfigError: the text is not an Ed25519 note key. The message never holds the text.
    """
    advice = "restore the file from its backup or make a new log"
    parts = parse_secret(text, ED25519)
    if parts is None:
        raise ConfigError("the log key is not an Ed25519 note signing key", advice)
    signer = Signer(*parts)
    if signer.skey() != text.strip():
        raise ConfigError("the log key is damaged: its key id does not match", advice)
    return signer


def open_note(note: str, vkey: str) -> Checkpoint:
    """Return the checkpoint of a note that `vkey` signed.

    Signatures of other keys (witnesses) are allowed and ignored.

    Raises:
        ConfigError: `vkey` is not a verifier key.
        LedgerFault: no valid signature by this key, or not a checkpoint.
    """
    key = parse_vkey(vkey, ED25519)
    if key is None:
        raise ConfigError("not an Ed25519 verifier key", "copy the line from the log's vkey file")
    text, _ = split(note)
    lines = key.lines(note)
    try:
        for line in lines:
            Ed25519PublicKey.from_public_bytes(key.public).verify(line.signature, text.encode())
    except (InvalidSignature, ValueError):
        lines = []
    if not lines:
        raise LedgerFault("a checkpoint is not signed by this log's key")
    return parse_text(text)


def parse_text(text: str) -> Checkpoint:
    """Return the checkpoint of the text of a note. Source: C2SP tlog-checkpoint.

    Raises:
        LedgerFault: not three lines of origin, size and root. Extension lines are refused.
    """
    lines = text.split("\n")
    root = unbase64(lines[2]) if len(lines) == 4 else None
    if root is None or len(root) != HASH_BYTES or not lines[0] or not _SIZE.fullmatch(lines[1]):
        raise LedgerFault("a signed note is not a checkpoint")
    return Checkpoint(lines[0], int(lines[1]), root)
