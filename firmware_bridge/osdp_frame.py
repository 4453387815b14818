"""OSDP frames: bytes to frame and back. No I/O, no keys, no time.

Layout (SIA OSDP 2.2, 5.9): SOM, address, length (2, little-endian, SOM to CRC), control,
[security block], code, data, [MAC 4], CRC-16 (2, little-endian). One 0xFF before a frame lets
the line settle and is not part of it.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Callable
from dataclasses import dataclass

from firmware_bridge.osdp_codes import Scs

MARK = b"\xff"
SOM = 0x53
MAX_FRAME = 256
"""Longest frame accepted, bytes. No reply that the gate asks for comes near it."""

_HEADER = 5
_CRC = 2
MAC_LENGTH = 4
_REPLY_BIT = 0x80
_SQN_MASK = 0x03
_CTRL_CRC = 0x04
_CTRL_SCB = 0x08
_CTRL_KNOWN = _SQN_MASK | _CTRL_CRC | _CTRL_SCB


def crc16(data: bytes) -> int:
    """Return the OSDP CRC: polynomial 0x1021, start 0x1D0F, not reflected."""
    return crc_hqx(data, 0x1D0F)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame whose CRC was right. Nothing in it is trusted before its MAC was checked."""

    address: int
    is_reply: bool
    sqn: int
    security: bytes
    """The security block without its length byte: type, then its data. Empty: clear text."""
    code: int
    data: bytes
    mac: bytes
    """4 bytes when the security type is SCS_15..18, else empty."""
    covered: bytes
    """The received bytes that the MAC covers: SOM up to the MAC."""

    @property
    def scs(self) -> int | None:
        """Security block type, None for clear text."""
        return self.security[0] if self.security else None


def has_mac(security: bytes) -> bool:
    """Tell whether a frame with this security block carries a MAC."""
    return bool(security) and Scs.COMMAND_MAC <= security[0] <= Scs.REPLY_MAC_ENC


def encode(
    address: int,
    sqn: int,
    code: int,
    data: bytes = b"",
    *,
    is_reply: bool = False,
    security: bytes = b"",
    mac: Callable[[bytes], bytes] | None = None,
) -> bytes:
    """Return one frame ready for the line, mark byte first.

    Args:
        address: 0..126, or 127 for broadcast.
        sqn: sequence number 0..3.
        code: command or reply code.
        data: already encrypted when the security block says so.
        is_reply: set the direction bit.
        security: security block without its length byte.
        mac: given the covered bytes, returns the MAC; needed when `security` is SCS_15..18.

    Raises:
        ValueError: the frame would be longer than `MAX_FRAME`, or a MAC is missing.
    """
    if has_mac(security) != (mac is not None):
        raise ValueError("a MAC belongs to SCS_15..18, and to nothing else")
    block = bytes([len(security) + 1]) + security if security else b""
    length = _HEADER + len(block) + 1 + len(data) + (MAC_LENGTH if mac else 0) + _CRC
    if length > MAX_FRAME:
        raise ValueError(f"a frame of {length} bytes is longer than {MAX_FRAME}")
    control = (sqn & _SQN_MASK) | _CTRL_CRC | (_CTRL_SCB if block else 0)
    head = bytes([SOM, address | (_REPLY_BIT if is_reply else 0)])
    body = head + length.to_bytes(2, "little") + bytes([control]) + block + bytes([code]) + data
    if mac is not None:
        body += mac(body)[:MAC_LENGTH]
    return MARK + body + crc16(body).to_bytes(2, "little")


def _parse(raw: bytes) -> Frame | None:
    """Read one whole frame whose header was plausible; None when it is broken."""
    if crc16(raw[:-_CRC]) != int.from_bytes(raw[-_CRC:], "little"):
        return None
    control = raw[4]
    position = _HEADER
    security = b""
    if control & _CTRL_SCB:
        block_length = raw[position]
        if block_length < 2 or position + block_length > len(raw) - _CRC:
            return None
        security = raw[position + 1 : position + block_length]
        position += block_length
    end = len(raw) - _CRC
    mac = b""
    if has_mac(security):
        end -= MAC_LENGTH
        mac = raw[end : end + MAC_LENGTH]
    if position >= end:
        return None
    return Frame(
        address=raw[1] & ~_REPLY_BIT,
        is_reply=bool(raw[1] & _REPLY_BIT),
        sqn=control & _SQN_MASK,
        security=security,
        code=raw[position],
        data=raw[position + 1 : end],
        mac=mac,
        covered=raw[:end],
    )


class FrameDecoder:
    """Cut a byte stream into frames, however it is split, and find back after garbage.

    The result depends on the bytes only, never on how they were split. A broken frame costs
    its first byte; the search goes on behind it, so a good frame inside noise is found.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.rejected = 0
        """Frames with a plausible header that were broken, since the start."""

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes from the line; return the frames that they complete."""
        self._buffer += data
        frames: list[Frame] = []
        while True:
            start = self._buffer.find(SOM)
            if start < 0:
                self._buffer.clear()
                return frames
            del self._buffer[:start]
            length = self._plausible_length()
            if length is None:
                return frames
            if length == 0:
                del self._buffer[:1]
                continue
            if len(self._buffer) < length:
                return frames
            frame = _parse(bytes(self._buffer[:length]))
            if frame is None:
                self.rejected += 1
                del self._buffer[:1]
                continue
            frames.append(frame)
            del self._buffer[:length]

    def reset(self) -> None:
        """Forget a started frame: the line was silent for too long or was opened anew."""
        self._buffer.clear()

    def _plausible_length(self) -> int | None:
        """Length that the header announces; 0 when it is no header, None when more is needed."""
        if len(self._buffer) < _HEADER:
            return None
        length = int.from_bytes(self._buffer[2:4], "little")
        control = self._buffer[4]
        # Checksum frames and unknown control bits are not ours: the panel speaks CRC only.
        known = not control & ~_CTRL_KNOWN and control & _CTRL_CRC
        return length if known and _HEADER + 1 + _CRC <= length <= MAX_FRAME else 0
