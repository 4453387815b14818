"""The OSDP peripheral (PD) side of a simulated turnstile controller, without I/O.

Written on its own from the standard: it shares frames and AES with the control panel, not the
state machine. It refuses, in clear text, all that is not the Secure Channel's handshake, ID or
CAP; inside a session it obeys only commands with a valid MAC.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest
from typing import Protocol

from firmware_bridge.osdp_codes import (
    KEY_TYPE_SCBK,
    Capability,
    Command,
    Nak,
    Reply,
    Scs,
)
from firmware_bridge.osdp_crypto import (
    NotAuthenticError,
    SecureSession,
    SessionKeys,
    client_cryptogram,
    derive_session_keys,
    initial_rmac,
    server_cryptogram,
)
from firmware_bridge.osdp_frame import Frame, FrameDecoder, encode

SESSION_TIMEOUT_S = 8.0
"""A session without a valid command for so long is over (SIA OSDP 2.2, 5.7)."""

CLIENT_UID = bytes.fromhex("00 53 49 4d 01 00 00 00")
_PDID = bytes([0x00, 0x53, 0x49, 1, 1, 0, 0, 0, 1, 0, 1, 0])


class Wiring(Protocol):
    """What the controller's processor sees of the turnstile."""

    @property
    def contacts(self) -> tuple[int, int]:
        """Number of inputs, number of outputs."""
        ...

    def report_inputs(self) -> bytes:
        """Return the oldest state of the inputs not told yet, else the present one.

        One byte an input, 1 = loop closed. The order matters: an edge is told exactly once.
        """
        ...

    def report_outputs(self) -> bytes:
        """Return the present state, one byte an output, 1 = active."""
        ...

    def report_local(self) -> bytes:
        """Return tamper, power: 1 = trouble."""
        ...

    def next_change(self) -> tuple[int, bytes] | None:
        """Return the oldest state change not told yet: reply code and data."""
        ...

    def forget_changes(self) -> None:
        """A new session reads the present state; what changed before is past."""
        ...

    def drive(self, output: int, control: int, timer_count: int) -> bool:
        """Obey one osdp_OUT entry; False: it will not, and nothing moved."""
        ...


@dataclass
class _Handshake:
    keys: SessionKeys
    server_proof: bytes


