"""The virtual antenna of a running gate: a Unix socket where a software phone can be held.

Frames are those of vpcd: uint16 big-endian length, then bytes. Length 1 is control (0 power off,
1 power on, 2 reset, 4 get ATR), everything longer is an APDU. The gate asks, the phone answers.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import stat
import threading
import time
from pathlib import Path
from typing import Final

from firmware_bridge.errors import DeviceFault
from firmware_bridge.ports import ApduChannel

POWER_OFF: Final = b"\x00"
POWER_ON: Final = b"\x01"
RESET: Final = b"\x02"
GET_ATR: Final = b"\x04"
ATR: Final = bytes.fromhex("3B80800101")
"""A contactless card without historical bytes (PC/SC part 3)."""

_MAX_FRAME: Final = 0xFFFF
_GREETING_S: Final = 1.0
_MIN_ATR_BYTES: Final = 2


class AntennaChannel:
    """One phone held to the antenna. An ApduChannel; close it when the card session is over."""

    def __init__(self, connection: socket.socket, name: str, exchange_s: float) -> None:
        self._connection = connection
        self._name = name
        self._exchange_s = exchange_s

    def exchange(self, apdu: bytes) -> bytes:
        """Transmit one command APDU and wait for the answer.

        Raises:
            DeviceFault: the phone left, or gave no answer before the deadline. The channel is
                closed then: a late answer can never be taken for the next one.
        """
        if not 2 <= len(apdu) <= _MAX_FRAME:
            raise ValueError("an APDU has 2 to 65535 bytes")
        deadline = time.monotonic() + self._exchange_s
        try:
            _send(self._connection, apdu, deadline)
            return _receive(self._connection, deadline)
        except (OSError, EOFError) as error:
            self.close()
            raise DeviceFault(
                self._name,
                "no answer in time" if isinstance(error, TimeoutError) else "the phone left",
                "hold it to the reader again",
            ) from None

    def close(self) -> None:
        """End the field for this phone. Idempotent."""
        with contextlib.suppress(OSError):
            _send(self._connection, POWER_OFF, time.monotonic() + 0.1)
            # Wakes a thread that still waits for an answer, before the descriptor goes.
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def __enter__(self) -> AntennaChannel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AntennaServer:
    """Listens for phones, one at a time.

    Args:
        socket_path: created with mode 0600; a stale socket of a dead gate is replaced.
        exchange_s: deadline of each APDU; covers a holder who takes time to consent.

    Raises:
        DeviceFault: another gate listens there, the path is no socket, or it cannot be made.
    """

    def __init__(self, socket_path: Path, exchange_s: float = 10.0) -> None:
        self._path = socket_path
        self._name = f"antenna {socket_path}"
        self._exchange_s = exchange_s
        self._channel: AntennaChannel | None = None
        self._closed = False
        self._waiting = threading.RLock()
        self._remove_stale()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Linux gives the new node the mode of the unbound socket: never open to others.
            os.fchmod(self._listener.fileno(), 0o600)
            self._listener.bind(str(socket_path))
            socket_path.chmod(0o600)
            self._listener.listen(4)
        except OSError as error:
            self._listener.close()
            raise DeviceFault(
                self._name,
                f"cannot listen ({error.strerror or error})",
                "name a path in a folder that this user owns",
            ) from None
        self._listener.setblocking(False)
        self._wake_read, self._wake_write = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)

    def wait_for_card(self, timeout_s: float) -> AntennaChannel | None:
        """Return the next phone, or None when none came in time or the server was closed.

        The channel of the phone before is closed first. Whoever connects and does not answer like
        a card within a second is dropped, and waiting goes on.
        """
        with self._waiting:
            if self._channel is not None:
                self._channel.close()
                self._channel = None
            deadline = time.monotonic() + timeout_s
            left_s = timeout_s
            while not self._closed and left_s >= 0:
                try:
                    ready = {key.fileobj for key, _ in self._selector.select(left_s)}
                except (OSError, ValueError):
                    return None  # closed by a signal handler of this very thread
                if self._listener in ready and not self._closed:
                    self._channel = self._greet()
                    if self._channel is not None:
                        return self._channel
                left_s = deadline - time.monotonic()
            return None

    def close(self) -> None:
        """Stop listening and remove the socket. Wakes a waiting thread. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._wake_write.send(b"x")
        with self._waiting:  # a waiting thread is on its way out: nothing is closed under it
            if self._channel is not None:
                self._channel.close()
            self._selector.close()
            for end in (self._listener, self._wake_read, self._wake_write):
                end.close()
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> AntennaServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _greet(self) -> AntennaChannel | None:
        """Accept one connection and ask it for its ATR, as a reader does with a new card."""
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise DeviceFault(
                    self._name,
                    f"no phone can be taken ({error.strerror})",
                    "raise the limit of open files of the gate, or end what uses them up",
                ) from None
            return None  # gone again before it was accepted
        deadline = time.monotonic() + _GREETING_S
        try:
            _send(connection, POWER_ON, deadline)
            _send(connection, GET_ATR, deadline)
            atr = _receive(connection, deadline)
        except (OSError, EOFError):
            connection.close()
            return None
        if len(atr) < _MIN_ATR_BYTES or atr[:1] not in (b"\x3b", b"\x3f"):
            connection.close()
            return None
        return AntennaChannel(connection, self._name, self._exchange_s)

    def _remove_stale(self) -> None:
        try:
            mode = self._path.lstat().st_mode
        except FileNotFoundError:
            return
        except OSError as error:
            raise DeviceFault(
                self._name, f"cannot look at the path ({error.strerror})", "name another path"
            ) from None
        if not stat.S_ISSOCK(mode):
            raise DeviceFault(self._name, "the path is taken by a file", "name another path")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_GREETING_S)
            try:
                probe.connect(str(self._path))
            except (ConnectionRefusedError, FileNotFoundError):
                self._path.unlink(missing_ok=True)
                return
            except OSError:
                pass
        raise DeviceFault(self._name, "another gate listens there", "stop it or name another path")


