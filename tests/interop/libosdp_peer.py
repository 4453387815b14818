"""One side of an OSDP line played by libosdp. Runs in a Python that has `libosdp` installed.

    libosdp_peer.py device KEY             make a pty, be a peripheral on it
    libosdp_peer.py panel KEY PATH         be a control panel on an existing serial device
    libosdp_peer.py insecure-device KEY    a peripheral that knows no key (clear text only)

Reports JSON lines on standard output, obeys JSON lines on standard input, ends with its input.
This file imports nothing of the project: the peer shall be independent.
"""

from __future__ import annotations

import json
import os
import select
import sys
import termios
import time
import tty

import osdp

REPORT = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # the library logs to standard output


def report(**facts: object) -> None:
    REPORT.write(json.dumps(facts) + "\n")
    REPORT.flush()


class WholeFrames(osdp.Channel):
    """Hand over whole frames only; never raise into the library."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self.fd = fd
        self.raw = b""
        self.ready = b""
        self.seen: list[bytes] = []

    def fill(self) -> None:
        try:
            self.raw += os.read(self.fd, 4096)
        except OSError:
            return
        while True:
            start = self.raw.find(b"\x53")
            if start < 0 or len(self.raw) < start + 5:
                return
            length = int.from_bytes(self.raw[start + 2 : start + 4], "little")
            if len(self.raw) < start + length:
                return
            frame = self.raw[start : start + length]
            self.seen.append(frame)
            self.ready += b"\xff" + frame
            self.raw = self.raw[start + length :]

    def read(self, max_bytes: int) -> bytes:
        part, self.ready = self.ready[:max_bytes], self.ready[max_bytes:]
        return part

    def write(self, buf: bytes) -> int:
        try:
            return os.write(self.fd, buf)
        except OSError:
            return len(buf)

    def flush(self) -> None:
        pass


def commands() -> list[dict] | None:
    """Commands that wait on standard input; None at its end."""
    if not select.select([0], [], [], 0)[0]:
        return []
    data = os.read(0, 65536)
    return [json.loads(line) for line in data.splitlines()] if data else None


def clear_codes(channel: WholeFrames) -> list[int]:
    """Codes of the frames without a security block that were received."""
    return sorted({frame[5] for frame in channel.seen if not frame[4] & 8})


def device(key: bytes | None) -> None:
    master, slave = os.openpty()
    tty.setraw(slave, termios.TCSANOW)
    channel = WholeFrames(master)
    flags = [osdp.LibFlag.EnforceSecure] if key else []
    info = osdp.PDInfo(0, channel, scbk=key, flags=flags, name="turnstile")
    capabilities = osdp.PDCapabilities(
        [
            (osdp.Capability.ContactStatusMonitoring, 1, 5),
            (osdp.Capability.OutputControl, 1, 1),
            (osdp.Capability.CommunicationSecurity, 1 if key else 0, 1 if key else 0),
        ]
    )
    pending: list[dict] = []
    refuse = False

    def on_command(command: dict) -> tuple[int, None]:
        if command["command"] == osdp.Command.Output:
            report(event="output", at=time.monotonic(), **command)
            if refuse:
                return -1, None
            pending.append(status(osdp.StatusReportType.Output, b"\x01"))
            return 0, None
        return -1, None  # the binding cannot answer status queries; it pushes events

    pd = osdp.PeripheralDevice(
        info, capabilities, log_level=osdp.LogLevel.Critical, command_handler=on_command
    )
    report(event="ready", path=os.ttyname(slave))
    secure = False
    while True:
        if select.select([master, 0], [], [], 0.005)[0]:
            orders = commands()
            if orders is None:
                report(event="end", clear=clear_codes(channel))
                return
            for order in orders:
                if "inputs" in order:
                    pending.append(status(osdp.StatusReportType.Input, bytes(order["inputs"])))
                if "output" in order:
                    pending.append(status(osdp.StatusReportType.Output, bytes(order["output"])))
                refuse = order.get("refuse", refuse)
        if select.select([master], [], [], 0)[0]:
            channel.fill()
        pd.ctx.refresh()
        while pending:
            pd.ctx.submit_event(pending.pop(0))
        if pd.is_sc_active() != secure:
            secure = not secure
            report(event="secure", active=secure)


def status(kind: int, data: bytes) -> dict:
    return {"event": osdp.Event.Status, "type": kind, "report": data}


def panel(key: bytes, path: str) -> None:
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    tty.setraw(fd, termios.TCSANOW)
    channel = WholeFrames(fd)
    info = osdp.PDInfo(0, channel, scbk=key, flags=[osdp.LibFlag.EnforceSecure], name="turnstile")

    def on_event(_: int, event: dict) -> int:
        if event["event"] == osdp.Event.Status:
            report(event="status", type=event["type"], report=list(event["report"]))
        return 0

    def on_done(_: int, command: dict, state: int) -> None:
        report(event="done", command=command["command"], ok=state == osdp.CompletionStatus.Ok)

    cp = osdp.ControlPanel(
        [info],
        log_level=osdp.LogLevel.Critical,
        event_handler=on_event,
        command_completion_handler=on_done,
    )
    report(event="ready", path=path)
    secure = False
    while True:
        if select.select([fd, 0], [], [], 0.005)[0]:
            orders = commands()
            if orders is None:
                report(event="end", clear=clear_codes(channel))
                return
            for order in orders:
                if "open" in order:
                    cp.ctx.submit_command(
                        0,
                        {
                            "command": osdp.Command.Output,
                            "output_no": 0,
                            "control_code": order.get("control", 5),
                            "timer_count": order["open"],
                        },
                    )
        if select.select([fd], [], [], 0)[0]:
            channel.fill()
        cp.ctx.refresh()
        active = bool(cp.ctx.sc_status() & 1)
        if active != secure:
            secure = active
            report(event="secure", active=secure)


def main() -> None:
    role, key = sys.argv[1], bytes.fromhex(sys.argv[2])
    if role == "panel":
        panel(key, sys.argv[3])
    else:
        device(None if role == "insecure-device" else key)


main()
