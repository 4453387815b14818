"""A turnstile behind an OSDP output controller: the production adapter of `ports.Turnstile`.

One thread owns the line. It builds the Secure Channel, polls about 20 times a second, and
builds it again by itself after a line error or a replug. Nothing is ever sent to an output
except by `open`: connecting, reconnecting and closing never move a relay. The pulse is timed by
the device (osdp_OUT, timed on), so a relay falls back even if this computer dies.

A command whose answer is missing is never repeated blindly. A new session makes the old frame
worthless to the device; its output is then read. Only if that shows, while the pulse would
still last, that nothing happened, the command may be sent once more before the deadline.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from firmware_bridge.errors import DeviceFault
from firmware_bridge.osdp_codes import Command, Nak, OutputControl, Reply
from firmware_bridge.osdp_key import generate_key, load_key, save_key
from firmware_bridge.osdp_line import OsdpLine, SessionEndedError
from firmware_bridge.osdp_panel import Answer, ControlPanel, EndReason
from firmware_bridge.ports import Crossing, Link, OpenResult, TurnstileStatus
from firmware_bridge.serial_port import SerialPort, UnsentFault
from firmware_bridge.turnstile_readings import TurnstileReadings

__all__ = ["OsdpTurnstile", "generate_key", "load_key", "save_key"]

_LOG = logging.getLogger(__name__)

MAX_PULSE_MS = 25_500
"""255 steps of 100 ms: what common devices hold of the 16-bit timer."""

_POLL_S = 0.05
_STALE_S = 0.5
_REOPEN_S = 0.25
_MAX_PAUSE_S = 0.5
_OUT_BYTES = 32
_MAX_ATTEMPTS = 2
_EVIDENCE_S = 0.5
"""How long after the command an inactive output still proves that no pulse began: shorter than
the pulse, and no longer than the shortest pulse that turnstiles are set to keep by themselves."""

_SPOILT = {Nak.BAD_CHECK, Nak.BAD_LENGTH, Nak.BAD_SEQUENCE}
_SPOILT |= {Nak.SECURITY_BLOCK_UNSUPPORTED, Nak.ENCRYPTION_REQUIRED}

_ADVICE = {
    EndReason.WRONG_KEY: "give gate and turnstile controller the same key",
    EndReason.DEFAULT_KEY: "write this door's key into the turnstile controller",
    EndReason.NO_SECURE_CHANNEL: "use a controller with OSDP Secure Channel and this door's key",
    EndReason.NO_REPLY: "check power, wiring, address and baud rate of the turnstile controller",
}
_LINE_ADVICE = "check wiring and termination of the line"


@dataclass
class _Opening:
    """One call of `open`, shared between the caller and the bus thread."""

    timer_count: int
    deadline: float
    result: OpenResult | None = None
    sent_at: float | None = None
    accepted: bool = False
    in_doubt: bool = False
    relay_was_active: bool = False
    passages_before: int = 0
    attempts: int = 0


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
        self._port = port
        self._baud = baud
        self._entry_output = entry_output
        self._follow_s = follow_ms / 1000
        self._clock = clock
        self._max_gap_s = max_gap_ms / 1000
        self._panel = ControlPanel(
            key,
            address=address,
            random_bytes=random_bytes,
            baud=baud,
            reply_delay_s=reply_delay_ms / 1000,
        )
        self._changed = threading.Condition()
        # Guarded by _changed:
        self._readings = TurnstileReadings(entry_output, self._max_gap_s)
        self._link = Link.OFFLINE
        self._fault: DeviceFault | None = DeviceFault(port, "not connected yet")
        self._opening: _Opening | None = None
        self._base: tuple[int, int] | None = None
        self._closed = False
        self._hurry = False
        self._queries = 0
        self._watching = 0
        self._thread = threading.Thread(target=self._run, name="osdp-bus", daemon=True)
        self._thread.start()

    # --- ports.Turnstile ---------------------------------------------------------------------

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
        deadline = self._clock() + deadline_ms / 1000
        opening = _Opening(timer_count=-(-pulse_ms // 100), deadline=deadline)
        with self._changed:
            while self._opening is not None and not self._closed:
                if not self._wait_until(deadline):
                    return OpenResult.NOT_DELIVERED
            if self._closed:
                return OpenResult.NOT_DELIVERED
            self._opening = opening
            self._hurry = True
            self._changed.notify_all()
            while opening.result is None and not self._closed and self._wait_until(deadline):
                pass
            if opening.result is None:
                self._finish(opening, _untold(opening))
            self._opening = None
            self._changed.notify_all()
            assert opening.result is not None
            return opening.result

    def status(self) -> TurnstileStatus:
        """Return the newest supervised reading, without waiting for the line."""
        with self._changed:
            return self._readings.status(self._link_now())

    def watch_crossing(self, window_ms: int) -> Crossing:
        """Block until one person crossed, or more than one, or the window ended.

        Counts from the last `open`, so a fast person is not missed. After a first person it
        keeps watching for `follow_ms`, at most to the window's end.
        """
        with self._changed:
            end = self._clock() + window_ms / 1000
            base, self._base = self._base, None
            first, gaps = base or (self._readings.passages_a, self._readings.gaps)
            seen_one = False
            self._watching += 1
            try:
                while True:
                    persons = self._readings.passages_a - first
                    if persons > 1:
                        return Crossing.TAILGATING
                    if persons == 1 and not seen_one:
                        seen_one = True
                        end = min(end, self._clock() + self._follow_s)
                    if self._closed or not self._wait_until(end):
                        break
            finally:
                self._watching -= 1
            readings = self._readings
            observed = (
                readings.gaps == gaps and readings.silent_for(self._clock()) <= self._max_gap_s
            )
            if self._closed or not observed or not readings.senses_passages:
                return Crossing.UNOBSERVED
            return Crossing.ONE if seen_one else Crossing.NOBODY

    def close(self) -> None:
        """Release the line. Idempotent; never moves the relay."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join()

    # --- beyond the port ---------------------------------------------------------------------

    @property
    def fault(self) -> DeviceFault | None:
        """Why the line is not online, with advice; None while it is."""
        with self._changed:
            return None if self._link_now() is Link.ONLINE else self._fault

    def wait_online(self, timeout_s: float) -> bool:
        """Wait until the line is supervised; False when it was not within the time."""
        end = self._clock() + timeout_s
        with self._changed:
            while self._link_now() is not Link.ONLINE:
                if self._closed or not self._wait_until(end):
                    return self._link_now() is Link.ONLINE
            return True

    # --- shared state (hold _changed) --------------------------------------------------------

    def _wait_until(self, end: float) -> bool:
        """Wait for a change; False once `end` has passed."""
        left = end - self._clock()
        if left <= 0:
            return False
        self._changed.wait(left)
        return True

    def _link_now(self) -> Link:
        # A line error that heals within _STALE_S is not worth a blink of the gate.
        stale = self._readings.silent_for(self._clock()) > _STALE_S
        return Link.OFFLINE if self._link is Link.ONLINE and (stale or self._closed) else self._link

    def _finish(self, opening: _Opening, result: OpenResult) -> None:
        if opening.result is None:
            opening.result = result
            self._changed.notify_all()

    # --- bus thread --------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closed:
            try:
                port = SerialPort(self._port, self._baud)
            except DeviceFault as fault:
                self._offline(Link.OFFLINE, fault)
                self._pause(_REOPEN_S)
                continue
            try:
                self._serve(OsdpLine(port, self._panel, self._clock))
            except DeviceFault as fault:
                self._offline(Link.OFFLINE, fault)
            finally:
                port.close()

    def _serve(self, line: OsdpLine) -> None:
        """Keep sessions up on one open port until closed."""
        pause = 0.0
        while not self._closed:
            try:
                line.connect()
                self._settle(line)
                pause = 0.0
                self._supervise(line)
            except SessionEndedError as ended:
                self._session_ended(ended.reason)
                if pause:
                    self._pause(pause)
                pause = min(max(2 * pause, _POLL_S), _MAX_PAUSE_S)

    def _settle(self, line: OsdpLine) -> None:
        """Read the device's state at the start of a session, then judge a command in doubt."""
        self._query(line, Command.OSTAT)
        self._query(line, Command.ISTAT)
        with self._changed:
            if self._link is not Link.ONLINE:
                _LOG.info("turnstile %s: online", self._port)
            self._link = Link.ONLINE
            opening = self._opening
            if opening is not None and opening.in_doubt and opening.result is None:
                self._judge(opening)
            self._changed.notify_all()

    def _judge(self, opening: _Opening) -> None:
        """Decide, with an authentic reading, what became of a command without an answer."""
        readings = self._readings
        sent_at = opening.sent_at
        assert sent_at is not None
        if not readings.supports(Command.OSTAT):
            self._finish(opening, OpenResult.UNKNOWN)
            return
        if readings.relay_active:
            known = not opening.relay_was_active
            self._finish(opening, OpenResult.OPENED if known else OpenResult.UNKNOWN)
            return
        evidence_s = min(opening.timer_count / 10, _EVIDENCE_S)
        nothing_moved = (
            not opening.accepted
            and not opening.relay_was_active
            and readings.passages_a == opening.passages_before
            and self._clock() - sent_at < evidence_s
        )
        if not nothing_moved:
            self._finish(opening, OpenResult.UNKNOWN)
        elif opening.attempts >= _MAX_ATTEMPTS:
            self._finish(opening, OpenResult.NOT_DELIVERED)
        else:
            opening.sent_at = None
            opening.in_doubt = False

    def _supervise(self, line: OsdpLine) -> None:
        """Poll, and deliver openings, until closed or the session ends."""
        next_at = self._clock()
        while True:
            with self._changed:
                while not self._closed and self._to_send() is None and self._wait_until(next_at):
                    pass
                if self._closed:
                    return
                opening = self._to_send()
            if opening is not None:
                self._deliver(line, opening)
                continue
            answer = self._query(line, Command.POLL)
            if answer.code == Reply.NAK:
                raise SessionEndedError(EndReason.UNEXPECTED)
            if answer.code != Reply.ACK:
                next_at = self._clock()  # the device has something to tell; it may have more
                continue
            command = self._next_query()
            if command is not None:
                self._query(line, command)
            next_at = max(next_at + _POLL_S, self._clock())

    def _to_send(self) -> _Opening | None:
        opening = self._opening
        waiting = opening is not None and opening.result is None and opening.sent_at is None
        return opening if waiting else None

    def _next_query(self) -> Command | None:
        """Choose what to ask besides the poll: changes are pushed, this finds lost ones."""
        self._queries += 1
        turn = self._queries
        choice: Command | None = None
        if self._watching or turn % 4 == 0:
            choice = Command.ISTAT
        if turn % 4 == 1 or (self._readings.relay_active and turn % 2):
            choice = Command.OSTAT
        elif turn % 12 == 2:
            choice = Command.LSTAT
        return choice if choice is not None and self._readings.supports(choice) else None

    def _query(self, line: OsdpLine, command: Command) -> Answer:
        answer = line.exchange(command)
        with self._changed:
            self._readings.note(answer, self._clock())
            self._changed.notify_all()
        return answer

    def _deliver(self, line: OsdpLine, opening: _Opening) -> None:
        """Send the one OUT of an opening and find out what came of it."""
        with self._changed:
            now = self._clock()
            if opening.result is not None:
                return
            if now + self._panel.wire_time_s(_OUT_BYTES) >= opening.deadline:
                self._finish(opening, OpenResult.NOT_DELIVERED)
                return
            opening.sent_at = now
            opening.attempts += 1
            opening.relay_was_active = self._readings.relay_active
            opening.passages_before = self._readings.passages_a
            self._base = (self._readings.passages_a, self._readings.gaps)
        timer = opening.timer_count.to_bytes(2, "little")
        data = bytes([self._entry_output, OutputControl.TIMED_ON]) + timer
        try:
            answer = line.exchange(Command.OUT, data)
            if answer.code == Reply.NAK and answer.data[:1] and answer.data[0] in _SPOILT:
                # Authentic, but about the frame and not about the opening: look before judging.
                raise SessionEndedError(EndReason.UNEXPECTED)
            with self._changed:
                if answer.code == Reply.NAK:
                    self._finish(opening, OpenResult.REFUSED)
                    return
                opening.accepted = True
                self._readings.note(answer, self._clock())
            self._read_back(line, opening)
        except (SessionEndedError, DeviceFault) as error:
            with self._changed:
                if isinstance(error, UnsentFault) and not opening.accepted:
                    opening.sent_at = None  # the OUT itself never left
                else:
                    opening.in_doubt = opening.result is None
            raise

    def _read_back(self, line: OsdpLine, opening: _Opening) -> None:
        """Read the output until it is active or the time is over."""
        while opening.result is None:
            # A device that cannot be asked may still push its output's state into a poll.
            askable = self._readings.supports(Command.OSTAT)
            answer = self._query(line, Command.OSTAT if askable else Command.POLL)
            with self._changed:
                if answer.code == Reply.OSTATR and self._readings.relay_active:
                    self._finish(opening, OpenResult.OPENED)
                    return
                end = min(opening.deadline, self._clock() + _POLL_S / 5)
                if self._clock() >= opening.deadline or self._closed:
                    self._finish(opening, OpenResult.UNKNOWN)
                    return
                self._wait_until(end)

    def _session_ended(self, reason: EndReason) -> None:
        wrong_key = reason in (EndReason.WRONG_KEY, EndReason.DEFAULT_KEY)
        fault = DeviceFault(self._port, reason.value, _ADVICE.get(reason, _LINE_ADVICE))
        with self._changed:
            healing = self._link is Link.ONLINE and not wrong_key
            if healing and self._link_now() is Link.ONLINE:
                self._fault = fault
                return
        self._offline(Link.WRONG_KEY if wrong_key else Link.OFFLINE, fault)

    def _offline(self, link: Link, fault: DeviceFault) -> None:
        with self._changed:
            known = self._fault is not None and self._fault.what == fault.what
            if self._link is not link or not known:
                _LOG.warning("turnstile %s", fault.diagnostics())
            self._link = link
            self._fault = fault
            self._changed.notify_all()

    def _pause(self, seconds: float) -> None:
        """Wait before the next attempt; an opening that arrives meanwhile ends the wait."""
        end = self._clock() + seconds
        with self._changed:
            self._hurry = False
            while not self._closed and not self._hurry and self._wait_until(end):
                pass


def _untold(opening: _Opening) -> OpenResult:
    """What to say at the deadline: a command that never left cannot have moved anything."""
    return OpenResult.NOT_DELIVERED if opening.sent_at is None else OpenResult.UNKNOWN
