"""Records as bytes: canonical JSON, one encoding for each record. Pure.

A subset of RFC 8785 (ASCII keys in order, no spaces), so that one record has exactly one encoding
and one leaf hash.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

from gate.errors import LedgerFault
from gate.ledger.record import KIND_OF, KINDS, SCHEMA, SEQ_MAX, Record, check

VERSION: Final = 1
BATCH_S: Final = 900
"""All records of one quarter of an hour carry the same batch number: no exact time."""
BATCH_MAX: Final = 9_999_999
BODY_MAX_BYTES: Final = 1024


@dataclass(frozen=True)
class Entry:
    """One record at its place in the log."""

    seq: int
    batch: int
    record: Record


def batch_of(now: datetime) -> int:
    """Return the quarter of an hour that a moment belongs to: floor(Unix time / 900 s).

    Raises:
        LedgerFault: the moment has no time zone, or the clock is outside 1970..2255.
    """
    if now.tzinfo is None:
        raise LedgerFault("a moment without a time zone", "pass an aware datetime")
    batch = int(now.timestamp() // BATCH_S)
    if not 0 <= batch <= BATCH_MAX:
        raise LedgerFault("the clock is far outside any plausible date", "set the clock")
    return batch


def encode(seq: int, batch: int, record: Record) -> bytes:
    """Return the one canonical encoding of a record: at most 1024 bytes of ASCII JSON.

    Raises:
        ValueError: a field, the sequence or the batch does not fit the schema.
    """
    check(record)
    if not (type(seq) is int and 0 <= seq <= SEQ_MAX):
        raise ValueError("seq is out of range")
    if not (type(batch) is int and 0 <= batch <= BATCH_MAX):
        raise ValueError("batch is out of range")
    body: dict[str, object] = {
        "batch": batch,
        "kind": KIND_OF[type(record)],
        "seq": seq,
        "v": VERSION,
    }
    for name in SCHEMA[type(record)]:
        value = getattr(record, name)
        body[name] = value.value if isinstance(value, Enum) else value
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode("ascii")


def decode(body: bytes) -> Entry:
    """Return the entry that `encode` made.

    Raises:
        LedgerFault: not a version 1 record, or not in its canonical encoding.
    """
    entry = _decode(body)
    if entry is None:
        raise LedgerFault("a record does not fit the closed schema, version 1")
    return entry


def _decode(body: bytes) -> Entry | None:
    if len(body) > BODY_MAX_BYTES:
        return None
    try:
        found = json.loads(body.decode("ascii"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.pop("v", None) != VERSION:
        return None
    kind, seq, batch = (found.pop(name, None) for name in ("kind", "seq", "batch"))
    record_type = KINDS.get(kind) if isinstance(kind, str) else None
    if record_type is None or set(found) != set(SCHEMA[record_type]):
        return None
    try:
        values = {name: column.read(found[name]) for name, column in SCHEMA[record_type].items()}
        record = record_type(**values)
        again = encode(seq, batch, record)
    except (ValueError, TypeError):
        return None
    # Duplicate keys, spaces, `1.0`, `true` for 1 and the like all end here.
    return Entry(seq, batch, record) if again == body else None
