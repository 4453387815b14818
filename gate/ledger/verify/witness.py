"""Co-signatures of witnesses, read by code that the writer does not share.

Source: C2SP tlog-cosignature (cosignature/v1, Ed25519) and C2SP signed-note.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gate.errors import ConfigError
from gate.ledger.verify.proofs import Key, Tree
from gate.ledger.verify.report import Problems, WitnessSeen

NOTES_MAX: Final = 16
"""A log keeps one note for each of at most so many witnesses: no room for other things."""
_LINE = re.compile(r"\u2014 ([!-*,-~]{1,128}) ([A-Za-z0-9+/]+={0,2})")
BLOB_BYTES: Final = 4 + 8 + 64
"""Of a co-signature: key id, time, signature."""


@dataclass(frozen=True)
class Witness:
    """A witness's verifier key: name, key id (4 bytes), Ed25519 public key (32 bytes)."""

    name: str
    key_id: bytes
    public: bytes

    @property
    def ident(self) -> str:
        """Name and key id, as a log calls this witness."""
        return f"{self.name}+{self.key_id.hex()}"

    def cosigned_at(self, text: str, blob: bytes) -> int | None:
        """Return the time (POSIX seconds) of a co-signature over a note's text, or None.

        Args:
            text: the text of the note, with its last line feed.
            blob: what stands in the signature line: key id, timestamp, signature.
        """
        if len(blob) != BLOB_BYTES or blob[:4] != self.key_id or blob[4] & 0x80:
            return None
        time_s = int.from_bytes(blob[4:12], "big")
        said = b"cosignature/v1\ntime %d\n" % time_s + text.encode()
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(blob[12:], said)
        except (InvalidSignature, ValueError):
            return None
        return time_s


def parse_witness(vkey: str) -> Witness:
    """Return the key of its text form: name, key id in hexadecimal, base64 of 0x04 and the key.

    Raises:
        ConfigError: it is not the verifier key of a witness.
    """
    match = re.fullmatch(r"([!-*,-~]{1,128})\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})", vkey)
    if match is not None:
        raw = base64.b64decode(match[3])
        key_id = hashlib.sha256(f"{match[1]}\n".encode() + raw).digest()[:4]
        if raw[0] == 4 and len(raw) == 33 and key_id.hex() == match[2]:
            return Witness(match[1], key_id, raw[1:])
    raise ConfigError(
        "not the verifier key of a witness",
        "copy the line that the witness's operator published (key type 0x04, Ed25519)",
    )


def choose(vkeys: Sequence[str], needed: int | None) -> tuple[tuple[Witness, ...], int]:
    """Return the witnesses an auditor named, and how many of them must have co-signed.

    Raises:
        ConfigError: a key is none, one is there twice, or more are needed than named.
    """
    witnesses = tuple(parse_witness(vkey) for vkey in vkeys)
    if len({witness.public for witness in witnesses}) != len(witnesses):
        raise ConfigError("a witness is named twice", "name each once: it counts once")
    count = len(witnesses) if needed is None else needed
    if not (witnesses or needed is None) or not min(1, len(witnesses)) <= count <= len(witnesses):
        raise ConfigError(
            f"{count} witnesses are needed and {len(witnesses)} are named",
            "name as many witnesses as are needed, at least one",
        )
    return witnesses, count


def cosignature_lines(note: str) -> tuple[str, list[tuple[str, bytes]]] | None:
    """Return a note's text, and name and blob of each signature line; None when it is no note."""
    text, found, signatures = note.rpartition("\n\n")
    if not found or not signatures.endswith("\n"):
        return None
    lines = []
    for line in signatures.removesuffix("\n").split("\n"):
        match = _LINE.fullmatch(line)
        if match is None:
            return None
        try:
            blob = base64.b64decode(match[2], validate=True)
        except ValueError:
            return None
        if base64.b64encode(blob).decode() != match[2]:
            return None
        lines.append((match[1], blob))
    return text + "\n", lines


