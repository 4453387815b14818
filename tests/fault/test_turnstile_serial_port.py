"""Every way in which a serial port fails becomes one clear line."""

from __future__ import annotations

import errno
import os
import pty
import termios
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial

from firmware_bridge.errors import DeviceFault
from firmware_bridge.osdp_turnstile import OsdpTurnstile, generate_key
from firmware_bridge.ports import Link, OpenResult
from firmware_bridge.serial_port import SerialPort, UnsentFault, _fault


class Line:
    """A pty whose far end the test holds."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        self.path = os.ttyname(self.slave)
        self.open = True

    def unplug(self) -> None:
        if self.open:
            self.open = False
            os.close(self.slave)
            os.close(self.master)


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    line.unplug()


def one_line(fault: DeviceFault) -> str:
    text = fault.diagnostics()
    assert "\n" not in text
    assert fault.advice
    return text


def test_bytes_go_both_ways(line):
    port = SerialPort(line.path, 115200)
    port.write(b"\x53\x00\xff")
    assert os.read(line.master, 16) == b"\x53\x00\xff"
    os.write(line.master, b"\x11\x13\x00")  # XON and XOFF are data here
    assert port.read(5) == b"\x11\x13\x00"
    assert port.read(0) == b""
    port.close()
    port.close()


def test_what_waited_before_opening_is_thrown_away(line):
    os.write(line.master, b"stale")
    port = SerialPort(line.path, 115200)
    assert port.read(0) == b""
    os.write(line.master, b"stale")
    port.drop_pending()
    assert port.read(0) == b""
    port.close()


def test_absent(tmp_path):
    with pytest.raises(DeviceFault) as caught:
        SerialPort(str(tmp_path / "ttyUSB7"), 115200)
    assert "absent" in one_line(caught.value)


def test_busy(line):
    first = SerialPort(line.path, 115200)
    with pytest.raises(DeviceFault) as caught:
        SerialPort(line.path, 115200)
    assert "busy" in one_line(caught.value)
    first.close()
    SerialPort(line.path, 115200).close()


def test_not_permitted(line):
    Path(line.path).chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may open everything; nobody may not
    try:
        with pytest.raises(DeviceFault) as caught:
            SerialPort(line.path, 115200)
    finally:
        os.seteuid(user)
    assert "dialout" in one_line(caught.value)


def test_not_a_serial_port(tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(DeviceFault) as caught:
        SerialPort(str(path), 115200)
    assert "not a serial port" in one_line(caught.value)


@pytest.mark.parametrize("action", ["read", "write", "drop_pending"])
def test_unplugged(line, action):
    port = SerialPort(line.path, 115200)
    line.unplug()
    calls = {
        "read": lambda: port.read(5),
        "write": lambda: port.write(b"x"),
        "drop_pending": port.drop_pending,
    }
    with pytest.raises(DeviceFault) as caught:
        calls[action]()
    assert "unplugged" in one_line(caught.value)
    assert isinstance(caught.value, UnsentFault) == (action == "write")
    port.close()
    port.close()
    with pytest.raises(DeviceFault):
        calls[action]()


def test_a_line_that_takes_nothing(line):
    port = SerialPort(line.path, 115200)
    with pytest.raises(DeviceFault, match="takes no data"):
        for _ in range(1000):
            port.write(bytes(1024))  # nobody reads the far end
    port.close()


ERRORS = [OSError, serial.SerialException, serial.SerialTimeoutException, termios.error]
CODES = [errno.ENOENT, errno.EBUSY, errno.EAGAIN, errno.EACCES, errno.EPERM, errno.ENOTTY]
CODES += [errno.EIO, errno.ENXIO, errno.ENODEV, errno.EINVAL, errno.EMFILE]


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("doing", ["open", "use"])
def test_every_lower_error_has_one_line_with_advice(kind, code, doing):
    fault = _fault("/dev/ttyUSB0", kind(code, os.strerror(code)), doing)
    text = one_line(fault)
    assert text.startswith("/dev/ttyUSB0: ")


def test_the_adapter_says_why_it_is_offline(tmp_path, line):
    absent = OsdpTurnstile(str(tmp_path / "none"), generate_key())
    holder = SerialPort(line.path, 115200)
    busy = OsdpTurnstile(line.path, generate_key())
    try:
        for turnstile, word in ((absent, "absent"), (busy, "busy")):
            assert turnstile.open(500, 300) is OpenResult.NOT_DELIVERED
            assert turnstile.status().link is Link.OFFLINE
            fault = turnstile.fault
            assert fault is not None
            assert word in one_line(fault)
    finally:
        absent.close()
        busy.close()
        holder.close()
