"""A simulated turnstile on a serial device: an OSDP peripheral at one end of a pty.

Open `device_path` with any serial library. The simulator keeps relay edges and persons, does
what people and cables do on command, and can damage the line. Also a program:

    python -m firmware_bridge.sim.turnstile --link /tmp/turnstile --key-file door.key
"""

from __future__ import annotations

import argparse
import os
import selectors
import sys
import tempfile
import termios
import threading
import time
import tty
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TextIO

from firmware_bridge.errors import DeviceFault
from firmware_bridge.osdp_frame import FrameDecoder
from firmware_bridge.osdp_key import generate_key, load_key, save_key
from firmware_bridge.sim.mechanics import Mechanics, PersonSeen, RelayEdge, Walk
from firmware_bridge.sim.peripheral import Peripheral

__all__ = ["LineFaults", "PersonSeen", "RelayEdge", "SimTurnstile", "Walk"]


@dataclass
class LineFaults:
    """What the line does wrong. Change it at any time; counts go down as they are used up."""

    only: int | None = None
    """Counted faults hit only this command code, or the reply to it; None: any."""
    split: bool = False
    """Every reply arrives byte by byte."""
    drop_replies: int = 0
    """So many replies vanish; the device has obeyed."""
    drop_commands: int = 0
    """So many commands vanish; the device never hears them."""
    corrupt_replies: int = 0
    """So many replies get one wrong bit."""
    corrupt_commands: int = 0
    """So many commands get one wrong bit."""
    stall: bool = False
    """Nothing gets through in either direction; commands wait and arrive late."""
    delay_replies_ms: int = 0
    """Every reply comes so much later."""


