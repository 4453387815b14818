"""One serial line. Every error of the layers below becomes one clear DeviceFault."""

from __future__ import annotations

import errno
import os
import select
import termios
from contextlib import suppress

import serial

from firmware_bridge.errors import DeviceFault

_WRITE_TIMEOUT_S = 0.2
_ABSENT = {errno.ENOENT, errno.ENXIO, errno.ENODEV}
_BUSY = {errno.EBUSY, errno.EAGAIN}
_DENIED = {errno.EACCES, errno.EPERM}


def _fault(path: str, error: Exception, doing: str) -> DeviceFault:
    """Translate an error of pyserial, termios or the kernel. `doing` is "open" or "use"."""
    code = error.args[0] if isinstance(error, termios.error) and error.args else None
    if isinstance(error, OSError):
        code = error.errno
    if doing == "use":
        return DeviceFault(path, "unplugged", "plug it in again; the gate reconnects by itself")
    if code in _ABSENT:
        return DeviceFault(path, "serial port absent", "plug it in or correct the port's name")
    if code in _BUSY:
        return DeviceFault(path, "serial port busy", "stop the other program that uses it")
    if code in _DENIED:
        advice = "add the gate's user to the group that owns it (dialout)"
        return DeviceFault(path, "serial port not permitted", advice)
    if code in (errno.ENOTTY, errno.EISDIR, errno.EINVAL):
        return DeviceFault(path, "not a serial port", "correct the port's name")
    if code == errno.EIO:
        return DeviceFault(path, "serial port does not answer", "check the adapter and its cable")
    return DeviceFault(path, "serial port did not open", "check the port's name and the adapter")


class UnsentFault(DeviceFault):
    """A write failed before the first byte left: the peer cannot have seen any of it."""


class SerialPort:
    """One exclusively opened serial port, 8N1.

    Args:
        path: device path. Use /dev/serial/by-id/...: it stays when adapters are numbered anew.
        baud: bits per second.

    Raises:
        DeviceFault: the port is absent, busy, not permitted or not a serial port.
    """

    def __init__(self, path: str, baud: int) -> None:
        self._path = path
        try:
            self._serial = serial.Serial(path, baud, timeout=0, exclusive=True)
            self._serial.reset_input_buffer()
            self._serial.reset_output_buffer()
        except (OSError, termios.error) as error:  # SerialException is an OSError
            raise _fault(path, self._cause(error), "open") from None

    @staticmethod
    def _cause(error: Exception) -> Exception:
        """Return the kernel's error where pyserial hid its number in an exception of its own."""
        hidden = error.__context__
        without_code = isinstance(error, OSError) and error.errno is None
        return hidden if without_code and isinstance(hidden, Exception) else error

    def read(self, timeout_s: float) -> bytes:
        """Return what arrived, waiting at most `timeout_s` for the first byte; b"" for nothing.

        Raises:
            DeviceFault: the port is gone.
        """
        try:
            ready, _, _ = select.select([self._serial.fileno()], [], [], max(timeout_s, 0.0))
            return bytes(self._serial.read(256)) if ready else b""
        except (OSError, ValueError, TypeError, termios.error) as error:
            raise _fault(self._path, error, "use") from None

    def write(self, data: bytes) -> None:
        """Hand all of `data` to the line's driver.

        Raises:
            UnsentFault: the port is gone or takes nothing; not one byte was sent.
            DeviceFault: the same, but a part was sent.
        """
        sent = 0
        try:
            while sent < len(data):
                _, ready, _ = select.select([], [self._serial.fileno()], [], _WRITE_TIMEOUT_S)
                if not ready:
                    kind = DeviceFault if sent else UnsentFault
                    raise kind(self._path, "line takes no data", "check the adapter and its cable")
                # One call, one answer: pyserial's own loop would hide how much was sent.
                sent += os.write(self._serial.fileno(), data[sent:])
        except (OSError, ValueError, TypeError) as error:
            fault = _fault(self._path, error, "use")
            if sent:
                raise fault from None
            raise UnsentFault(fault.device, fault.what, fault.advice) from None

    def drop_pending(self) -> None:
        """Throw away what waits in both directions, so that no old command leaves late.

        Raises:
            DeviceFault: the port is gone.
        """
        try:
            self._serial.reset_output_buffer()
            self._serial.reset_input_buffer()
        except (OSError, TypeError, termios.error) as error:
            raise _fault(self._path, error, "use") from None

    def close(self) -> None:
        """Release the port. Idempotent, never raises."""
        with suppress(OSError, TypeError, termios.error):
            # Bytes not yet sent must not leave after we are gone, and must not hold up close().
            self._serial.reset_output_buffer()
        try:
            self._serial.close()
        except (OSError, termios.error):
            # The descriptor is gone with the device; only the number may be left.
            fd, self._serial.fd = self._serial.fd, None
            if isinstance(fd, int):
                with suppress(OSError):
                    os.close(fd)
