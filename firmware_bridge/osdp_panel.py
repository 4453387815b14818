"""The OSDP control panel (CP) side of one door's line, without I/O.

Bytes, time and randomness are passed in; bytes to send and events come out. One command is
under way at a time. The panel knows only two conditions: no session, or a Secure Channel in
which every reply must be authentic. Outside a session it says CHLNG and SCRYPT and nothing
else, so no command ever travels in clear text; whatever does not fit ends the session. It never
repeats a frame: a command in doubt is for the caller to judge, in a new session.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from hmac import compare_digest

from firmware_bridge.osdp_codes import KEY_TYPE_SCBK, Command, Reply, Scs
from firmware_bridge.osdp_crypto import (
    RANDOM_LENGTH,
    NotAuthenticError,
    SecureSession,
    SessionKeys,
    client_cryptogram,
    derive_session_keys,
    initial_rmac,
    server_cryptogram,
)
from firmware_bridge.osdp_frame import Frame, FrameDecoder, encode
from firmware_bridge.osdp_key import check_key

REPLY_DELAY_S = 0.2
"""Longest time a device may think before it answers (SIA OSDP 2.2, 5.7)."""

_LONGEST_REPLY = 96
_BITS_PER_BYTE = 10


class EndReason(Enum):
    """Why a session, or the attempt to build one, ended."""

    NO_REPLY = "the device did not answer"
    CORRUPT = "a broken frame arrived"
    NOT_AUTHENTIC = "a reply was not authentic"
    UNEXPECTED = "a reply fitted no command"
    WRONG_KEY = "the device does not hold this door's key"
    DEFAULT_KEY = "the device offers the public default key"
    NO_SECURE_CHANNEL = "the device refuses the Secure Channel"


@dataclass(frozen=True, slots=True)
class Secured:
    """The Secure Channel stands. `client_uid` is the device's own 8-byte name."""

    client_uid: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """The authentic reply to `command`."""

    command: int
    code: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """There is no session any more. A command under way may or may not have been obeyed."""

    reason: EndReason


Event = Secured | Answer | Ended


class _State(Enum):
    DOWN = "down"
    CHALLENGED = "challenged"
    PROVING = "proving"
    SECURE = "secure"


