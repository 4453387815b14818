"""A cable between two serial devices that takes the time a real one would, and trickles."""

from __future__ import annotations

import os
import select
import threading
import time
import tty
from contextlib import suppress
from types import TracebackType

from firmware_bridge.errors import DeviceFault

_BITS_PER_BYTE = 10


class SlowLine:
    """A pty whose other end is an existing serial device. Use it as a context manager.

    Args:
        device_path: the device at the far end.
        baud: every byte takes its time at this speed; None: none.
        piece: bytes are handed on so many at a time, at most.

    Raises:
        DeviceFault: the far device cannot be opened.
    """

    def __init__(self, device_path: str, *, baud: int | None = None, piece: int = 256) -> None:
        self._byte_s = _BITS_PER_BYTE / baud if baud else 0.0
        self._piece = piece
        self.said: list[bytes] = []
        """What the near end said so far."""
        try:
            self._device = os.open(device_path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError as error:
            raise DeviceFault(device_path, f"did not open ({error.strerror})") from None
        tty.setraw(self._device)
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.device_path = os.ttyname(self._slave)
        """The near end."""
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._carry, args=(self._master, self._device, self.said)),
            threading.Thread(target=self._carry, args=(self._device, self._master, None)),
        ]
        for thread in self._threads:
            thread.start()

    def _carry(self, source: int, target: int, kept: list[bytes] | None) -> None:
        while not self._stop.is_set():
            if not select.select([source], [], [], 0.05)[0]:
                continue
            with suppress(OSError):
                data = os.read(source, self._piece)
                if kept is not None:
                    kept.append(data)
                time.sleep(len(data) * self._byte_s)
                os.write(target, data)

    def close(self) -> None:
        """Pull the cable. Idempotent."""
        if self._stop.is_set():
            return
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for descriptor in (self._master, self._slave, self._device):
            os.close(descriptor)

    def __enter__(self) -> SlowLine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
