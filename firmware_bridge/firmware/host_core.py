"""The firmware's core as a library of this computer: the same C, driven with a time of one's own.

Built with the undefined-behaviour sanitizer: a wrong step ends the process. Needs gcc and make.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from firmware_bridge.errors import DeviceFault

SOURCES = Path(__file__).parent
_REPLY_MAX = 64
_FRAME_MAX = 256


@dataclass(frozen=True, slots=True)
class CoreFrame:
    """One frame as the core's parser sees it."""

    address: int
    is_reply: bool
    sqn: int
    code: int
    has_mac: bool
    security_length: int
    covered: int
    data_length: int
    raw: bytes


def build(
    target: str, folder: str | os.PathLike[str], *, sources: str | os.PathLike[str] = SOURCES
) -> Path:
    """Make a target of the firmware's Makefile into `folder`; return the folder.

    Raises:
        DeviceFault: a tool is absent or the build failed.
    """
    command = [
        "make",
        "--no-print-directory",
        "-C",
        os.fspath(sources),
        target,
        f"OUT={Path(folder)}",
    ]
    try:
        done = subprocess.run(  # noqa: S603 - our own Makefile
            command, capture_output=True, text=True, check=False, timeout=300
        )
    except OSError as error:
        advice = "install the Debian packages make and gcc"
        raise DeviceFault("firmware", f"make does not run ({error.strerror})", advice) from None
    if done.returncode != 0:
        raise DeviceFault("firmware", f"`make {target}` failed", done.stderr.strip())
    return Path(folder)


class HostCore:
    """The library, loaded once.

    Args:
        path: libcontroller.so, see `build`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        library = ctypes.CDLL(os.fspath(path))
        library.host_controller_size.restype = ctypes.c_size_t
        library.host_controller_init.restype = ctypes.c_bool
        library.host_in_session.restype = ctypes.c_bool
        library.host_decoder_size.restype = ctypes.c_size_t
        library.host_decoder_next.restype = ctypes.c_bool
        library.controller_receive.restype = ctypes.c_size_t
        library.controller_advance.restype = ctypes.c_uint8
        library.boot_record_choose.restype = ctypes.c_bool
        self.library = library

    def aes(self, key: bytes, block: bytes, *, decrypt: bool = False) -> bytes:
        """Return one block through AES-128."""
        out = ctypes.create_string_buffer(16)
        self.library.host_aes(key, block, out, ctypes.c_bool(decrypt))
        return out.raw

    def frames(self, data: bytes) -> list[CoreFrame]:
        """Return the frames in a byte stream."""
        decoder = ctypes.create_string_buffer(self.library.host_decoder_size())
        fields = (ctypes.c_uint8 * 12)()
        raw = ctypes.create_string_buffer(_FRAME_MAX)
        found = []
        for byte in data:
            self.library.osdp_decoder_push(decoder, ctypes.c_uint8(byte))
            while self.library.host_decoder_next(decoder, fields, raw):
                number = bytes(fields)
                found.append(
                    CoreFrame(
                        address=number[0],
                        is_reply=bool(number[1]),
                        sqn=number[2],
                        code=number[3],
                        has_mac=bool(number[4]),
                        security_length=number[5],
                        covered=int.from_bytes(number[6:8], "little"),
                        data_length=int.from_bytes(number[8:10], "little"),
                        raw=raw.raw[: int.from_bytes(number[10:12], "little")],
                    )
                )
        return found

    def next_boot(self, records: bytes) -> tuple[int, int] | None:
        """Return count and copy to write, from two records of 12 bytes; None: not to be trusted."""
        boots, copy = ctypes.c_uint32(), ctypes.c_uint()
        usable = self.library.boot_record_choose(records, ctypes.byref(boots), ctypes.byref(copy))
        return (boots.value, copy.value) if usable else None

    def boot_record(self, boots: int) -> bytes:
        """Return the record of a count of starts."""
        record = ctypes.create_string_buffer(12)
        self.library.boot_record_encode(ctypes.c_uint32(boots), record)
        return record.raw


class HostController:
    """One controller at the core's level: samples, milliseconds and bytes in, relays and bytes out.

    Args:
        core: the library.
        page: the key page; None: never given a key.
        boots: count of starts; 0: it cannot be trusted.
        sample: first sample of the input loops, one bit an input, 1 = closed.
    """

    def __init__(self, core: HostCore, page: bytes | None, *, boots: int, sample: int) -> None:
        self._library = core.library
        self._state = ctypes.create_string_buffer(self._library.host_controller_size())
        self._reply = ctypes.create_string_buffer(_REPLY_MAX)
        self.has_key = bool(
            self._library.host_controller_init(
                self._state, page, ctypes.c_uint32(boots), ctypes.c_uint8(sample)
            )
        )

    @property
    def in_session(self) -> bool:
        """True while a Secure Channel stands."""
        return bool(self._library.host_in_session(self._state))

    @property
    def outputs(self) -> int:
        """Present state of the relays, one bit an output. The turnstile stands first in memory."""
        return int(self._library.turnstile_outputs(self._state))

    def receive(self, data: bytes, noise: int = 0) -> bytes:
        """Take bytes from the line; return what the controller sends."""
        sent = b""
        for byte in data:
            length = self._library.controller_receive(
                self._state, ctypes.c_uint8(byte), ctypes.c_uint32(noise), self._reply
            )
            sent += self._reply.raw[:length]
        return sent

    def advance(self, sample: int, elapsed_ms: int) -> int:
        """Take one sample of the inputs; return the relays' states."""
        return int(
            self._library.controller_advance(
                self._state, ctypes.c_uint8(sample), ctypes.c_uint32(elapsed_ms)
            )
        )
