"""The reader's duties over NFC: engagement from the NDEF application, then data transfer.

Source: ISO/IEC 18013-5 8.2.2.1, 8.3.3.1.2; NFC Forum Type 4 Tag 1.2; ISO/IEC 7816-4 for SELECT,
READ BINARY, ENVELOPE with command chaining, and GET RESPONSE.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from firmware_bridge.ports import ApduChannel
from gate.card import cbor
from gate.errors import ProtocolViolation

NDEF_AID: Final = bytes.fromhex("D2760000850101")
MDOC_AID: Final = bytes.fromhex("A0000002480400")
CC_FILE: Final = b"\xe1\x03"

SW_OK: Final = 0x9000
SW_NOT_FOUND: Final = 0x6A82

_SHORT_DATA: Final = 255
_READ_CHUNK: Final = 255
_MAX_NDEF_BYTES: Final = 4096
# A response may carry the whole CBOR limit plus its DO'53' header and the session's GCM tag.
_MAX_RESPONSE_BYTES: Final = cbor.MAX_BYTES + 64
_MAX_GET_RESPONSES: Final = 1024


class PhoneLocked(ProtocolViolation):
    """The application is not there (SW 6A82): the phone is locked or holds no card."""


class Nfc:
    """One card in the field.

    Args:
        channel: exchanges APDUs.
        extended_length: send ENVELOPE as one extended-length APDU. Off by default: some readers
            refuse more than 255 bytes of data.
        on_locked: called each time the phone answers 6A82. True polls again (the caller waits and
            tells the person to unlock); False or no callback gives up.
    """

    def __init__(
        self,
        channel: ApduChannel,
        *,
        extended_length: bool = False,
        on_locked: Callable[[], bool] | None = None,
    ) -> None:
        self._channel = channel
        self._extended_length = extended_length
        self._on_locked = on_locked
        self.apdus = 0
        """Command APDUs sent so far."""

    def read_handover_select(self) -> bytes:
        """Return the NDEF message of the engagement application, byte for byte.

        Raises:
            PhoneLocked: SW 6A82.
            ProtocolViolation: another refusal or malformed files.
            DeviceFault: the card left the field.
        """
        self._select_application(NDEF_AID)
        self._select_file(CC_FILE)
        file_id, max_read = _capability(self._read(0, 15))
        self._select_file(file_id)
        size = int.from_bytes(self._read(0, 2), "big")
        if not 0 < size <= _MAX_NDEF_BYTES:
            raise ProtocolViolation("NDEF file is empty or too long")
        message = b""
        while len(message) < size:
            message += self._read(2 + len(message), min(size - len(message), max_read))
        return message

    def select_mdoc(self) -> None:
        """Select the mdoc application in the same field. Raises as read_handover_select."""
        self._select_application(MDOC_AID)

    def transceive(self, message: bytes, command_bytes: int) -> bytes:
        """Send one session message by ENVELOPE and return the answer.

        Blocks as long as the holder takes to consent; the channel owns that deadline.

        Args:
            message: SessionEstablishment or SessionData.
            command_bytes: what the phone takes in one command, from its handover message.
        """
        data = _wrap_do53(message)
        longest = min(command_bytes, 0xFFFF) if self._extended_length else 0
        size = max(_SHORT_DATA, longest)
        chunks = [data[at : at + size] for at in range(0, len(data), size)]
        for chunk in chunks[:-1]:
            _, status = self._send(self._envelope(chunk, last=False))
            if status != SW_OK:
                raise ProtocolViolation(f"ENVELOPE was refused with {status:04X}")
        content, status = self._send(self._envelope(chunks[-1], last=True))
        rounds = 0
        while status >> 8 == 0x61:
            rounds += 1
            if rounds > _MAX_GET_RESPONSES:
                raise ProtocolViolation("the phone's answer does not end")
            more, status = self._send(self._get_response(status & 0xFF))
            content += more
            if len(content) > _MAX_RESPONSE_BYTES:
                raise ProtocolViolation("the phone's answer is too long")
        if status != SW_OK:
            raise ProtocolViolation(f"ENVELOPE was refused with {status:04X}")
        return _unwrap_do53(content)

    def _envelope(self, chunk: bytes, *, last: bool) -> bytes:
        head = b"\x00\xc3\x00\x00" if last else b"\x10\xc3\x00\x00"
        if self._extended_length:
            return head + b"\x00" + len(chunk).to_bytes(2, "big") + chunk + b"\x00\x00" * last
        return head + bytes([len(chunk)]) + chunk + b"\x00" * last

    def _get_response(self, available: int) -> bytes:
        if self._extended_length:
            return b"\x00\xc0\x00\x00\x00\x00\x00"
        return b"\x00\xc0\x00\x00" + bytes([available])

    def _select_application(self, aid: bytes) -> None:
        command = b"\x00\xa4\x04\x00" + bytes([len(aid)]) + aid + b"\x00"
        while True:
            _, status = self._send(command)
            if status == SW_OK:
                return
            if status != SW_NOT_FOUND:
                raise ProtocolViolation(f"SELECT was refused with {status:04X}")
            if self._on_locked is None or not self._on_locked():
                raise PhoneLocked(
                    "the phone holds no such card now (6A82)", "unlock the phone and hold it again"
                )

    def _select_file(self, file_id: bytes) -> None:
        _, status = self._send(b"\x00\xa4\x00\x0c\x02" + file_id)
        if status != SW_OK:
            raise ProtocolViolation(f"SELECT file was refused with {status:04X}")

    def _read(self, offset: int, count: int) -> bytes:
        content, status = self._send(
            b"\x00\xb0" + offset.to_bytes(2, "big") + bytes([min(count, _READ_CHUNK)])
        )
        if status != SW_OK or not 0 < len(content) <= count:
            raise ProtocolViolation(f"READ BINARY was refused with {status:04X}")
        return content

    def _send(self, command: bytes) -> tuple[bytes, int]:
        self.apdus += 1
        answer = self._channel.exchange(command)
        if len(answer) < 2:
            raise ProtocolViolation("an answer without a status word")
        return answer[:-2], int.from_bytes(answer[-2:], "big")


def _capability(container: bytes) -> tuple[bytes, int]:
    """Return the NDEF file's id and the largest read from a capability container."""
    if len(container) < 15 or container[7:9] != b"\x04\x06" or container[13] != 0:
        raise ProtocolViolation(
            "capability container is malformed or the NDEF file is not readable"
        )
    max_read = int.from_bytes(container[3:5], "big")
    if max_read < 15:
        raise ProtocolViolation("capability container is malformed")
    return container[9:11], min(max_read, _READ_CHUNK)


def _wrap_do53(message: bytes) -> bytes:
    """Put a session message into data object '53' (BER-TLV)."""
    size = len(message)
    if size < 0x80:
        length = bytes([size])
    elif size < 0x100:
        length = b"\x81" + bytes([size])
    else:
        length = b"\x82" + size.to_bytes(2, "big")
    return b"\x53" + length + message


def _unwrap_do53(data: bytes) -> bytes:
    """Take a session message out of data object '53', nothing before, nothing behind."""
    if data[:1] != b"\x53" or len(data) < 2:
        raise ProtocolViolation("the phone's answer is no data object 53")
    head, size = 2, data[1]
    if size >= 0x80:
        if size not in (0x81, 0x82, 0x83):
            raise ProtocolViolation("the phone's answer has an impossible length")
        head = 2 + (size & 0x7F)
        size = int.from_bytes(data[2:head], "big")
    if len(data) != head + size:
        raise ProtocolViolation("the phone's answer is torn or has bytes behind it")
    return data[head:]
