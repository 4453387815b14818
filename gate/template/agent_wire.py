"""What gate and key agent say to each other: one datagram per request, one per reply.

Request, big-endian: version (1), operation (1), serial (4), kid (8), wrapped (113), info (rest).
Reply: version (1), status (1), serial (4), then the 32-byte key of a PIN envelope or nothing.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from gate.errors import ProtocolViolation
from gate.template.wrapping import CONTENT_KEY_BYTES, KID_BYTES, WRAPPED_BYTES

VERSION = 1
INFO_MAX = 512
_HEAD = struct.Struct(">BBI")
REQUEST_MAX = _HEAD.size + KID_BYTES + WRAPPED_BYTES + INFO_MAX
REPLY_MAX = _HEAD.size + CONTENT_KEY_BYTES
HELLO_MAX = 2048


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


@dataclass(frozen=True, repr=False)
class Request:
    """One question to the agent."""

    operation: Operation
    serial: int
    kid: bytes
    wrapped: bytes
    info: bytes

    def encode(self) -> bytes:
        """Return the datagram."""
        head = _HEAD.pack(VERSION, self.operation, self.serial)
        return head + self.kid + self.wrapped + self.info

    @classmethod
    def decode(cls, data: bytes) -> Request:
        """Return the request in one datagram, strictly.

        Raises:
            ProtocolViolation: not a version 1 request.
        """
        at = _HEAD.size + KID_BYTES
        end = at + WRAPPED_BYTES
        if not end < len(data) <= REQUEST_MAX:
            raise ProtocolViolation("key request has the wrong length")
        version, operation, serial = _HEAD.unpack_from(data)
        if version != VERSION or operation not in (Operation.TEMPLATE, Operation.PIN):
            raise ProtocolViolation("not a version 1 key request")
        kid, wrapped = data[_HEAD.size : at], data[at:end]
        return cls(Operation(operation), serial, kid, wrapped, data[end:])


@dataclass(frozen=True, repr=False)
class Reply:
    """The agent's answer to one request."""

    status: Status
    serial: int
    key: bytes = b""

    def encode(self) -> bytes:
        """Return the datagram."""
        return _HEAD.pack(VERSION, self.status, self.serial) + self.key

    @classmethod
    def decode(cls, data: bytes) -> Reply:
        """Return the reply in one datagram, strictly.

        Raises:
            ProtocolViolation: not a version 1 reply.
        """
        if len(data) not in (_HEAD.size, REPLY_MAX):
            raise ProtocolViolation("key agent's reply has the wrong length")
        version, status, serial = _HEAD.unpack_from(data)
        if version != VERSION or status not in iter(Status):
            raise ProtocolViolation("not a version 1 reply of the key agent")
        return cls(Status(status), serial, data[_HEAD.size :])
