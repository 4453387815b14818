"""The failures of devices."""

from __future__ import annotations


class DeviceFault(Exception):
    """A device is absent, busy, gone or breaks its protocol.

    Args:
        device: which one, as the configuration names it ("/dev/ttyUSB0", "camera v4l2:0").
        what: what happened, one clause.
        advice: what to do about it, one clause.
    """

    def __init__(self, device: str, what: str, advice: str = "") -> None:
        super().__init__(f"{device}: {what}")
        self.device = device
        self.what = what
        self.advice = advice

    def diagnostics(self) -> str:
        """One line for an operator: which device, what happened, what to do."""
        line = f"{self.device}: {self.what}"
        return f"{line}; {self.advice}" if self.advice else line
