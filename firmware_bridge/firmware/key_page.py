"""Make the page of flash that gives one controller its door's key and its place on the line.

The installer writes it with the programming cable, apart from the program:

    python -m firmware_bridge.firmware.key_page --key-file door.key --out door.page

A controller without a valid page stays off the line; it still obeys its fire loop.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from firmware_bridge.errors import DeviceFault
from firmware_bridge.osdp_frame import crc16
from firmware_bridge.osdp_key import check_key, load_key

FLASH_ADDRESS = 0x3FC00
"""Where the page belongs in the LM3S6965's flash."""
PAGE_LENGTH = 1024

_MAGIC = b"CGKP\x01"
_BAUDS = (9600, 115200)
_ERASED = b"\xff"


def key_page(
    key: bytes,
    *,
    address: int = 0,
    baud: int = 115200,
    serial: int = 0,
    random_bytes: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """Return one page: the door's key and a fresh secret for the device's nonces.

    Args:
        key: the door's 16-byte key (SCBK).
        address: OSDP address, 0..126.
        baud: 9600 or 115200.
        serial: number of the controller, 32 bits; told to the panel in osdp_PDID.
        random_bytes: source of fresh randomness.

    Raises:
        ValueError: an argument is out of range, or the key is public.
    """
    check_key(key)
    if not 0 <= address <= 126:
        raise ValueError("an OSDP address is 0..126")
    if baud not in _BAUDS:
        raise ValueError("the line runs at 9600 or 115200 baud")
    if not 0 <= serial < 1 << 32:
        raise ValueError("a serial number has 32 bits")
    secret = check_key(random_bytes(16))
    place = bytes([address, _BAUDS.index(baud), 0]) + serial.to_bytes(4, "little")
    body = _MAGIC + place + key + secret
    crc = crc16(body).to_bytes(2, "little")
    page = body + crc + bytes(0xFF ^ byte for byte in crc)
    return page.ljust(PAGE_LENGTH, _ERASED)


def save_key_page(path: str | os.PathLike[str], page: bytes) -> None:
    """Write a page to a new file of mode 0600. An existing file is never replaced.

    Raises:
        DeviceFault: the file exists already or cannot be written.
    """
    name = os.fspath(path)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(page)
    except FileExistsError:
        raise DeviceFault(name, "key page exists", "move it away first") from None
    except OSError as error:
        raise DeviceFault(name, f"key page not writable ({error.strerror})") from None


def main(arguments: list[str] | None = None) -> int:
    """Make one key page; see --help."""
    parser = argparse.ArgumentParser(
        prog="python -m firmware_bridge.firmware.key_page",
        description="Make the page of flash that gives a turnstile controller its door's key.",
        epilog=f"Write it to flash address {FLASH_ADDRESS:#x} with the programming cable, then "
        "delete the file: who holds it holds the door's key.",
    )
    parser.add_argument("--key-file", required=True, help="the door's key, see `gate turnstile`")
    parser.add_argument("--out", required=True, type=Path, help="the page, a new file")
    parser.add_argument("--address", type=int, default=0, help="OSDP address, 0..126 (0)")
    parser.add_argument("--baud", type=int, default=115200, choices=_BAUDS, help="(115200)")
    parser.add_argument("--serial", type=int, default=0, help="number of the controller (0)")
    options = parser.parse_args(arguments)
    try:
        page = key_page(
            load_key(options.key_file),
            address=options.address,
            baud=options.baud,
            serial=options.serial,
        )
        save_key_page(options.out, page)
    except DeviceFault as fault:
        sys.stderr.write(fault.diagnostics() + "\n")
        return 2
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{options.out}: write it to flash address {FLASH_ADDRESS:#x}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
