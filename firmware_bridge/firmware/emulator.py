"""The controller's firmware in QEMU: its line on a pty, its inputs and relays within reach.

Nothing of the firmware is replaced: the same bytes that would be written into the part run on an
emulated LM3S6965, with its watchdog and an EEPROM. Needs `qemu-system-arm`.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from firmware_bridge.errors import DeviceFault
from firmware_bridge.firmware.key_page import FLASH_ADDRESS
from firmware_bridge.osdp_codes import Command
from firmware_bridge.osdp_frame import encode

QEMU = "qemu-system-arm"
PASSAGE_A, PASSAGE_B, READY, TAMPER, FIRE, POWER = range(6)
QUIET = frozenset({READY, TAMPER, FIRE, POWER})
"""The loops that are closed when nothing happens."""

_ENTRY_PIN, _FIRE_RELEASE_PIN = 0, 2
_INPUT_PORT, _RELAY_PORT = 0x40007000, 0x40025000
_ALL_BITS = 0x3FC
_EEPROM_BYTES = 4096
_ADDRESS_AT = 5
"""Where the key page holds the OSDP address."""
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class PinEdge:
    """One movement of a relay's pin, at monotonic seconds of this computer."""

    at: float
    active: bool


class _Lines:
    """A unix socket that speaks in lines."""

    def __init__(self, path: Path, alive: Callable[[], bool]) -> None:
        end = time.monotonic() + _PATIENCE_S
        while True:
            self._socket = socket.socket(socket.AF_UNIX)
            try:
                self._socket.connect(str(path))
                break
            except OSError:
                self._socket.close()
                if not alive() or time.monotonic() > end:
                    raise DeviceFault(QEMU, "did not start", "run it by hand") from None
                time.sleep(0.01)
        self._socket.settimeout(_PATIENCE_S)
        self._file = self._socket.makefile("rwb")

    def wait_for_ever(self) -> None:
        self._socket.settimeout(None)

    def send(self, line: str) -> None:
        self._file.write(line.encode() + b"\n")
        self._file.flush()

    def read(self) -> str:
        return self._file.readline().decode().strip()

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            self._file.close()
        self._socket.close()


