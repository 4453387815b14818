"""The answer of a verifier: records of exactly 16 bytes, so nothing larger can leave.

Layout: version (1), kind (1), code (1), zero (5), passage nonce (8). No score, no time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from gate.errors import ProtocolViolation

RECORD_BYTES = 16
NONCE_BYTES = 8
VERSION = 1


class Kind(IntEnum):
    """What a record is."""

    READY = 1
    CAMERA_ON = 2
    GUIDANCE = 3
    VERDICT = 4


class Verdict(IntEnum):
    """How the comparison of this passage ended."""

    MATCH = 1
    NO_MATCH = 2
    NO_FACE = 3
    MULTIPLE_FACES = 4
    PRESENTATION_ATTACK = 5
    LOW_QUALITY = 6
    TEMPLATE_REJECTED = 7
    CAMERA_FAULT = 8
    MODEL_FAULT = 9
    NO_KEY = 10


@dataclass(frozen=True)
class Answer:
    """One record.

    `code` is a Verdict, a models.types.Advice for GUIDANCE, `standing` for READY, else 0.
    """

    kind: Kind
    code: int
    nonce: bytes


def standing(landlock_abi: int, *, dumpable: bool) -> int:
    """Return the code of READY: what the kernel told the worker and cannot tell its parent."""
    return min(landlock_abi, 0x7F) | (0x80 if dumpable else 0)


def read_standing(code: int) -> tuple[int, bool]:
    """Return (Landlock ABI, dumpable) out of the code of READY."""
    return code & 0x7F, bool(code & 0x80)


def encode(answer: Answer) -> bytes:
    """Return the 16 bytes of a record."""
    assert len(answer.nonce) == NONCE_BYTES
    return bytes([VERSION, answer.kind, answer.code, 0, 0, 0, 0, 0]) + answer.nonce


def decode(record: bytes, nonce: bytes) -> Answer:
    """Return the record, or refuse it.

    Raises:
        ProtocolViolation: wrong length, version, kind, padding, or another passage's nonce.
    """
    if len(record) != RECORD_BYTES or record[0] != VERSION or record[3:8] != bytes(5):
        raise ProtocolViolation("verifier answer is not a version 1 record")
    if record[8:] != nonce:
        raise ProtocolViolation("verifier answer belongs to another passage")
    try:
        kind = Kind(record[1])
        if kind is Kind.VERDICT:
            Verdict(record[2])
    except ValueError:
        raise ProtocolViolation("verifier answer has an unknown code") from None
    return Answer(kind, record[2], record[8:])
