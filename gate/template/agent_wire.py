"""What gate and key agent say to each other: one datagram per request, one per reply.

Request, big-endian: version (1), operation (1), serial (4), card session (16), kid (8),
wrapped (113), info (rest).
Reply: version (1), status (1), serial (4), totals of the agent (40), then the 32-byte key of a PIN
envelope or nothing.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum

from gate.errors import ProtocolViolation
from gate.template.outcome import KeyCounts, KeyOutcome
from gate.template.wrapping import CONTENT_KEY_BYTES, KID_BYTES, WRAPPED_BYTES

VERSION = 1
INFO_MAX = 512
SESSION_ID_BYTES = 16
_HEAD = struct.Struct(">BBI")
_FIXED = _HEAD.size + SESSION_ID_BYTES + KID_BYTES + WRAPPED_BYTES
_REPLY_MIN = _HEAD.size + KeyCounts.ENCODED_BYTES
REQUEST_MAX = _FIXED + INFO_MAX
REPLY_MAX = _REPLY_MIN + CONTENT_KEY_BYTES
HELLO_MAX = 16_384


class Operation(IntEnum):
    """What is asked of the agent. Values equal gate.template.context.Purpose."""

    TEMPLATE = 1
    """Write the content key into the passed pipe; the reply holds no key."""
    PIN = 2
    """Reply with the content key."""


class Status(IntEnum):
    """How a request ended."""

    OK = 0
    UNKNOWN_KID = 1
    DOES_NOT_OPEN = 2
    WRONG_PURPOSE = 3
    RATE_LIMITED = 4
    NO_PIPE = 5
    """No pipe came along, or nobody reads it any more."""
    MALFORMED = 6
    SECOND = 7
    """This card session had its one answer of this purpose."""
    SOURCE_GONE = 8
    """The token or TPM that holds the key does not answer; the agent ends after this reply."""

    @property
    def outcome(self) -> KeyOutcome:
        """What the log says of it."""
        return _OUTCOMES.get(self, KeyOutcome.FAILED)


_OUTCOMES = {
    Status.OK: KeyOutcome.RELEASED,
    Status.UNKNOWN_KID: KeyOutcome.REFUSED,
    Status.DOES_NOT_OPEN: KeyOutcome.REFUSED,
    Status.RATE_LIMITED: KeyOutcome.RATE_LIMITED,
    Status.SECOND: KeyOutcome.SECOND,
}


@dataclass(frozen=True, repr=False)
class Request:
    """One question to the agent."""

    operation: Operation
    serial: int
    session_id: bytes
    kid: bytes
    wrapped: bytes
    info: bytes

    def encode(self) -> bytes:
        """Return the datagram."""
        head = _HEAD.pack(VERSION, self.operation, self.serial)
        return head + self.session_id + self.kid + self.wrapped + self.info

    @classmethod
    def decode(cls, data: bytes) -> Request:
        """Return the request in one datagram, strictly.

        Raises:
            ProtocolViolation: not a version 1 request.
        """
        if not _FIXED < len(data) <= REQUEST_MAX:
            raise ProtocolViolation("key request has the wrong length")
        version, operation, serial = _HEAD.unpack_from(data)
        if version != VERSION or operation not in (Operation.TEMPLATE, Operation.PIN):
            raise ProtocolViolation("not a version 1 key request")
        at = _HEAD.size
        session_id, at = data[at : at + SESSION_ID_BYTES], at + SESSION_ID_BYTES
        kid, at = data[at : at + KID_BYTES], at + KID_BYTES
        wrapped, info = data[at:_FIXED], data[_FIXED:]
        return cls(Operation(operation), serial, session_id, kid, wrapped, info)


@dataclass(frozen=True, repr=False)
class Reply:
    """The agent's answer to one request."""

    status: Status
    serial: int
    counts: KeyCounts = field(default_factory=KeyCounts)
    key: bytes = b""

    def encode(self) -> bytes:
        """Return the datagram."""
        head = _HEAD.pack(VERSION, self.status, self.serial)
        return head + self.counts.encode() + self.key

    @classmethod
    def decode(cls, data: bytes) -> Reply:
        """Return the reply in one datagram, strictly.

        Raises:
            ProtocolViolation: not a version 1 reply.
        """
        if len(data) not in (_REPLY_MIN, REPLY_MAX):
            raise ProtocolViolation("key agent's reply has the wrong length")
        version, status, serial = _HEAD.unpack_from(data)
        if version != VERSION or status not in iter(Status):
            raise ProtocolViolation("not a version 1 reply of the key agent")
        counts = KeyCounts.decode(data[_HEAD.size : _REPLY_MIN])
        return cls(Status(status), serial, counts, data[_REPLY_MIN:])
