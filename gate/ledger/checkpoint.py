"""Signed checkpoints: C2SP signed-note with Ed25519 and C2SP tlog-checkpoint. Pure.

A checkpoint is three lines (origin, size, root in base64), an empty line and a signature line.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
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

ED25519: Final = b"\x01"
"""The algorithm byte of an Ed25519 note key. Source: C2SP signed-note."""
SEED_BYTES: Final = 32
_NAME = re.compile(r"[!-*,-~]{1,128}")
"""A key name: printable ASCII without space and plus (C2SP allows more; we do not need it)."""
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


def _key_id(name: str, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + ED25519 + public).digest()[:4]


def _vkey(name: str, public: bytes) -> str:
    key_id = _key_id(name, public).hex()
    return f"{name}+{key_id}+{base64.b64encode(ED25519 + public).decode()}"


class Signer:
    """The log's signing key. Its text form is the one of Go's `sumdb/note`.

    Args:
        name: the log's origin, such as "consentgate.example/main-entrance".
        seed: 32 secret bytes (RFC 8032).
    """

    def __init__(self, name: str, seed: bytes) -> None:
        if not _NAME.fullmatch(name):
            raise ConfigError("a log name must be 1 to 128 printable ASCII characters, no space, +")
        if len(seed) != SEED_BYTES:
            raise ConfigError("a log key has 32 secret bytes", "make a new one")
        self.name = name
        self._seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = self._key.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"Signer({self.name!r})"

    @property
    def vkey(self) -> str:
        """The verifier key to publish: name+key id+public key. Source: C2SP signed-note."""
        return _vkey(self.name, self._public)

    def skey(self) -> str:
        """Return the secret text form. Only `gate.ledger.keys` writes it, to a 0600 file."""
        key_id = _key_id(self.name, self._public).hex()
        secret = base64.b64encode(ED25519 + self._seed).decode()
        return f"PRIVATE+KEY+{self.name}+{key_id}+{secret}"

    def sign(self, checkpoint: Checkpoint) -> str:
        """Return the signed note of a checkpoint."""
        text = checkpoint.text()
        signature = _key_id(self.name, self._public) + self._key.sign(text.encode())
        return f"{text}\n\u2014 {self.name} {base64.b64encode(signature).decode()}\n"


def generate(name: str, random: Callable[[int], bytes]) -> Signer:
    """Make a new log key. `random(n)` returns n unpredictable bytes, such as `os.urandom`."""
    return Signer(name, random(SEED_BYTES))


def parse_skey(text: str) -> Signer:
    """Return the signer of a secret text form.

    Raises:
        ConfigError: the text is not an Ed25519 note key. The message never holds the text.
    """
    advice = "restore the file from its backup or make a new log"
    parts = text.strip().split("+", 4)
    if len(parts) != 5 or parts[:2] != ["PRIVATE", "KEY"]:
        raise ConfigError("the log key is not a note signing key", advice)
    raw = _unbase64(parts[4])
    if raw is None or raw[:1] != ED25519:
        raise ConfigError("the log key is not an Ed25519 note key", advice)
    signer = Signer(parts[2], raw[1:])
    if signer.skey() != text.strip():
        raise ConfigError("the log key is damaged: its key id does not match", advice)
    return signer


def open_note(note: str, vkey: str) -> Checkpoint:
    """Return the checkpoint of a note that `vkey` signed.

    Raises:
        LedgerFault: no valid signature by this key, or not a checkpoint.
    """
    name, public = _parse_vkey(vkey)
    text, sep, signatures = note.rpartition("\n\n")
    text += "\n"
    if not sep or not signatures.endswith("\n"):
        raise LedgerFault("a checkpoint is not a signed note")
    key_id = _key_id(name, public)
    for line in signatures[:-1].split("\n"):
        dash, _, rest = line.partition(" ")
        signer, _, encoded = rest.partition(" ")
        raw = _unbase64(encoded)
        if dash != "\u2014" or not signer or raw is None or len(raw) < 5:
            raise LedgerFault("a checkpoint has a malformed signature line")
        # Signatures of other keys (witnesses) are allowed and ignored.
        if signer == name and raw[:4] == key_id:
            try:
                Ed25519PublicKey.from_public_bytes(public).verify(raw[4:], text.encode())
            except InvalidSignature:
                break
            return _parse_text(text)
    raise LedgerFault("a checkpoint is not signed by this log's key")


def _parse_text(text: str) -> Checkpoint:
    lines = text.split("\n")
    root = _unbase64(lines[2]) if len(lines) == 4 else None
    if root is None or len(root) != HASH_BYTES or not lines[0] or not _SIZE.fullmatch(lines[1]):
        raise LedgerFault("a signed note is not a checkpoint")
    return Checkpoint(lines[0], int(lines[1]), root)


def _parse_vkey(vkey: str) -> tuple[str, bytes]:
    name, _, rest = vkey.partition("+")
    _, _, encoded = rest.partition("+")
    raw = _unbase64(encoded)
    if raw is None or raw[:1] != ED25519 or len(raw) != 33 or _vkey(name, raw[1:]) != vkey:
        raise ConfigError("not an Ed25519 verifier key", "copy the line from the log's vkey file")
    return name, raw[1:]


def _unbase64(text: str) -> bytes | None:
    """Decode standard base64 in its one canonical form, or return None."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64.b64encode(raw).decode() == text else None
