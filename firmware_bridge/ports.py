"""What the gate asks of devices. Adapters and simulators in this package meet these contracts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Bgr8 = NDArray[np.uint8]
"""One frame: uint8, shape (height, width, 3), BGR."""


class OpenResult(Enum):
    """What is known about one `Turnstile.open`."""

    OPENED = "opened"
    """The device accepted the command and its output was read back active."""
    REFUSED = "refused"
    """The device answered that it will not (fire, fault, rest time); nothing moved."""
    NOT_DELIVERED = "not_delivered"
    """The command never reached the device, nor can it still arrive; nothing moved."""
    UNKNOWN = "unknown"
    """Sent, but no trustworthy answer. Never resent. The sensor tells what happened."""


class Crossing(Enum):
    """What the passage sensors saw after an opening."""

    ONE = "one"
    TAILGATING = "tailgating"
    NOBODY = "nobody"
    UNOBSERVED = "unobserved"


class Link(Enum):
    """State of the line to the turnstile."""

    ONLINE = "online"
    OFFLINE = "offline"
    WRONG_KEY = "wrong_key"


@dataclass(frozen=True)
class TurnstileStatus:
    """One supervised reading. Inputs are meaningful only when `link` is ONLINE."""

    link: Link
    relay_active: bool = False
    tamper: bool = False
    power_fault: bool = False
    ready: bool = False
    fire: bool = False
    passages_a: int = 0
    """Persons counted in the entry direction since the session began."""
    passages_b: int = 0
    """Persons counted in the exit direction since the session began."""


class Turnstile(Protocol):
    """One entry direction of one turnstile. Thread safe. Egress is never ours."""

    def open(self, pulse_ms: int, deadline_ms: int = 700) -> OpenResult:
        """Pulse the entry relay once.

        Blocks until the outcome is known or `deadline_ms` has passed. Never queues: a command
        that could not be sent before the deadline is dropped. Does not raise for line trouble;
        that is NOT_DELIVERED or UNKNOWN.
        """
        ...

    def status(self) -> TurnstileStatus:
        """Return the newest supervised reading, without waiting for the line."""
        ...

    def watch_crossing(self, window_ms: int) -> Crossing:
        """Block until one person crossed, or more than one, or the window ended."""
        ...

    def close(self) -> None:
        """Release the line. Idempotent; never moves the relay."""
        ...


class ApduChannel(Protocol):
    """One card in the field. ISO/IEC 7816-4 command in, response (data + SW1 SW2) out."""

    def exchange(self, apdu: bytes) -> bytes:
        """Transmit one command APDU.

        Raises:
            DeviceFault: the card left the field or the reader is gone.
        """
        ...


class Camera(Protocol):
    """One opened camera. Frames arrive at the source's own pace."""

    def read(self) -> Bgr8 | None:
        """Return the next frame, or None when the source ended (a file) or stalled.

        Raises:
            DeviceFault: the camera went away.
        """
        ...

    def close(self) -> None:
        """Release the camera. Idempotent."""
        ...
