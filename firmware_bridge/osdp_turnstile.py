"""A turnstile behind an OSDP output controller: the production adapter of `ports.Turnstile`.

One thread owns the line (`osdp_bus`). It builds the Secure Channel, polls about 20 times a
second, and builds it again by itself after a line error or a replug. Nothing is ever sent to an
output except by `open`: connecting, reconnecting and closing never move a relay. The pulse is
timed by the device (osdp_OUT, timed on), so a relay falls back even if this computer dies.

A command whose answer is missing is never repeated blindly. A new session makes the old frame
worthless to the device; its output is then read. Only if that shows, while the pulse would
still last, that nothing happened, the command may be sent once more before the deadline.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from firmware_bridge.errors import DeviceFault
from firmware_bridge.osdp_bus import OsdpBus
from firmware_bridge.osdp_identity import DeviceIdentity
from firmware_bridge.osdp_key import generate_key, load_key, save_key
from firmware_bridge.osdp_opening import Opening
from firmware_bridge.osdp_panel import ControlPanel
from firmware_bridge.ports import Crossing, Link, OpenResult, TurnstileStatus
from firmware_bridge.turnstile_readings import TurnstileReadings

__all__ = ["OsdpTurnstile", "generate_key", "load_key", "save_key"]

MAX_PULSE_MS = 25_500
"""255 steps of 100 ms: what common devices hold of the 16-bit timer."""


class OsdpTurnstile:
    """One entry direction of a turnstile on an OSDP line. Meets `ports.Turnstile`.

    Inputs are wired as `turnstile_inputs.TurnstileInput` says. The object starts at once and
    does not wait for the line: an absent port is `Link.OFFLINE`, with the cause in `fault`.

    Args:
        port: device path, best /dev/serial/by-id/...
        key: the door's own 16-byte key, see `load_key`.
        baud: 9600 or 115200.
        address: OSDP address of the device, 0..126.
        entry_output: number of the output that drives the entry relay, 0..255.
        follow_ms: after a first person, how long to watch for a second one.
        reply_delay_ms: how long the device may think; the standard says 200.
        max_gap_ms: longest silence of the line across which a crossing counts as observed.
        clock: monotonic seconds.
        random_bytes: source of fresh randomness.

    Raises:
        ValueError: an argument is out of range, or the key is the public default.
    """

    def __init__(
        self,
        port: str,
        key: bytes,
        *,
        baud: int = 115200,
        address: int = 0,
        entry_output: int = 0,
        follow_ms: int = 1000,
        reply_delay_ms: int = 200,
        max_gap_ms: int = 300,
        clock: Callable[[], float] = time.monotonic,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if baud not in (9600, 115200):
            raise ValueError("the line runs at 9600 or 115200 baud")
        if not 0 <= entry_output <= 255:
            raise ValueError("an output number is 0..255")
        self._follow_s = follow_ms / 1000
        self._max_gap_s = max_gap_ms / 1000
        self._clock = clock
        panel = ControlPanel(
            key,
            address=address,
            random_bytes=random_bytes,
            baud=baud,
            reply_delay_s=reply_delay_ms / 1000,
        )
        readings = TurnstileReadings(entry_output, self._max_gap_s)
        self._bus = OsdpBus(port, baud, panel, readings, entry_output, clock)
        self._bus.start()

    def open(self, pulse_ms: int, deadline_ms: int = 700) -> OpenResult:
        """Pulse the entry relay once; see `ports.Turnstile.open`.

        Args:
            pulse_ms: 1..25500, rounded up to steps of 100 ms.
            deadline_ms: when to give up.

        Raises:
            ValueError: `pulse_ms` is out of range.
        """
        if not 1 <= pulse_ms <= MAX_PULSE_MS:
            raise ValueError(f"a pulse lasts 1..{MAX_PULSE_MS} ms")
        bus = self._bus
        deadline = self._clock() + deadline_ms / 1000
        opening = Opening(timer_count=-(-pulse_ms // 100), deadline=deadline)
        with bus.changed:
            while bus.opening is not None and not bus.closed:
                if not bus.wait_until(deadline):
                    return OpenResult.NOT_DELIVERED
            if bus.closed:
                return OpenResult.NOT_DELIVERED
            bus.opening = opening
            bus.hurry = True
            bus.changed.notify_all()
            while opening.result is None and not bus.closed and bus.wait_until(deadline):
                pass
            bus.finish(opening, opening.untold())
            bus.opening = None
            bus.changed.notify_all()
            assert opening.result is not None
            return opening.result

    def status(self) -> TurnstileStatus:
        """Return the newest supervised reading, without waiting for the line."""
        with self._bus.changed:
            return self._bus.readings.status(self._bus.link())

    def watch_crossing(self, window_ms: int) -> Crossing:
        """Block until one person crossed, or more than one, or the window ended.

        Counts from the last `open`, so a fast person is not missed. After a first person it
        keeps watching for `follow_ms`, at most to the window's end.
        """
        bus = self._bus
        with bus.changed:
            end = self._clock() + window_ms / 1000
            before, bus.before_opening = bus.before_opening, None
            first, gaps = before or (bus.readings.passages_a, bus.readings.gaps)
            seen_one = False
            bus.watching += 1
            try:
                while True:
                    persons = bus.readings.passages_a - first
                    if persons > 1:
                        return Crossing.TAILGATING
                    if persons == 1 and not seen_one:
                        seen_one = True
                        end = min(end, self._clock() + self._follow_s)
                    if bus.closed or not bus.wait_until(end):
                        break
            finally:
                bus.watching -= 1
            silent = bus.readings.silent_for(self._clock()) > self._max_gap_s
            observed = bus.readings.senses_passages and bus.readings.gaps == gaps and not silent
            if bus.closed or not observed:
                return Crossing.UNOBSERVED
            return Crossing.ONE if seen_one else Crossing.NOBODY

    def close(self) -> None:
        """Release the line. Idempotent; never moves the relay."""
        self._bus.close()

    # --- beyond the port -----------------------------------------------------------------------

    @property
    def fault(self) -> DeviceFault | None:
        """Why the line is not online, with advice; None while it is."""
        with self._bus.changed:
            return None if self._bus.link() is Link.ONLINE else self._bus.fault

    @property
    def identity(self) -> DeviceIdentity | None:
        """What the connected controller says it is; None before it was asked."""
        with self._bus.changed:
            return self._bus.identity

    def wait_online(self, timeout_s: float) -> bool:
        """Wait until the line is supervised; False when it was not within the time."""
        end = self._clock() + timeout_s
        with self._bus.changed:
            while self._bus.link() is not Link.ONLINE:
                if self._bus.closed or not self._bus.wait_until(end):
                    return self._bus.link() is Link.ONLINE
            return True