def check_cosigned(
    rows: Sequence[tuple[object, object, object]], key: Key, tree: Tree, problems: Problems
) -> None:
    """Check that a log's co-signed checkpoints are its own, and nothing more (step 11).

    Each row is witness, size and note: a checkpoint that this log signed, of a tree that these
    entries begin with, and one line of that witness. Whether the co-signature is valid is known
    only with the witness's key, see `count_witnesses`.
    """
    if len(rows) > NOTES_MAX:
        problems.add(11, f"{len(rows)} co-signed checkpoints are kept, more than {NOTES_MAX}")
    for index, (witness, size, note) in enumerate(rows):
        name = f"co-signed checkpoint {index}"
        said = note if isinstance(note, str) else ""
        signed, opened = key.open(said), cosignature_lines(said)
        if signed is None or opened is None or signed[0] != key.name:
            problems.add(11, f"{name} is not signed by this log")
            continue
        _, lines = opened
        others = [(who, blob) for who, blob in lines if (who, blob[:4]) != (key.name, key.key_id)]
        if len(others) != 1 or len(lines) != 2 or len(others[0][1]) != BLOB_BYTES:
            problems.add(11, f"{name} has not just one co-signature")
        elif f"{others[0][0]}+{others[0][1][:4].hex()}" != witness:
            problems.add(11, f"{name} stands under another witness")
        if size != signed[1]:
            problems.add(11, f"{name} stands under another size")
        if signed[1] > tree.size:
            problems.add(11, f"the log was cut: {signed[1]} entries were co-signed")
        elif tree.root(signed[1]) != signed[2]:
            problems.add(11, f"the log was rewritten: {name} has another root")


def check_named(
    rows: Sequence[tuple[object, object, object]],
    witnesses: Sequence[Witness],
    problems: Problems,
) -> int:
    """Check the rows that stand under witnesses whom the auditor named (step 11).

    Returns:
        How many stand under others: what their lines hold is the log's word alone, up to 200
        bytes each.
    """
    known = {witness.ident: witness for witness in witnesses}
    strangers = 0
    for index, (ident, _, note) in enumerate(rows):
        witness = known.get(ident) if isinstance(ident, str) else None
        opened = cosignature_lines(note) if isinstance(note, str) else None
        if witness is None or opened is None:
            strangers += 1
        elif not any(witness.cosigned_at(opened[0], blob) is not None for _, blob in opened[1]):
            problems.add(11, f"co-signed checkpoint {index} is not signed by its witness")
    return strangers


def count_witnesses(
    notes: Sequence[str],
    key: Key,
    tree: Tree,
    witnesses: Sequence[Witness],
    needed: int,
    problems: Problems,
) -> tuple[tuple[WitnessSeen, ...], int | None]:
    """Return what each witness vouches for, and what `needed` of them vouch for together.

    A witness that co-signed a tree vouches for every smaller one too. So the size that N
    witnesses vouch for is the N-th largest of their sizes.

    Args:
        notes: every checkpoint at hand that may be co-signed, in any order.
        key: the log's key.
        tree: of the entries.
        witnesses: the auditor's own choice of whom to trust, each once.
        needed: how many of them must have co-signed, 1 to their number; 0 when none is named.
        problems: gets step 11 when fewer did.
    """
    if not witnesses:
        return (), None
    seen = tuple(_newest(witness, notes, key, tree) for witness in witnesses)
    sizes = sorted((found.size for found in seen if found.size is not None), reverse=True)
    if len(sizes) < needed:
        problems.add(11, f"{len(sizes)} of the {needed} witnesses needed co-signed this log")
        return seen, None
    return seen, sizes[needed - 1]


def _newest(witness: Witness, notes: Sequence[str], key: Key, tree: Tree) -> WitnessSeen:
    best: tuple[int, int] | None = None
    for note in notes:
        signed, opened = key.open(note), cosignature_lines(note)
        if signed is None or opened is None or signed[0] != key.name or signed[1] > tree.size:
            continue
        if tree.root(signed[1]) != signed[2]:
            continue
        text, lines = opened
        for name, blob in lines:
            time_s = witness.cosigned_at(text, blob) if name == witness.name else None
            if time_s is not None and (best is None or (signed[1], time_s) > best):
                best = (signed[1], time_s)
    return WitnessSeen(witness.ident, *(best or (None, None)))