class EmulatedController:
    """One controller, powered from `power_on` until `close`. Use it as a context manager.

    Args:
        firmware: the program, as `make firmware` builds it.
        page: the key page; None: a controller that was never given a key.
        closed: input loops that are closed at power-on.
        eeprom: with the chip that counts starts; without it there is no session.
    """

    def __init__(
        self,
        firmware: str | os.PathLike[str],
        page: bytes | None,
        *,
        closed: Iterable[int] = QUIET,
        eeprom: bool = True,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="controller-")
        self._path = Path(self._folder.name)
        self._firmware = Path(firmware)
        self._page = page
        self._closed = set(closed)
        self._has_eeprom = eeprom
        self.eeprom = self._path / "eeprom"
        """The EEPROM's content; outlives `power_off`."""
        self.eeprom.write_bytes(b"\xff" * _EEPROM_BYTES)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._changed = threading.Condition()
        self._answers: list[str] = []
        self._edges: dict[int, list[PinEdge]] = {}
        self._resets = 0
        self.device_path = ""
        """Serial device of the line."""

    def __enter__(self) -> EmulatedController:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- power ---------------------------------------------------------------------------------

    def power_on(self) -> None:
        """Start the part from nothing but its flash and its EEPROM.

        Raises:
            DeviceFault: QEMU is absent or did not start.
        """
        executable = shutil.which(QEMU)
        if executable is None:
            raise DeviceFault(QEMU, "absent", "install the Debian package qemu-system-arm")
        for name in ("qmp", "qtest"):
            (self._path / name).unlink(missing_ok=True)
        self._edges = {_ENTRY_PIN: [], _FIRE_RELEASE_PIN: []}
        self._answers = []
        with (self._path / "messages").open("wb") as messages:
            self._process = subprocess.Popen(  # noqa: S603 - fixed arguments, our own files
                [executable, *self._arguments()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=messages,
            )
        try:
            self._connect()
            if self._page is not None:
                self._wait_for_line(self._page[_ADDRESS_AT])
        except (DeviceFault, OSError, ValueError, KeyError) as error:
            said = (self._path / "messages").read_text(errors="replace").strip()
            self.power_off()
            raise DeviceFault(QEMU, f"did not start ({said or error})") from None

    def _arguments(self) -> list[str]:
        arguments = ["-M", "lm3s6965evb", "-accel", "tcg", "-display", "none", "-monitor", "none"]
        arguments += ["-nodefaults", "-S", "-kernel", str(self._firmware)]
        if self._page is not None:
            page = self._path / "page"
            page.write_bytes(self._page)
            arguments += ["-device", f"loader,file={page},addr={FLASH_ADDRESS:#x},force-raw=on"]
        if self._has_eeprom:
            arguments += ["-drive", f"if=none,id=eeprom,format=raw,file={self.eeprom}"]
            chip = f"at24c-eeprom,address=0x50,drive=eeprom,rom-size={_EEPROM_BYTES}"
            arguments += ["-device", chip]
        arguments += ["-chardev", "pty,id=line", "-serial", "chardev:line"]
        arguments += ["-qmp", f"unix:{self._path / 'qmp'},server=on,wait=off"]
        arguments += ["-qtest", f"unix:{self._path / 'qtest'},server=on,wait=off"]
        return [*arguments, "-qtest-log", "none"]

    def _connect(self) -> None:
        self._qmp = _Lines(self._path / "qmp", self._alive)
        self._qmp.read()
        self._ask("qmp_capabilities")
        lines = self._ask("query-chardev")
        self.device_path = next(c["filename"][4:] for c in lines if c["label"] == "line")
        # QEMU listens only while somebody has the device open.
        self._other_end = os.open(self.device_path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        ports = self._ports()
        self._inputs_path = ports[_INPUT_PORT]
        self._qtest = _Lines(self._path / "qtest", self._alive)
        self._qtest.wait_for_ever()
        self._reader = threading.Thread(target=self._read_qtest, args=(self._qtest,), daemon=True)
        self._reader.start()
        self._order(f"irq_intercept_out {ports[_RELAY_PORT]}")
        for number in self._closed:
            self._drive_input(number)
        self._ask("cont")

    def _wait_for_line(self, address: int) -> None:
        """QEMU looks only once a second whether the pty is open; until then bytes are lost."""
        question = encode(address, 0, Command.ID, b"\x00")
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            os.write(self._other_end, question)
            answered = False
            while select.select([self._other_end], [], [], 0.1)[0]:
                os.read(self._other_end, 4096)
                answered = True
            if answered:
                return
        raise DeviceFault(QEMU, "the firmware does not answer on its line")

    def _ports(self) -> dict[int, str]:
        """Object path of each GPIO port, by its address."""
        root = "/machine/unattached"
        found = {}
        for child in self._ask("qom-list", path=root):
            if child["type"] == "child<pl061_luminary>":
                path = f"{root}/{child['name']}"
                found[self._ask("qom-get", path=f"{path}/pl061[0]", property="addr")] = path
        return found

    def power_off(self) -> None:
        """Cut the power. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for name in ("_qmp", "_qtest"):
            lines = self.__dict__.pop(name, None)
            if lines is not None:
                lines.close()
        reader = self.__dict__.pop("_reader", None)
        if reader is not None:
            reader.join()
        other_end = self.__dict__.pop("_other_end", None)
        if other_end is not None:
            os.close(other_end)

    def close(self) -> None:
        """Cut the power and remove everything. Idempotent."""
        self.power_off()
        self._folder.cleanup()

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    # --- to look at ----------------------------------------------------------------------------

    @property
    def entry_edges(self) -> list[PinEdge]:
        """Movements of the entry relay since power-on."""
        with self._changed:
            return list(self._edges[_ENTRY_PIN])

    @property
    def fire_release_edges(self) -> list[PinEdge]:
        """Movements of the fire release since power-on."""
        with self._changed:
            return list(self._edges[_FIRE_RELEASE_PIN])

    @property
    def entry_active(self) -> bool:
        """State of the entry relay's pin now, read from the port."""
        return bool(self._relays() >> _ENTRY_PIN & 1)

    @property
    def fire_release_active(self) -> bool:
        """State of the fire release's pin now, read from the port."""
        return bool(self._relays() >> _FIRE_RELEASE_PIN & 1)

    def _relays(self) -> int:
        return self.read_word(_RELAY_PORT + _ALL_BITS)

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = _PATIENCE_S) -> bool:
        """Wait until `condition` holds; False when it did not within the time."""
        end = time.monotonic() + timeout_s
        while not condition():
            with self._changed:
                if time.monotonic() > end:
                    return False
                self._changed.wait(0.02)
        return True

    def resets(self) -> int:
        """How often the watchdog has reset the part since power-on.

        QEMU forgets the levels of the inputs at a reset, and the part sees all loops open; here
        they are driven again.
        """
        before = self._resets
        self._ask("query-status")  # events come before the answer
        if self._resets != before:
            for number in self._closed:
                self._drive_input(number)
        return self._resets

    # --- to command ----------------------------------------------------------------------------

    def set_loop(self, number: int, *, closed: bool) -> None:
        """Close or open an input loop."""
        if closed:
            self._closed.add(number)
        else:
            self._closed.discard(number)
        self._drive_input(number)

    def pause(self) -> None:
        """Stop the part's time."""
        self._ask("stop")

    def resume(self) -> None:
        """Let the part's time go on."""
        self._ask("cont")

    def read_word(self, address: int) -> int:
        """Return a 32-bit word of the part's address space."""
        return int(self._order(f"readl {address:#x}").split()[1], 16)

    def write_word(self, address: int, value: int) -> None:
        """Overwrite a 32-bit word of the part's address space: a fault of the program."""
        self._order(f"writel {address:#x} {value:#x}")

    def _drive_input(self, number: int) -> None:
        level = int(number in self._closed)
        self._order(f"set_irq_in {self._inputs_path} unnamed-gpio-in {number} {level}")

    # --- QEMU's two control sockets ------------------------------------------------------------

    def _ask(self, command: str, **arguments: object) -> Any:
        with self._lock:
            self._qmp.send(json.dumps({"execute": command, "arguments": arguments}))
            while True:
                answer = json.loads(self._qmp.read())
                if answer.get("event") == "WATCHDOG":
                    self._resets += 1
                if "return" in answer:
                    return answer["return"]
                if "error" in answer:
                    raise DeviceFault(QEMU, f"{command}: {answer['error']['desc']}")

    def _order(self, line: str) -> str:
        with self._lock:
            self._qtest.send(line)
            with self._changed:
                if not self._changed.wait_for(lambda: bool(self._answers), _PATIENCE_S):
                    raise DeviceFault(QEMU, "does not answer")
                answer = self._answers.pop(0)
        if not answer.startswith("OK"):
            raise DeviceFault(QEMU, f"{line.split()[0]}: {answer or 'gone'}")
        return answer

    def _read_qtest(self, lines: _Lines) -> None:
        while True:
            try:
                line = lines.read()
            except (OSError, ValueError):
                line = ""
            at = time.monotonic()
            with self._changed:
                words = line.split()
                if words[:1] == ["IRQ"]:
                    pin = int(words[2])
                    if pin in self._edges:
                        self._edges[pin].append(PinEdge(at, words[1] == "raise"))
                else:
                    self._answers.append(line)
                self._changed.notify_all()
            if not line:
                return
