"""Co-signatures of witnesses: C2SP tlog-cosignature, cosignature/v1 (Ed25519, timestamped). Pure.

A co-signature says: at this time this was the largest tree that I saw of this log, and every tree
that I saw before is a part of it. A log whose newest checkpoint carries one cannot have shown
that witness another history.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from gate.errors import ConfigError, LedgerFault
from gate.ledger.checkpoint import ED25519
from gate.ledger.signed_note import (
    SEED_BYTES,
    NoteKey,
    SignatureLine,
    check_name,
    parse_secret,
    parse_vkey,
    split,
)

COSIGNATURE_V1: Final = b"\x04"
"""The algorithm byte of a timestamped Ed25519 witness key. Source: C2SP signed-note."""
TIME_MAX_S: Final = (1 << 63) - 1
_SIGNATURE = struct.Struct(">Q64s")
"""timestamped_signature: u64 timestamp, ed25519_signature[64]. Source: C2SP tlog-cosignature."""


def message(text: str, time_s: int) -> bytes:
    """Return what is signed over the text of a checkpoint note.

    Args:
        text: the note's text with its last line feed, no signature lines.
        time_s: POSIX time, 0 to 2^63 - 1.

    Source: C2SP tlog-cosignature, "Ed25519 signed message".
    """
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


@dataclass(frozen=True)
class WitnessKey:
    """The public key of one witness. Make it with `parse_witness_vkey`."""

    key: NoteKey

    @property
    def name(self) -> str:
        """The witness's name, such as "witness.example/w1"."""
        return self.key.name

    @property
    def ident(self) -> str:
        """Name and key id: what tells two keys apart."""
        return f"{self.key.name}+{self.key.key_id.hex()}"

    def cosigned_at(self, note: str) -> int | None:
        """Return when this witness co-signed the note (POSIX seconds), or None.

        A line that names this key and does not verify spoils the note. Of several valid lines
        the newest counts.

        Raises:
            LedgerFault: not a signed note.
        """
        lines = self.key.lines(note)
        text, _ = split(note)
        times = [self._verified_at(text, line) for line in lines]
        if None in times:
            return None
        return max((at for at in times if at is not None), default=None)

    @staticmethod
    def time_of(line: SignatureLine) -> int | None:
        """Return the time that a line says, not verified; None when it is no co-signature."""
        if len(line.signature) != _SIGNATURE.size:
            return None
        return int(_SIGNATURE.unpack(line.signature)[0])

    def _verified_at(self, text: str, line: SignatureLine) -> int | None:
        if len(line.signature) != _SIGNATURE.size:
            return None
        time_s, signature = _SIGNATURE.unpack(line.signature)
        if time_s > TIME_MAX_S:
            return None
        try:
            public = Ed25519PublicKey.from_public_bytes(self.key.public)
            public.verify(signature, message(text, time_s))
        except (InvalidSignature, ValueError):
            return None
        return int(time_s)


class Cosigner:
    """A witness's signing key. One key has one name: cosignature/v1 does not sign the name.

    Args:
        name: the witness's name, such as "witness.example/w1".
        seed: 32 secret bytes (RFC 8032), of this witness alone.
    """

    def __init__(self, name: str, seed: bytes) -> None:
        check_name(name, "witness")
        if len(seed) != SEED_BYTES:
            raise ConfigError("a witness key has 32 secret bytes", "make a new one")
        self._seed = seed
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._private.public_key().public_bytes_raw()
        self.key = WitnessKey(NoteKey(name, COSIGNATURE_V1, public))

    def __repr__(self) -> str:
        return f"Cosigner({self.key.name!r})"

    @property
    def vkey(self) -> str:
        """The verifier key to publish and to name in a gate's [ledger] witnesses."""
        return self.key.key.vkey

    def skey(self) -> str:
        """Return the secret text form. Only `gate.ledger.keys` writes it, to a 0600 file."""
        return self.key.key.skey(self._seed)

    def cosign(self, text: str, time_s: int) -> str:
        """Return the signature line over the text of a checkpoint note.

        Args:
            text: the note's text with its last line feed.
            time_s: POSIX time now, 1 to 2^63 - 1.
        """
        if not 0 < time_s <= TIME_MAX_S:
            raise ValueError("no such time")
        raw = _SIGNATURE.pack(time_s, self._private.sign(message(text, time_s)))
        return SignatureLine(self.key.name, self.key.key.key_id, raw).text()


def generate_cosigner(name: str, random: Callable[[int], bytes]) -> Cosigner:
    """Make a new witness key. `random(n)` returns n unpredictable bytes, such as `os.urandom`."""
    return Cosigner(name, random(SEED_BYTES))


def parse_witness_skey(text: str) -> Cosigner:
    """Return the cosigner of a secret text form.

    Raises:
        ConfigError: the text is not a witness key. The message never holds the text.
    """
    advice = "make one with: gate witness keygen"
    parts = parse_secret(text, COSIGNATURE_V1)
    if parts is None:
        raise ConfigError("the file does not hold a witness signing key", advice)
    cosigner = Cosigner(*parts)
    if cosigner.skey() != text.strip():
        raise ConfigError("the witness key is damaged: its key id does not match", advice)
    return cosigner


def parse_witness_vkey(vkey: str) -> WitnessKey:
    """Return the public key of a witness.

    Raises:
        ConfigError: not a verifier key of type cosignature/v1 (0x04).
    """
    key = parse_vkey(vkey, COSIGNATURE_V1)
    if key is None:
        raise ConfigError(
            "not the verifier key of a witness",
            "copy the line that the witness's operator published (key type 0x04, Ed25519)",
        )
    return WitnessKey(key)


def with_one_cosignature(note: str, vkey: str, witness: WitnessKey) -> str:
    """Return the note with one line of the log's key and the newest valid one of the witness.

    Raises:
        LedgerFault: not a signed note, or this witness did not co-sign it.
    """
    text, _ = split(note)
    log = parse_vkey(vkey, ED25519)
    own = log.lines(note)[:1] if log else []
    at = witness.cosigned_at(note)
    lines = [line for line in witness.key.lines(note) if witness.time_of(line) == at]
    if at is None or not own:
        raise LedgerFault("a checkpoint is not co-signed by this witness")
    return f"{text}\n{own[0].text()}{lines[0].text()}"