class SimTurnstile:
    """A turnstile on a pty, alive in a thread of its own until `close`.

    Args:
        key: the door's key.
        link: path of a symbolic link to the device, stable over `replug`; None: a fresh one.
        address: OSDP address.
        baud: emulate the wire time of this speed; None: as fast as the pty.
        hard_max_ms: the relay never stays active longer.
        rest_ms: after it fell, the relay does not rise again for so long.
        barrier_ms: how long the barrier waits for a person.
        auto_walk_after_ms: a person walks in so long after each opening; None: nobody.
        auto_walk_persons: how many walk close behind each other then.
        on_edge: called at each relay edge, from the simulator's thread.
        clock: monotonic seconds.
        random_bytes: source of the device's randomness.

    Raises:
        DeviceFault: `link` exists and is no symbolic link, or cannot be made.
    """

    def __init__(
        self,
        key: bytes,
        *,
        link: str | os.PathLike[str] | None = None,
        address: int = 0,
        baud: int | None = None,
        hard_max_ms: int = 5000,
        rest_ms: int = 200,
        barrier_ms: int = 5000,
        auto_walk_after_ms: int | None = None,
        auto_walk_persons: int = 1,
        on_edge: Callable[[RelayEdge], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if link is None:
            self._folder = tempfile.TemporaryDirectory(prefix="turnstile-")
            link = Path(self._folder.name) / "line"
        self._link = Path(link)
        self._clock = clock
        self._byte_s = 10 / baud if baud else 0.0
        self._on_edge = on_edge
        self._edges_told = 0
        self._lock = threading.RLock()
        self._mechanics = Mechanics(
            hard_max_ms=hard_max_ms,
            rest_ms=rest_ms,
            barrier_ms=barrier_ms,
            auto_walk_after_ms=auto_walk_after_ms,
            auto_walk_persons=auto_walk_persons,
        )
        self._mechanics.advance(clock())
        self._peripheral = Peripheral(
            key, address=address, wiring=self._mechanics, random_bytes=random_bytes
        )
        self.faults = LineFaults()
        self._hit = True
        self._held: list[bytes] = []
        self._late: list[tuple[float, bytes]] = []
        self._master: int | None = None
        self._slave: int | None = None
        self._closed = False
        self._wake_out, self._wake_in = os.pipe()
        self._plug()
        self._thread = threading.Thread(target=self._run, name="sim-turnstile", daemon=True)
        self._thread.start()

    def __enter__(self) -> SimTurnstile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- to look at --------------------------------------------------------------------------

    @property
    def device_path(self) -> str:
        """Path to open as a serial port. Stays the same over unplug and replug."""
        return str(self._link)

    @property
    def edges(self) -> list[RelayEdge]:
        """All movements of the entry relay so far, times on the given clock."""
        with self._lock:
            return list(self._mechanics.edges)

    @property
    def persons(self) -> list[PersonSeen]:
        """All persons at the barrier so far."""
        with self._lock:
            return list(self._mechanics.persons)

    @property
    def relay_active(self) -> bool:
        """State of the entry relay now."""
        with self._lock:
            return self._mechanics.relay_active

    @property
    def openings(self) -> int:
        """How often the relay rose."""
        return sum(edge.active for edge in self.edges)

    # --- to command --------------------------------------------------------------------------

    def person_walks(self) -> None:
        """One person walks in; a shut barrier blocks them."""
        self._do(self._mechanics.walk)

    def tailgate(self) -> None:
        """Two persons walk in close behind each other."""
        self._do(lambda: self._mechanics.walk(2))

    def person_leaves(self) -> None:
        """One person walks out."""
        self._do(self._mechanics.walk_out)

    def set_auto_walk(self, after_ms: int | None, persons: int = 1) -> None:
        """From now on, let people walk in by themselves after each opening, or nobody."""
        with self._lock:
            self._mechanics.auto_walk_after_ms = after_ms
            self._mechanics.auto_walk_persons = persons

    def fire(self, on: bool) -> None:
        """Raise or end the fire alarm."""
        self._do(lambda: self._mechanics.set_fire(on))

    def tamper(self, on: bool) -> None:
        """Open or shut the housing."""
        self._do(lambda: self._mechanics.set_tamper(on))

    def jam(self, on: bool) -> None:
        """Make the turnstile not ready, or ready again."""
        self._do(lambda: self._mechanics.set_jammed(on))

    def power_fault(self, on: bool) -> None:
        """Take the mains away, or bring it back."""
        self._do(lambda: self._mechanics.set_power_fault(on))

    def refuse(self, on: bool) -> None:
        """Answer every opening with an authentic NAK, or stop doing so."""
        with self._lock:
            self._peripheral.refuse_out = on

    def set_key(self, key: bytes) -> None:
        """Put another key into the controller; it starts over."""
        with self._lock:
            self._peripheral.key = key
            self._peripheral.reset()

    def restart(self) -> None:
        """Restart the controller's processor: session and sequence are gone, no relay moves."""
        with self._lock:
            self._peripheral.reset()

    def unplug(self) -> None:
        """Pull the data cable: the device file goes away. The turnstile itself stays powered."""
        with self._lock:
            self._unplug()
        self._wake()

    def replug(self) -> None:
        """Plug the data cable in again under the same path."""
        with self._lock:
            if self._master is None and not self._closed:
                self._plug()
        self._wake()

    def close(self) -> None:
        """Stop. Idempotent; moves no relay."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._wake()
        self._thread.join()
        with self._lock:
            self._unplug()
            os.close(self._wake_in)
            os.close(self._wake_out)
        if self._folder is not None:
            self._folder.cleanup()

    # --- cable -------------------------------------------------------------------------------

    def _plug(self) -> None:
        master, slave = os.openpty()
        os.set_blocking(master, False)
        # Raw before anybody opens it: an echoing line would talk to itself.
        tty.setraw(slave, termios.TCSANOW)
        target = os.ttyname(slave)
        name = str(self._link)
        if self._link.exists() and not self._link.is_symlink():
            os.close(master)
            os.close(slave)
            raise DeviceFault(name, "exists and is no symbolic link", "name another path")
        fresh = self._link.with_name(self._link.name + ".new")
        try:
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(target)
            fresh.replace(self._link)
        except OSError as error:
            os.close(master)
            os.close(slave)
            raise DeviceFault(name, f"link not made ({error.strerror})") from None
        self._master, self._slave = master, slave

    def _unplug(self) -> None:
        if self._master is None or self._slave is None:
            return
        with suppress(OSError):
            if self._link.readlink() == Path(os.ttyname(self._slave)):
                self._link.unlink()
        os.close(self._slave)
        os.close(self._master)
        self._master = self._slave = None
        self._held.clear()
        self._late.clear()

    # --- thread ------------------------------------------------------------------------------

    def _do(self, action: Callable[[], None]) -> None:
        with self._lock:
            self._advance()
            action()
            self._tell_edges()
        self._wake()

    def _wake(self) -> None:
        os.write(self._wake_in, b"w")

    def _advance(self) -> None:
        self._mechanics.advance(self._clock())
        self._tell_edges()

    def _tell_edges(self) -> None:
        edges = self._mechanics.edges
        while self._edges_told < len(edges):
            self._edges_told += 1
            if self._on_edge is not None:
                self._on_edge(edges[self._edges_told - 1])

    def _timeout(self) -> float | None:
        due = [at for at, _ in self._late]
        if self._mechanics.next_at is not None:
            due.append(self._mechanics.next_at)
        return max(0.0, min(due) - self._clock()) if due else None

    def _run(self) -> None:
        while True:
            with selectors.DefaultSelector() as selector:
                selector.register(self._wake_out, selectors.EVENT_READ)
                with self._lock:
                    if self._closed:
                        return
                    self._advance()
                    self._send_due()
                    master, timeout = self._master, self._timeout()
                    # Under the lock: a cable pulled right now would leave a dead descriptor.
                    if master is not None:
                        selector.register(master, selectors.EVENT_READ)
                ready = {key.fd for key, _ in selector.select(timeout)}
            if self._wake_out in ready:
                os.read(self._wake_out, 4096)
            with self._lock:
                if master is not None and master in ready and master == self._master:
                    self._receive(master)
                if self._held and not self.faults.stall:
                    held, self._held = self._held, []
                    for data in held:
                        self._obey(data)

    def _receive(self, master: int) -> None:
        try:
            data = os.read(master, 4096)
        except (BlockingIOError, OSError):
            return
        if self._byte_s:
            time.sleep(len(data) * self._byte_s)
        faults = self.faults
        # The code of a command is readable on the wire; only its data are encrypted.
        codes = [frame.code for frame in FrameDecoder().feed(data)]
        self._hit = faults.only is None or faults.only in codes
        if self._hit and faults.drop_commands > 0:
            faults.drop_commands -= 1
            return
        if self._hit and faults.corrupt_commands > 0:
            faults.corrupt_commands -= 1
            data = _flip(data)
        if faults.stall:
            self._held.append(data)
            return
        self._obey(data)

    def _obey(self, data: bytes) -> None:
        self._advance()
        replies = self._peripheral.receive(data, self._clock())
        self._tell_edges()
        for reply in replies:
            self._reply(reply)

    def _reply(self, reply: bytes) -> None:
        faults = self.faults
        if self._hit and faults.drop_replies > 0:
            faults.drop_replies -= 1
            return
        if self._hit and faults.corrupt_replies > 0:
            faults.corrupt_replies -= 1
            reply = _flip(reply)
        if faults.delay_replies_ms:
            self._late.append((self._clock() + faults.delay_replies_ms / 1000, reply))
            return
        self._put(reply)

    def _send_due(self) -> None:
        now = self._clock()
        due = [data for at, data in self._late if at <= now]
        self._late = [(at, data) for at, data in self._late if at > now]
        for data in due:
            self._put(data)

    def _put(self, data: bytes) -> None:
        if self._master is None:
            return
        if self._byte_s:
            time.sleep(len(data) * self._byte_s)
        parts = [bytes([byte]) for byte in data] if self.faults.split else [data]
        for part in parts:
            with suppress(OSError):
                os.write(self._master, part)
            if self.faults.split:
                time.sleep(0.0002)


def _flip(data: bytes) -> bytes:
    """Damage one bit in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :]


# --- as a program ----------------------------------------------------------------------------

_HELP = (
    "walk | tailgate | leave | unplug | replug | fire on|off | tamper on|off | jam on|off | quit"
)


def _obey_line(sim: SimTurnstile, line: str) -> bool:
    """Carry out one typed command; False to stop."""
    words = line.split()
    on = words[1:] != ["off"]
    actions: dict[str, Callable[[], None]] = {
        "walk": sim.person_walks,
        "tailgate": sim.tailgate,
        "leave": sim.person_leaves,
        "unplug": sim.unplug,
        "replug": sim.replug,
        "fire": lambda: sim.fire(on),
        "tamper": lambda: sim.tamper(on),
        "jam": lambda: sim.jam(on),
    }
    if words[:1] == ["quit"]:
        return False
    if words:
        action = actions.get(words[0])
        if action is None:
            sys.stderr.write(f"commands: {_HELP}\n")
        else:
            action()
    return True


def main(arguments: list[str] | None = None, commands: TextIO = sys.stdin) -> int:
    """Run a simulated turnstile until "quit" or Ctrl-C; see --help."""
    parser = argparse.ArgumentParser(
        prog="python -m firmware_bridge.sim.turnstile",
        description="A simulated turnstile: an OSDP peripheral on a serial device.",
        epilog=f"Commands on standard input: {_HELP}",
    )
    parser.add_argument("--link", required=True, help="path of the serial device to make")
    parser.add_argument("--key-file", required=True, help="32 hex digits, mode 0600")
    parser.add_argument("--new-key", action="store_true", help="make the key file first")
    parser.add_argument("--address", type=int, default=0, help="OSDP address, 0..126")
    parser.add_argument("--baud", type=int, help="emulate the wire time of this speed")
    parser.add_argument("--auto-walk-after-ms", type=int, help="a person walks after an opening")
    options = parser.parse_args(arguments)
    start = time.monotonic()

    def show(edge: RelayEdge) -> None:
        state = "active" if edge.active else "released"
        sys.stdout.write(f"{edge.at - start:9.3f} s  entry relay {state}\n")
        sys.stdout.flush()

    try:
        if options.new_key:
            save_key(options.key_file, generate_key())
        sim = SimTurnstile(
            load_key(options.key_file),
            link=options.link,
            address=options.address,
            baud=options.baud,
            auto_walk_after_ms=options.auto_walk_after_ms,
            on_edge=show,
        )
    except DeviceFault as fault:
        sys.stderr.write(fault.diagnostics() + "\n")
        return 2
    with sim:
        sys.stdout.write(f"turnstile ready on {sim.device_path}\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            for line in commands:
                if not _obey_line(sim, line):
                    return 0
            # No terminal to read from (a service): stay until stopped.
            threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
