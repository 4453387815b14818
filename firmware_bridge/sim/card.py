"""A simulated phone in the field: the two NFC applications of an mdoc, byte by byte.

It knows no gate and no cryptography: what to say is the application's business, what to do wrong is
told by a `CardFault`. Source: NFC Forum Type 4 Tag 1.2, ISO/IEC 18013-5 8.3.3.1.2, ISO/IEC 7816-4.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from firmware_bridge.errors import DeviceFault

_NDEF_AID: Final = bytes.fromhex("D2760000850101")
_MDOC_AID: Final = bytes.fromhex("A0000002480400")
_CC_FILE: Final = b"\xe1\x03"
_NDEF_FILE: Final = b"\xe1\x04"
# Version 2.0, reads of at most 255 bytes, one NDEF file, readable by all, writable by none.
_CAPABILITY: Final = bytes.fromhex("000F2000FF00FF0406E1047FFF00FF")

_OK: Final = b"\x90\x00"
_WRONG_LENGTH: Final = b"\x67\x00"
_NOT_ALLOWED: Final = b"\x69\x85"
_NOT_FOUND: Final = b"\x6a\x82"
_WRONG_PARAMETERS: Final = b"\x6b\x00"
_UNKNOWN_INSTRUCTION: Final = b"\x6d\x00"
_FAILED: Final = b"\x6f\x00"


class CardApplication(Protocol):
    """What lives behind the antenna. enrollment.wallet.Wallet is one."""

    def engage(self) -> bytes:
        """Begin a new engagement; return the NDEF Handover Select message."""
        ...

    def handle(self, message: bytes) -> bytes:
        """Answer one session message (SessionEstablishment or SessionData)."""
        ...


class FaultKind(Enum):
    """What a simulated card can do wrong."""

    LEAVE_FIELD = "leave_field"
    """Gone from this APDU on, until a new tap."""
    TRUNCATE = "truncate"
    """The answer loses its second half, status word included."""
    FLIP_BIT = "flip_bit"
    """One bit of the answer's middle byte changes."""
    DUPLICATE = "duplicate"
    """The answer's data comes twice."""
    TRAILING = "trailing"
    """A byte stands behind the answer's data."""
    LOCKED = "locked"
    """Answers 6A82."""
    STALL = "stall"
    """Says nothing for `stall_s`, then the field is lost."""


@dataclass(frozen=True)
class CardFault:
    """One misbehaviour at the n-th APDU of a tap (0 is the first)."""

    kind: FaultKind
    at: int
    stall_s: float = 2.0


