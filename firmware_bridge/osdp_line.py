"""One exchange after the other on one OSDP line: the panel's bytes over a serial port."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from firmware_bridge.osdp_panel import Answer, ControlPanel, Ended, EndReason, Secured


class SessionEndedError(Exception):
    """The Secure Channel ended. What was under way may or may not have been obeyed."""

    def __init__(self, reason: EndReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Port(Protocol):
    """What a line needs of a serial port; errors are DeviceFault."""

    def read(self, timeout_s: float) -> bytes:
        """Return what arrived, b"" when nothing came within the time."""
        ...

    def write(self, data: bytes) -> None:
        """Send all."""
        ...

    def drop_pending(self) -> None:
        """Throw away what waits in both directions."""
        ...


class OsdpLine:
    """Blocking exchanges over one open port. For one thread."""

    def __init__(self, port: Port, panel: ControlPanel, clock: Callable[[], float]) -> None:
        self._port = port
        self._panel = panel
        self._clock = clock

    def connect(self) -> bytes:
        """Build a Secure Channel; return the device's 8-byte client UID.

        Raises:
            SessionEndedError: the handshake failed.
            DeviceFault: the port is gone.
        """
        self._port.drop_pending()
        self._panel.begin(self._clock())
        event = self._wait()
        if not isinstance(event, Secured):
            raise SessionEndedError(EndReason.UNEXPECTED)
        return event.client_uid

    def exchange(self, command: int, data: bytes = b"") -> Answer:
        """Send one command once and return its authentic reply.

        Raises:
            SessionEndedError: no authentic reply came.
            DeviceFault: the port is gone.
        """
        self._panel.send(command, data, self._clock())
        event = self._wait()
        if not isinstance(event, Answer):
            raise SessionEndedError(EndReason.UNEXPECTED)
        return event

    def _wait(self) -> Secured | Answer:
        """Move bytes until the panel says what came of it."""
        while True:
            output = self._panel.take_output()
            if output:
                self._port.write(output)
            now = self._clock()
            deadline = self._panel.deadline
            left = deadline - now if deadline is not None else 0.0
            received = self._port.read(left)
            now = self._clock()
            events = self._panel.receive(received, now) if received else self._panel.expire(now)
            for event in events:
                if isinstance(event, Ended):
                    raise SessionEndedError(event.reason)
            if events:
                # A panel in session has one command under way: one event, or a broken session.
                last = events[-1]
                assert not isinstance(last, Ended)
                return last
