"""Proof files, checked offline with nothing but the log's verifier key.

Formats: C2SP tlog-proof v1 for inclusion, `consentgate-consistency-proof@v1` for consistency (see
docs/verify-it-yourself.md). Signatures of witnesses in a checkpoint are left to the verification
of the log.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gate.ledger.verify.consistency import grows_from
from gate.ledger.verify.proofs import HASH_BYTES, Key, parse_vkey
from gate.ledger.verify.schema import read_record

PROOF_BYTES_MAX: Final = 64 * 1024
_HASHES_MAX: Final = 64
"""The path of a tree of 2^63 leaves."""


@dataclass(frozen=True)
class ProofReport:
    """What a proof shows. `problem` is empty exactly when it holds.

    Attributes:
        ok: whether it holds.
        kind: "inclusion", "consistency", or "none" when it is no proof.
        origin: the log that it speaks of.
        size: the number of records under its (newer) checkpoint.
        index: of an inclusion, the sequence number of the record.
        record: of an inclusion that holds, the record.
        old_size: of a consistency, the number of records under the older checkpoint.
        problem: why it does not hold. Never a record's content.
    """

    ok: bool
    kind: str
    origin: str = ""
    size: int = 0
    index: int | None = None
    record: dict[str, Any] | None = None
    old_size: int | None = None
    problem: str = ""


def check_proof(raw: bytes, vkey: str, entry: bytes | None = None) -> ProofReport:
    """Check one proof file.

    Args:
        raw: its content.
        vkey: the log's verifier key, obtained from elsewhere than the log.
        entry: the record that an inclusion proof shall be about, in its canonical bytes; needed
            only where the proof does not carry it.

    Raises:
        ConfigError: `vkey` is not a verifier key.
    """
    key = parse_vkey(vkey)
    if len(raw) > PROOF_BYTES_MAX:
        return ProofReport(False, "none", problem="it is longer than a proof can be")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return ProofReport(False, "none", problem="it is not text")
    header, _, rest = text.partition("\n")
    match header:
        case "c2sp.org/tlog-proof@v1":
            return _inclusion(rest, key, entry)
        case "consentgate-consistency-proof@v1":
            return _consistency(rest, key)
    return ProofReport(False, "none", problem="it is no proof of a kind known here")


def included(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether a path leads from a leaf hash to a root.

    By the recursive definition of PATH(m, D[n]), RFC 6962 section 2.1.1, from the root down.
    """
    if not 0 <= index < size:
        return False
    sides: list[bool] = []
    m, n = index, size
    while n > 1:
        k = 1
        while 2 * k < n:
            k *= 2
        sides.append(m < k)
        m, n = (m, k) if m < k else (m - k, n - k)
    if len(path) != len(sides):
        return False
    found = leaf
    for left, sibling in zip(reversed(sides), path, strict=True):
        pair = found + sibling if left else sibling + found
        found = hashlib.sha256(b"\x01" + pair).digest()
    return found == root


def _inclusion(rest: str, key: Key, entry: bytes | None) -> ProofReport:
    def no(problem: str) -> ProofReport:
        return ProofReport(False, "inclusion", problem=problem)

    head, found, note = rest.partition("\n\n")
    lines = head.split("\n")
    carried: bytes | None = None
    if lines[0].startswith("extra "):
        carried = _base64(lines.pop(0).removeprefix("extra "))
        if carried is None:
            return no("its extra line is not base64")
    match = re.fullmatch("index (0|[1-9][0-9]{0,15})", lines[0] if lines else "", re.ASCII)
    path = _hashes(lines[1:])
    if not found or match is None or path is None:
        return no("it is not a tlog-proof in its one form")
    signed = key.open(note)
    if signed is None or signed[0] != key.name:
        return no("its checkpoint is not signed by this log's key")
    if entry is not None and carried is not None and entry != carried:
        return no("it is about another record than the one given")
    body = carried if entry is None else entry
    if body is None:
        return no("it does not carry its record; give it with --entry")
    origin, size, root = signed
    index = int(match[1])
    leaf = hashlib.sha256(b"\x00" + body).digest()
    if not included(leaf, index, size, path, root):
        return no("the path does not lead from the record to the signed root")
    record = read_record(body)
    if record is None or record["seq"] != index:
        return no("the record is in the log but is not one that a gate writes there")
    return ProofReport(True, "inclusion", origin, size, index, record)


def _consistency(rest: str, key: Key) -> ProofReport:
    def no(problem: str) -> ProofReport:
        return ProofReport(False, "consistency", problem=problem)

    # The hashes may be none: then the empty line comes at once.
    parts = f"\n{rest}".split("\n\n")
    if len(parts) != 5:
        return no("it is not a consistency proof in its one form")
    head, old_text, old_signed, new_text, new_signed = parts
    proof = _hashes(head.split("\n")[1:])
    if proof is None:
        return no("it is not a consistency proof in its one form")
    old = key.open(f"{old_text}\n\n{old_signed}\n")
    new = key.open(f"{new_text}\n\n{new_signed}")
    if old is None or new is None or not old[0] == new[0] == key.name:
        return no("a checkpoint is not signed by this log's key")
    (origin, old_size, old_root), (_, size, root) = old, new
    if not grows_from(old_size, old_root, size, root, proof):
        return no("the hashes do not lead from the older signed root to the newer one")
    return ProofReport(True, "consistency", origin, size, old_size=old_size)


def _hashes(lines: Sequence[str]) -> list[bytes] | None:
    if len(lines) > _HASHES_MAX:
        return None
    found = [raw for raw in map(_base64, lines) if raw is not None and len(raw) == HASH_BYTES]
    return found if len(found) == len(lines) else None


def _base64(text: str) -> bytes | None:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64.b64encode(raw).decode() == text else None