class SimCard:
    """An ApduChannel over a CardApplication; one instance is one tap after another.

    Args:
        application: decides what the card says.
        fault: what goes wrong, if anything.
        sleep: waits when stalling; time.sleep, or a test's own clock.
    """

    def __init__(
        self,
        application: CardApplication,
        fault: CardFault | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._application = application
        self._fault = fault
        self._sleep = sleep
        self.apdus = 0
        """Command APDUs seen in this tap."""
        self.bytes_in = 0
        self.bytes_out = 0
        self.tap()

    def tap(self) -> None:
        """Leave the field and come back: a new tap, nothing remembered."""
        self.apdus = self.bytes_in = self.bytes_out = 0
        self._in_field = True
        self._selected = b""
        self._file: bytes | None = None
        self._chained = b""
        self._pending = b""

    def exchange(self, apdu: bytes) -> bytes:
        """Answer one command APDU.

        Raises:
            DeviceFault: the card left the field (only on command).
        """
        number, self.apdus = self.apdus, self.apdus + 1
        if not self._in_field:
            raise DeviceFault("card", "left the field", "hold it to the reader again")
        self.bytes_in += len(apdu)
        fault = self._fault if self._fault is not None and self._fault.at == number else None
        answer = self._answer(apdu) if fault is None else self._misbehave(apdu, fault)
        self.bytes_out += len(answer)
        return answer

    def _misbehave(self, apdu: bytes, fault: CardFault) -> bytes:
        if fault.kind is FaultKind.LOCKED:
            return _NOT_FOUND
        if fault.kind in (FaultKind.LEAVE_FIELD, FaultKind.STALL):
            self._in_field = False
            if fault.kind is FaultKind.STALL:
                self._sleep(fault.stall_s)
            raise DeviceFault("card", "left the field", "hold it to the reader again")
        answer = self._answer(apdu)
        data, status = answer[:-2], answer[-2:]
        if fault.kind is FaultKind.TRUNCATE:
            return answer[: len(answer) // 2]
        if fault.kind is FaultKind.DUPLICATE:
            return data + data + status if data else status + status
        if fault.kind is FaultKind.TRAILING:
            return data + b"\x00" + status
        middle = len(answer) // 2
        return answer[:middle] + bytes([answer[middle] ^ 0x10]) + answer[middle + 1 :]

    def _answer(self, apdu: bytes) -> bytes:
        parsed = _parse_command(apdu)
        if parsed is None:
            return _WRONG_LENGTH
        data, expected = parsed
        chaining, instruction = bool(apdu[0] & 0x10), apdu[1]
        if instruction == 0xA4:
            return self._select(apdu[2], data)
        if instruction == 0xB0 and self._selected == _NDEF_AID:
            return self._read_binary(int.from_bytes(apdu[2:4], "big"), expected)
        if instruction == 0xC3 and self._selected == _MDOC_AID:
            return self._envelope(data, chaining, expected)
        if instruction == 0xC0 and self._selected == _MDOC_AID:
            return self._give(expected)
        return _UNKNOWN_INSTRUCTION

    def _select(self, by: int, name: bytes) -> bytes:
        if by == 0x04:
            if name not in (_NDEF_AID, _MDOC_AID):
                return _NOT_FOUND
            if name == _NDEF_AID:
                message = self._application.engage()
                self._ndef = len(message).to_bytes(2, "big") + message
            self._selected, self._file, self._chained, self._pending = name, None, b"", b""
            return _OK
        if self._selected != _NDEF_AID or name not in (_CC_FILE, _NDEF_FILE):
            return _NOT_FOUND
        self._file = _CAPABILITY if name == _CC_FILE else self._ndef
        return _OK

    def _read_binary(self, offset: int, expected: int) -> bytes:
        if self._file is None:
            return _NOT_ALLOWED
        if offset >= len(self._file):
            return _WRONG_PARAMETERS
        return self._file[offset : offset + expected] + _OK

    def _envelope(self, data: bytes, chaining: bool, expected: int) -> bytes:
        self._chained += data
        if chaining:
            return _OK
        wrapped, self._chained = self._chained, b""
        message = _unwrap_do53(wrapped)
        if message is None:
            return _WRONG_LENGTH
        self._pending = _wrap_do53(self._application.handle(message))
        return self._give(expected)

    def _give(self, expected: int) -> bytes:
        if not self._pending:
            return _FAILED
        part, self._pending = self._pending[:expected], self._pending[expected:]
        if not self._pending:
            return part + _OK
        return part + bytes(
            [0x61, min(len(self._pending), 0xFF) if len(self._pending) < 256 else 0]
        )


def _parse_command(apdu: bytes) -> tuple[bytes, int] | None:
    """Return data and expected length (Ne) of a short or extended command APDU, or None."""
    body = apdu[4:]
    if len(apdu) < 4:
        return None
    if len(body) <= 1:
        return b"", (body[0] or 256) if body else 0
    if body[0] != 0:
        data, rest = body[1 : 1 + body[0]], body[1 + body[0] :]
        if len(data) != body[0] or len(rest) > 1:
            return None
        return data, (rest[0] or 256) if rest else 0
    if len(body) == 3:
        return b"", int.from_bytes(body[1:], "big") or 0x10000
    size = int.from_bytes(body[1:3], "big")
    data, rest = body[3 : 3 + size], body[3 + size :]
    if size == 0 or len(data) != size or len(rest) not in (0, 2):
        return None
    return data, (int.from_bytes(rest, "big") or 0x10000) if rest else 0


def _wrap_do53(message: bytes) -> bytes:
    size = len(message)
    if size < 0x80:
        return b"\x53" + bytes([size]) + message
    if size < 0x100:
        return b"\x53\x81" + bytes([size]) + message
    return b"\x53\x82" + size.to_bytes(2, "big") + message


def _unwrap_do53(data: bytes) -> bytes | None:
    if len(data) < 2 or data[0] != 0x53:
        return None
    extra = data[1] & 0x7F if data[1] & 0x80 else 0
    size = int.from_bytes(data[2 : 2 + extra], "big") if extra else data[1]
    message = data[2 + extra :]
    return message if len(message) == size else None
