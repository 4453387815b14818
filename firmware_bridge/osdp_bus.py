"""The one thread that owns an OSDP line: sessions, polling, reconnecting, delivering openings."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from firmware_bridge.errors import DeviceFault
from firmware_bridge.osdp_codes import Command, Nak, OutputControl, Reply
from firmware_bridge.osdp_identity import DeviceIdentity
from firmware_bridge.osdp_line import OsdpLine, SessionEndedError
from firmware_bridge.osdp_opening import Opening
from firmware_bridge.osdp_panel import Answer, ControlPanel, EndReason
from firmware_bridge.ports import Link, OpenResult
from firmware_bridge.serial_port import SerialPort, UnsentFault
from firmware_bridge.turnstile_readings import TurnstileReadings

_LOG = logging.getLogger(__name__)

_POLL_S = 0.05
_STALE_S = 0.5
_REOPEN_S = 0.25
_MAX_PAUSE_S = 0.5
_OUT_BYTES = 32

_SPOILT = {Nak.BAD_CHECK, Nak.BAD_LENGTH, Nak.BAD_SEQUENCE}
_SPOILT |= {Nak.SECURITY_BLOCK_UNSUPPORTED, Nak.ENCRYPTION_REQUIRED}

_ADVICE = {
    EndReason.WRONG_KEY: "give gate and turnstile controller the same key",
    EndReason.DEFAULT_KEY: "write this door's key into the turnstile controller",
    EndReason.NO_SECURE_CHANNEL: "use a controller with OSDP Secure Channel and this door's key",
    EndReason.NO_REPLY: "check power, wiring, address and baud rate of the turnstile controller",
}
_LINE_ADVICE = "check wiring and termination of the line"


class OsdpBus:
    """State of one line, and the thread that keeps it up. Hold `changed` to touch the rest.

    Args:
        port: device path.
        baud: bits per second.
        panel: the control panel side of the protocol.
        readings: where answers are noted.
        entry_output: number of the output to pulse.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        port: str,
        baud: int,
        panel: ControlPanel,
        readings: TurnstileReadings,
        entry_output: int,
        clock: Callable[[], float],
    ) -> None:
        self._port = port
        self._baud = baud
        self._panel = panel
        self._entry_output = entry_output
        self.clock = clock
        self.changed = threading.Condition()
        self.readings = readings
        self.opening: Opening | None = None
        """The one opening under way. There is no queue."""
        self.before_opening: tuple[int, int] | None = None
        """Persons and gaps counted when the last opening was sent."""
        self.watching = 0
        """How many callers watch for a crossing."""
        self.hurry = False
        """Somebody waits: do not pause before the next attempt to connect."""
        self.closed = False
        self.fault: DeviceFault | None = DeviceFault(port, "not connected yet")
        self.identity: DeviceIdentity | None = None
        self._link = Link.OFFLINE
        self._queries = 0
        self._thread = threading.Thread(target=self._run, name="osdp-bus", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and release the port. Sends nothing."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join()

    # --- for whoever holds `changed` -----------------------------------------------------------

    def wait_until(self, end: float) -> bool:
        """Wait for a change; False once `end` has passed."""
        left = end - self.clock()
        if left <= 0:
            return False
        self.changed.wait(left)
        return True

    def link(self) -> Link:
        """State of the line now. An error that heals within 0.5 s is not worth a blink."""
        stale = self.readings.silent_for(self.clock()) > _STALE_S
        return Link.OFFLINE if self._link is Link.ONLINE and (stale or self.closed) else self._link

    def finish(self, opening: Opening, result: OpenResult) -> None:
        """Give an opening its result, once."""
        if opening.result is None:
            opening.result = result
            self.changed.notify_all()

    # --- thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self.closed:
            try:
                port = SerialPort(self._port, self._baud)
            except DeviceFault as fault:
                self._offline(Link.OFFLINE, fault)
                self._pause(_REOPEN_S)
                continue
            try:
                self._serve(OsdpLine(port, self._panel, self.clock))
            except DeviceFault as fault:
                self._offline(Link.OFFLINE, fault)
            finally:
                port.close()

    def _serve(self, line: OsdpLine) -> None:
        """Keep sessions up on one open port until closed."""
        pause = 0.0
        while not self.closed:
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
        with self.changed:
            if self._link is not Link.ONLINE:
                _LOG.info("turnstile %s: online", self._port)
            self._link = Link.ONLINE
            opening = self.opening
            if opening is not None and opening.in_doubt and opening.result is None:
                result = opening.judge(self.readings, self.clock())
                if result is not None:
                    self.finish(opening, result)
            self.changed.notify_all()

    def _supervise(self, line: OsdpLine) -> None:
        """Poll, and deliver openings, until closed or the session ends."""
        next_at = self.clock()
        while True:
            with self.changed:
                while not self.closed and self._to_send() is None and self.wait_until(next_at):
                    pass
                if self.closed:
                    return
                opening = self._to_send()
            if opening is not None:
                self._deliver(line, opening)
                continue
            answer = self._query(line, Command.POLL)
            if answer.code == Reply.NAK:
                raise SessionEndedError(EndReason.UNEXPECTED)
            if answer.code != Reply.ACK:
                next_at = self.clock()  # the device has something to tell; it may have more
                continue
            self._query_more(line)
            next_at = max(next_at + _POLL_S, self.clock())

    def _to_send(self) -> Opening | None:
        opening = self.opening
        return opening if opening is not None and opening.waiting else None

    def _query_more(self, line: OsdpLine) -> None:
        """Ask something besides the poll: devices push changes, this finds lost ones."""
        self._queries += 1
        turn = self._queries
        choice: Command | None = None
        if self.identity is None:
            # Inside the session, so that nobody on the wire can play another device.
            identity = line.exchange(Command.ID, b"\x00")
            capabilities = line.exchange(Command.CAP, b"\x00")
            with self.changed:
                self.identity = DeviceIdentity.from_answers(identity, capabilities)
        elif turn % 4 == 1 or (self.readings.relay_active and turn % 2):
            choice = Command.OSTAT
        elif turn % 12 == 2:
            choice = Command.LSTAT
        elif self.watching or turn % 4 == 0:
            choice = Command.ISTAT
        if choice is not None and self.readings.supports(choice):
            self._query(line, choice)

    def _query(self, line: OsdpLine, command: Command) -> Answer:
        answer = line.exchange(command)
        with self.changed:
            self.readings.note(answer, self.clock())
            self.changed.notify_all()
        return answer

    def _deliver(self, line: OsdpLine, opening: Opening) -> None:
        """Send the one OUT of an opening and find out what came of it."""
        with self.changed:
            now = self.clock()
            if opening.result is not None:
                return
            if now + self._panel.wire_time_s(_OUT_BYTES) >= opening.deadline:
                self.finish(opening, OpenResult.NOT_DELIVERED)
                return
            opening.send(self.readings, now)
            self.before_opening = (self.readings.passages_a, self.readings.gaps)
        timer = opening.timer_count.to_bytes(2, "little")
        data = bytes([self._entry_output, OutputControl.TIMED_ON]) + timer
        try:
            answer = line.exchange(Command.OUT, data)
            if answer.code == Reply.NAK and answer.data[:1] and answer.data[0] in _SPOILT:
                # Authentic, but about the frame and not about the opening: look before judging.
                raise SessionEndedError(EndReason.UNEXPECTED)
            with self.changed:
                if answer.code == Reply.NAK:
                    self.finish(opening, OpenResult.REFUSED)
                    return
                opening.accepted = True
                self.readings.note(answer, self.clock())
            self._read_back(line, opening)
        except (SessionEndedError, DeviceFault) as error:
            with self.changed:
                if isinstance(error, UnsentFault) and not opening.accepted:
                    opening.sent_at = None  # the OUT itself never left
                else:
                    opening.in_doubt = opening.result is None
            raise

    def _read_back(self, line: OsdpLine, opening: Opening) -> None:
        """Read the output until it is active or the time is over."""
        while opening.result is None:
            # A device that cannot be asked may still push its output's state into a poll.
            askable = self.readings.supports(Command.OSTAT)
            answer = self._query(line, Command.OSTAT if askable else Command.POLL)
            with self.changed:
                if answer.code == Reply.OSTATR and self.readings.relay_active:
                    self.finish(opening, OpenResult.OPENED)
                    return
                end = min(opening.deadline, self.clock() + _POLL_S / 5)
                if self.clock() >= opening.deadline or self.closed:
                    self.finish(opening, OpenResult.UNKNOWN)
                    return
                self.wait_until(end)

    def _session_ended(self, reason: EndReason) -> None:
        wrong_key = reason in (EndReason.WRONG_KEY, EndReason.DEFAULT_KEY)
        fault = DeviceFault(self._port, reason.value, _ADVICE.get(reason, _LINE_ADVICE))
        with self.changed:
            if self.link() is Link.ONLINE and not wrong_key:
                self.fault = fault  # it may heal before anybody notices
                return
        self._offline(Link.WRONG_KEY if wrong_key else Link.OFFLINE, fault)

    def _offline(self, link: Link, fault: DeviceFault) -> None:
        with self.changed:
            known = self.fault is not None and self.fault.what == fault.what
            if self._link is not link or not known:
                _LOG.warning("turnstile %s", fault.diagnostics())
            self._link = link
            self.fault = fault
            self.identity = None  # another device may come back
            self.changed.notify_all()

    def _pause(self, seconds: float) -> None:
        """Wait before the next attempt; an opening that arrives meanwhile ends the wait."""
        end = self.clock() + seconds
        with self.changed:
            self.hurry = False
            while not self.closed and not self.hurry and self.wait_until(end):
                pass
