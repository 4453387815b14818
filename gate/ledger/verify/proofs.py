"""Tree hashes by their recursive definition, and signed notes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gate.errors import ConfigError

HASH_BYTES: Final = 32
_CACHED_SUBTREE: Final = 16


class Tree:
    """The Merkle tree by its recursive definition, RFC 9162 section 2.1.1."""

    def __init__(self) -> None:
        self.size = 0
        self._leaves = bytearray()
        self._cache: dict[tuple[int, int], bytes] = {}

    def add(self, entry: bytes) -> None:
        """Add d(n): MTH({d(0)}) = HASH(0x00 || d(0))."""
        self.add_leaf(hashlib.sha256(b"\x00" + entry).digest())

    def add_leaf(self, leaf: bytes) -> None:
        """Add the hash of an entry whose body is gone: 32 bytes."""
        self._leaves += leaf
        self.size += 1

    def root(self, size: int) -> bytes:
        """Return MTH(D[0:size])."""
        return self._mth(0, size) if size else hashlib.sha256(b"").digest()

    def _mth(self, start: int, end: int) -> bytes:
        n = end - start
        if n == 1:
            return bytes(self._leaves[32 * start : 32 * end])
        known = self._cache.get((start, end))
        if known is not None:
            return known
        k = 1
        while k * 2 < n:
            k *= 2
        parts = self._mth(start, start + k) + self._mth(start + k, end)
        root = hashlib.sha256(b"\x01" + parts).digest()
        # A complete subtree never changes; without this, earlier checkpoints take too long.
        if n == 2 * k and n >= _CACHED_SUBTREE:
            self._cache[start, end] = root
        return root


@dataclass(frozen=True)
class Key:
    """A verifier key: name, key id (4 bytes), Ed25519 public key (32 bytes)."""

    name: str
    key_id: bytes
    public: bytes

    def open(self, note: str) -> tuple[str, int, bytes] | None:
        """Return origin, size and root of a note signed by this key, or None.

        Source: C2SP signed-note, C2SP tlog-checkpoint.
        """
        text, found, signatures = note.rpartition("\n\n")
        lines = text.split("\n")
        if not found or len(lines) != 3 or not signatures.endswith("\n"):
            return None
        valid = False
        for line in signatures.removesuffix("\n").split("\n"):
            match = re.fullmatch(r"\u2014 ([^ +]+) ([A-Za-z0-9+/]+={0,2})", line)
            raw = _base64(match[2]) if match else None
            if match is None or raw is None:
                return None
            if match[1] != self.name or raw[:4] != self.key_id:
                continue
            try:
                public = Ed25519PublicKey.from_public_bytes(self.public)
                public.verify(raw[4:], f"{text}\n".encode())
            except (InvalidSignature, ValueError):
                return None
            valid = True
        root = _base64(lines[2])
        size_ok = re.fullmatch("0|[1-9][0-9]{0,15}", lines[1], re.ASCII)
        if not valid or not size_ok or root is None or len(root) != 32:
            return None
        return lines[0], int(lines[1]), root


def parse_vkey(vkey: str) -> Key:
    """Return the key of its text form: name, key id in hexadecimal, base64 of 0x01 and the key.

    Raises:
        ConfigError: it is not an Ed25519 verifier key.
    """
    match = re.fullmatch(r"([!-*,-~]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)", vkey)
    raw = _base64(match[3]) if match else None
    if match is not None and raw is not None and len(raw) == 33 and raw[0] == 1:
        key_id = hashlib.sha256(f"{match[1]}\n".encode() + raw).digest()[:4]
        if key_id.hex() == match[2]:
            return Key(match[1], key_id, raw[1:])
    raise ConfigError("not an Ed25519 verifier key", "copy the line from the log's vkey file")


def _base64(text: str) -> bytes | None:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64.b64encode(raw).decode() == text else None