def serve_card(socket_path: Path, card: ApduChannel, timeout_s: float = 30.0) -> int:
    """Hold `card` to the antenna until the gate ends the field; return how many APDUs it answered.

    Args:
        socket_path: where the gate listens.
        card: answers the APDUs. When it raises DeviceFault, the phone leaves the field.
        timeout_s: longest silence of the gate before the phone is taken away.

    Raises:
        DeviceFault: no gate listens there, or it stays silent.
    """
    name = f"antenna {socket_path}"
    answered = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(socket_path))
        except OSError as error:
            raise DeviceFault(
                name, f"no gate listens ({error.strerror or error})", "start the gate first"
            ) from None
        try:
            while True:
                deadline = time.monotonic() + timeout_s
                frame = _receive(connection, deadline)
                if frame == POWER_OFF:
                    return answered
                if frame == GET_ATR:
                    _send(connection, ATR, deadline)
                if len(frame) == 1:
                    continue
                answer = card.exchange(frame)
                _send(connection, answer, deadline)
                answered += 1
        except TimeoutError:
            raise DeviceFault(name, "the gate is silent", "look at the gate's screen") from None
        except (DeviceFault, OSError, EOFError):
            return answered


def _send(connection: socket.socket, content: bytes, deadline: float) -> None:
    _set_timeout(connection, deadline)
    connection.sendall(len(content).to_bytes(2, "big") + content)


def _receive(connection: socket.socket, deadline: float) -> bytes:
    """Read one frame. Raises EOFError at the end of the stream, OSError or TimeoutError."""
    size = int.from_bytes(_receive_exactly(connection, 2, deadline), "big")
    return _receive_exactly(connection, size, deadline)


def _receive_exactly(connection: socket.socket, size: int, deadline: float) -> bytes:
    content = b""
    while len(content) < size:
        _set_timeout(connection, deadline)
        part = connection.recv(size - len(content))
        if not part:
            raise EOFError
        content += part
    return content


def _set_timeout(connection: socket.socket, deadline: float) -> None:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    connection.settimeout(left_s)