class ControlPanel:
    """One control panel that talks to one device.

    Args:
        key: the door's own 16-byte key (SCBK).
        address: the device's address, 0..126.
        random_bytes: source of fresh randomness, `os.urandom` in production.
        baud: line speed, bits per second; only for how long to wait.
        reply_delay_s: how long the device may think.

    Raises:
        ValueError: the key is the public default or malformed, or the address is no address.
    """

    def __init__(
        self,
        key: bytes,
        *,
        address: int,
        random_bytes: Callable[[int], bytes],
        baud: int,
        reply_delay_s: float = REPLY_DELAY_S,
    ) -> None:
        if not 0 <= address <= 126:
            raise ValueError("an OSDP address is 0..126")
        self._key = check_key(key)
        self._address = address
        self._random_bytes = random_bytes
        self._byte_s = _BITS_PER_BYTE / baud
        self._reply_delay_s = reply_delay_s
        self._decoder = FrameDecoder()
        self._state = _State.DOWN
        self._sqn = 0
        self._under_way: int | None = None
        self._deadline: float | None = None
        self._rnd_a = bytes(RANDOM_LENGTH)
        self._challenges: deque[bytes] = deque(maxlen=4)
        self._client_uid = b""
        self._keys: SessionKeys | None = None
        self._rmac_i = b""
        self._session: SecureSession | None = None
        self._output = b""

    def __repr__(self) -> str:
        return f"ControlPanel(address={self._address}, state={self._state.value})"

    @property
    def secure(self) -> bool:
        """True while a session stands."""
        return self._state is _State.SECURE

    @property
    def idle(self) -> bool:
        """True when a command may be sent."""
        return self.secure and self._under_way is None

    @property
    def deadline(self) -> float | None:
        """When `expire` must be called if nothing came, on the caller's clock in seconds."""
        return self._deadline

    def wire_time_s(self, frame_bytes: int) -> float:
        """Return how long so many bytes take on this line."""
        return frame_bytes * self._byte_s

    def take_output(self) -> bytes:
        """Return the bytes to send now; each byte is handed out once."""
        output, self._output = self._output, b""
        return output

    def begin(self, now: float) -> None:
        """Start the handshake with a fresh challenge. Ends any session silently."""
        self._down()
        self._output = b""
        self._decoder.reset()
        self._challenges.append(self._rnd_a)
        self._rnd_a = self._random_bytes(RANDOM_LENGTH)
        # SQN 0 tells the device to forget its session and its last reply.
        self._sqn = 0
        security = bytes([Scs.CHLNG, KEY_TYPE_SCBK])
        frame = encode(self._address, 0, Command.CHLNG, self._rnd_a, security=security)
        self._state = _State.CHALLENGED
        self._put(Command.CHLNG, frame, now)

    def send(self, command: int, data: bytes, now: float) -> None:
        """Send one command inside the session.

        Raises:
            RuntimeError: there is no session, or a command is under way.
        """
        if not self.idle or self._session is None:
            raise RuntimeError("no session, or a command is under way")
        self._sqn = self._sqn % 3 + 1
        self._put(command, self._session.seal_command(self._address, self._sqn, command, data), now)

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take bytes from the line; return what they mean."""
        rejected = self._decoder.rejected
        events: list[Event] = []
        for frame in self._decoder.feed(data):
            # Our own echo on a two-wire line, and other devices on the bus.
            if not frame.is_reply or frame.address != self._address:
                continue
            events += self._on_frame(frame, now)
        if not events and self._state is not _State.DOWN and self._decoder.rejected > rejected:
            events.append(self._end(EndReason.CORRUPT))
        return events

    def expire(self, now: float) -> list[Event]:
        """Tell the panel the time; a reply that is overdue ends the session."""
        if self._deadline is None or now < self._deadline:
            return []
        return [self._end(EndReason.NO_REPLY)]

    def _put(self, command: int, frame: bytes, now: float) -> None:
        self._under_way = command
        self._output += frame
        wire = self.wire_time_s(len(frame) + _LONGEST_REPLY)
        self._deadline = now + wire + self._reply_delay_s

    def _on_frame(self, frame: Frame, now: float) -> list[Event]:
        if self._state is _State.DOWN:
            return []
        if self._state is _State.CHALLENGED and frame.sqn != 0:
            return []  # late, from the session before; nothing is at stake yet
        if self._under_way is None or frame.sqn != self._sqn:
            return [self._end(EndReason.UNEXPECTED)]
        if self._state is _State.CHALLENGED:
            return self._on_ccrypt(frame, now)
        if self._state is _State.PROVING:
            return self._on_rmac_i(frame)
        return self._on_reply(frame)

    def _on_ccrypt(self, frame: Frame, now: float) -> list[Event]:
        if frame.code == Reply.NAK:
            return [self._end(EndReason.NO_SECURE_CHANNEL)]
        if frame.code != Reply.CCRYPT or frame.scs != Scs.CCRYPT or len(frame.data) != 32:
            return [self._end(EndReason.UNEXPECTED)]
        if frame.security != bytes([Scs.CCRYPT, KEY_TYPE_SCBK]):
            return [self._end(EndReason.DEFAULT_KEY)]
        self._client_uid, rnd_b, proof = frame.data[:8], frame.data[8:16], frame.data[16:]
        keys = derive_session_keys(self._key, self._rnd_a)
        if not compare_digest(proof, client_cryptogram(keys, self._rnd_a, rnd_b)):
            # An answer to an earlier challenge is late, not wrong: the key is right.
            late = any(self._proves(old, rnd_b, proof) for old in self._challenges)
            return [] if late else [self._end(EndReason.WRONG_KEY)]
        own_proof = server_cryptogram(keys, self._rnd_a, rnd_b)
        self._keys = keys
        self._rmac_i = initial_rmac(keys, own_proof)
        self._sqn = 1
        self._state = _State.PROVING
        security = bytes([Scs.SCRYPT, KEY_TYPE_SCBK])
        frame_out = encode(self._address, 1, Command.SCRYPT, own_proof, security=security)
        self._put(Command.SCRYPT, frame_out, now)
        return []

    def _proves(self, rnd_a: bytes, rnd_b: bytes, proof: bytes) -> bool:
        keys = derive_session_keys(self._key, rnd_a)
        return compare_digest(proof, client_cryptogram(keys, rnd_a, rnd_b))

    def _on_rmac_i(self, frame: Frame) -> list[Event]:
        if frame.code == Reply.NAK:
            # The device's proof was right a moment ago, so the key is; the line or device is not.
            return [self._end(EndReason.NO_SECURE_CHANNEL)]
        if frame.code != Reply.RMAC_I or frame.security != bytes([Scs.RMAC_I, 1]):
            return [self._end(EndReason.UNEXPECTED)]
        if self._keys is None or not compare_digest(frame.data, self._rmac_i):
            return [self._end(EndReason.NOT_AUTHENTIC)]
        self._session = SecureSession(self._keys, self._rmac_i)
        self._state = _State.SECURE
        self._under_way = None
        self._deadline = None
        return [Secured(self._client_uid)]

    def _on_reply(self, frame: Frame) -> list[Event]:
        command = self._under_way
        if self._session is None or command is None:
            return [self._end(EndReason.UNEXPECTED)]
        try:
            data = self._session.open_reply(frame)
        except NotAuthenticError:
            return [self._end(EndReason.NOT_AUTHENTIC)]
        self._under_way = None
        self._deadline = None
        return [Answer(command, frame.code, data)]

    def _end(self, reason: EndReason) -> Ended:
        self._down()
        return Ended(reason)

    def _down(self) -> None:
        self._state = _State.DOWN
        self._under_way = None
        self._deadline = None
        self._keys = None
        self._session = None
        self._output = b""
