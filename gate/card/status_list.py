"""Token Status List in CWT form: which credentials were revoked or had their consent withdrawn.

Source: draft-ietf-oauth-status-list (status list token in CWT format, sections 4 and 5.2).
Every gate holds the whole list, so nobody learns which card was shown where.
"""

from __future__ import annotations

import errno
import os
import stat
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from gate.card import cbor
from gate.card.cbor import MalformedCbor
from gate.card.cose import HEADER_TYP, Sign1

MEDIA_TYPE: Final = "application/statuslist+cwt"
COSE_SIGN1_TAG: Final = b"\xd2"
"""Tag 18, which a status list token starts with."""
CLAIM_SUB: Final = 2
CLAIM_EXP: Final = 4
CLAIM_IAT: Final = 6
CLAIM_STATUS_LIST: Final = 65533
CLAIM_TTL: Final = 65534

MAX_TOKEN_BYTES: Final = 256 * 1024
MAX_INFLATED_BYTES: Final = 256 * 1024
"""A million credentials at two bits each."""

Stamp = tuple[int, int, int, int]
"""Which state of a file was read: device, inode, size, nanoseconds of its last change."""


class Status(IntEnum):
    """Two bits an entry."""

    VALID = 0
    INVALID = 1
    """Revoked."""
    SUSPENDED = 2
    """Treated as revoked for as long as the list says so."""
    CONSENT_WITHDRAWN = 3
    """Application specific: the biometric consent ended, the card itself still holds."""


@dataclass(frozen=True, repr=False)
class StatusList:
    """One status list whose signature was checked."""

    uri: str
    issued_at: datetime
    expires_at: datetime | None
    bits: int
    entries: bytes

    def is_fresh(self, now: datetime) -> bool:
        """Whether the list may still be relied on. A list without `exp` never may."""
        return self.expires_at is not None and self.issued_at <= now < self.expires_at

    def __getitem__(self, index: int) -> int:
        """Return the status value of one credential, lowest bits of a byte first.

        Raises:
            IndexError: the list has no such entry.
        """
        per_byte = 8 // self.bits
        if not 0 <= index < len(self.entries) * per_byte:
            raise IndexError("the status list has no such entry")
        byte = self.entries[index // per_byte]
        return byte >> (index % per_byte * self.bits) & ((1 << self.bits) - 1)


def stamp_of(found: os.stat_result) -> Stamp:
    """Return the stamp of a file's state."""
    return found.st_dev, found.st_ino, found.st_size, max(found.st_mtime_ns, found.st_ctime_ns)


def read_token(path: Path) -> tuple[bytes, Stamp]:
    """Return the bytes of a status list file and the state they were read in.

    Never waits, and never reads more than a list can have. A symbolic link is followed: whoever
    publishes lists may switch links, and the signature says what counts.

    Raises:
        OSError: absent, unreadable, not a regular file, or too large.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        # The tag stands before the bytes that have the cap.
        most = len(COSE_SIGN1_TAG) + MAX_TOKEN_BYTES
        token = file.read(most + 1) if found.st_size <= most else None
        if token is None or len(token) > most:
            raise OSError(errno.EFBIG, f"larger than {MAX_TOKEN_BYTES} bytes")
    return token, stamp_of(found)


def open_status_list(token: bytes, signer: ec.EllipticCurvePublicKey) -> StatusList:
    """Check the signature of a status list token and unpack it. Freshness is the caller's.

    Raises:
        MalformedCbor: wrong type or signature, malformed, or inflating beyond the cap.
    """
    if token[:1] != COSE_SIGN1_TAG:
        raise MalformedCbor("not a tagged COSE_Sign1")
    message = Sign1.parse(cbor.load(token[1:], max_bytes=MAX_TOKEN_BYTES))
    if message.protected.get(HEADER_TYP) != MEDIA_TYPE:
        raise MalformedCbor("not a status list token")
    if message.payload is None or not message.is_signed_by(signer):
        raise MalformedCbor("status list is not signed by the configured signer")
    claims = cbor.need(cbor.load(message.payload, max_bytes=MAX_TOKEN_BYTES), dict)
    bits, entries = unpack_status_list(cbor.field(claims, CLAIM_STATUS_LIST, dict))
    return StatusList(
        uri=cbor.field(claims, CLAIM_SUB, str),
        issued_at=_moment(cbor.field(claims, CLAIM_IAT, int)),
        expires_at=_moment(cbor.field(claims, CLAIM_EXP, int)) if CLAIM_EXP in claims else None,
        bits=bits,
        entries=entries,
    )


def unpack_status_list(content: dict[object, object]) -> tuple[int, bytes]:
    """Return bits per entry and the inflated entries of a StatusList map.

    Raises:
        MalformedCbor: another number of bits, no zlib stream, or too long when inflated.
    """
    bits = cbor.field(content, "bits", int)
    if bits not in (1, 2, 4, 8):
        raise MalformedCbor("status list with an impossible number of bits")
    inflater = zlib.decompressobj()
    try:
        entries = inflater.decompress(cbor.field(content, "lst", bytes), MAX_INFLATED_BYTES)
    except zlib.error:
        raise MalformedCbor("status list is no zlib stream") from None
    if not inflater.eof or inflater.unused_data:
        raise MalformedCbor("status list is torn, has bytes behind it, or inflates too far")
    return bits, entries


def _moment(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        raise MalformedCbor("status list with an impossible date") from None