class Peripheral:
    """One peripheral device on a line.

    Args:
        key: the door's key.
        address: 0..126.
        wiring: the turnstile behind it.
        random_bytes: source of the device's 8 random bytes.
    """

    def __init__(
        self,
        key: bytes,
        *,
        address: int,
        wiring: Wiring,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.key = key
        self.refuse_out = False
        """Answer every OUT with an authentic NAK."""
        self._address = address
        self._wiring = wiring
        self._random_bytes = random_bytes
        self._decoder = FrameDecoder()
        self._session: SecureSession | None = None
        self._handshake: _Handshake | None = None
        self._sqn: int | None = None
        self._last_command = b""
        self._last_reply = b""
        self._last_valid_at = 0.0

    @property
    def in_session(self) -> bool:
        """True while a Secure Channel stands."""
        return self._session is not None

    def reset(self) -> None:
        """Start over, as after power came back."""
        self._decoder.reset()
        self._end_session()
        self._sqn = None
        self._last_command = self._last_reply = b""

    def receive(self, data: bytes, now: float) -> list[bytes]:
        """Take bytes from the line; return the reply frames to send."""
        if self._session is not None and now - self._last_valid_at > SESSION_TIMEOUT_S:
            self._end_session()
        replies = []
        for frame in self._decoder.feed(data):
            if frame.is_reply or frame.address != self._address:
                continue
            replies.append(self._answer(frame, now))
        return replies

    def _answer(self, frame: Frame, now: float) -> bytes:
        received = frame.covered + frame.mac
        if frame.sqn == 0:
            self._end_session()
        elif frame.sqn == self._sqn and received == self._last_command:
            return self._last_reply  # asked again: say it again, do nothing again
        elif self._sqn is None or frame.sqn != self._sqn % 3 + 1:
            return self._clear_nak(frame, Nak.BAD_SEQUENCE)
        self._sqn = frame.sqn
        self._last_command = received
        in_session = self._session is not None
        reply = self._secured(frame, now) if in_session else self._clear(frame, now)
        self._last_reply = reply
        return reply

    # --- without a session -------------------------------------------------------------------

    def _clear(self, frame: Frame, now: float) -> bytes:
        if frame.code == Command.CHLNG:
            return self._challenged(frame)
        if frame.code == Command.SCRYPT:
            return self._proven(frame, now)
        if frame.security:
            return self._clear_nak(frame, Nak.SECURITY_BLOCK_UNSUPPORTED)
        if frame.code == Command.ID:
            return encode(self._address, frame.sqn, Reply.PDID, _PDID, is_reply=True)
        if frame.code == Command.CAP:
            return encode(
                self._address, frame.sqn, Reply.PDCAP, self._capabilities(), is_reply=True
            )
        return self._clear_nak(frame, Nak.ENCRYPTION_REQUIRED)

    def _challenged(self, frame: Frame) -> bytes:
        if frame.security != bytes([Scs.CHLNG, KEY_TYPE_SCBK]):
            return self._clear_nak(frame, Nak.SECURITY_BLOCK_UNSUPPORTED)
        if len(frame.data) != 8:
            return self._clear_nak(frame, Nak.BAD_LENGTH)
        rnd_a, rnd_b = frame.data, self._random_bytes(8)
        keys = derive_session_keys(self.key, rnd_a)
        self._handshake = _Handshake(keys, server_cryptogram(keys, rnd_a, rnd_b))
        data = CLIENT_UID + rnd_b + client_cryptogram(keys, rnd_a, rnd_b)
        security = bytes([Scs.CCRYPT, KEY_TYPE_SCBK])
        return self._say(frame, Reply.CCRYPT, data, security)

    def _proven(self, frame: Frame, now: float) -> bytes:
        handshake, self._handshake = self._handshake, None
        if handshake is None or frame.security != bytes([Scs.SCRYPT, KEY_TYPE_SCBK]):
            return self._clear_nak(frame, Nak.SECURITY_BLOCK_UNSUPPORTED)
        if not compare_digest(frame.data, handshake.server_proof):
            return self._clear_nak(frame, Nak.SECURITY_BLOCK_UNSUPPORTED)
        rmac_i = initial_rmac(handshake.keys, handshake.server_proof)
        self._session = SecureSession(handshake.keys, rmac_i)
        self._last_valid_at = now
        self._wiring.forget_changes()
        security = bytes([Scs.RMAC_I, 1])
        return self._say(frame, Reply.RMAC_I, rmac_i, security)

    def _clear_nak(self, frame: Frame, nak: Nak) -> bytes:
        return self._say(frame, Reply.NAK, bytes([nak]))

    def _say(self, frame: Frame, code: int, data: bytes, security: bytes = b"") -> bytes:
        return encode(self._address, frame.sqn, code, data, is_reply=True, security=security)

    # --- in a session ------------------------------------------------------------------------

    def _secured(self, frame: Frame, now: float) -> bytes:
        session = self._session
        assert session is not None
        try:
            data = session.open_command(frame)
        except NotAuthenticError:
            self._end_session()
            return self._clear_nak(frame, Nak.ENCRYPTION_REQUIRED)
        self._last_valid_at = now
        code, reply = self._obey(frame.code, data)
        return session.seal_reply(self._address, frame.sqn, code, reply)

    def _obey(self, command: int, data: bytes) -> tuple[int, bytes]:
        if command == Command.POLL:
            return self._wiring.next_change() or (Reply.ACK, b"")
        if command == Command.OUT:
            return self._out(data)
        if command == Command.ISTAT:
            return Reply.ISTATR, self._wiring.report_inputs()
        if command == Command.OSTAT:
            return Reply.OSTATR, self._wiring.report_outputs()
        if command == Command.LSTAT:
            return Reply.LSTATR, self._wiring.report_local()
        if command == Command.ID:
            return Reply.PDID, _PDID
        if command == Command.CAP:
            return Reply.PDCAP, self._capabilities()
        return Reply.NAK, bytes([Nak.UNKNOWN_COMMAND])

    def _out(self, data: bytes) -> tuple[int, bytes]:
        if len(data) != 4:
            return Reply.NAK, bytes([Nak.BAD_LENGTH])
        timer_count = int.from_bytes(data[2:4], "little")
        if self.refuse_out or not self._wiring.drive(data[0], data[1], timer_count):
            return Reply.NAK, bytes([Nak.UNABLE])
        return Reply.ACK, b""

    def _capabilities(self) -> bytes:
        inputs, outputs = self._wiring.contacts
        return bytes(
            [
                *(Capability.CONTACT_STATUS, 1, inputs),
                *(Capability.OUTPUT_CONTROL, 2, outputs),
                *(Capability.CHECK_CHARACTER, 1, 0),
                *(Capability.COMMUNICATION_SECURITY, 1, 0),
            ]
        )

    def _end_session(self) -> None:
        self._session = None
        self._handshake = None
