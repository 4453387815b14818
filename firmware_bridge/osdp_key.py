"""The key of one door's line: made here, kept in one file that only its owner reads."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from firmware_bridge.errors import DeviceFault
from firmware_bridge.osdp_codes import SCBK_DEFAULT
from firmware_bridge.osdp_crypto import KEY_LENGTH

_HEX = re.compile(rb"\s*([0-9A-Fa-f]{32})\s*(?:#[^\n]*\s*)?\Z")


def generate_key() -> bytes:
    """Return a fresh 16-byte key (SCBK) from the operating system's generator."""
    return os.urandom(KEY_LENGTH)


def check_key(key: bytes) -> bytes:
    """Return `key` when it may guard a door.

    Raises:
        ValueError: wrong length, the standard's printed default key, or one repeated byte.
    """
    if len(key) != KEY_LENGTH:
        raise ValueError(f"an OSDP key has {KEY_LENGTH} bytes")
    if key == SCBK_DEFAULT:
        raise ValueError("the OSDP default key is public and opens every door")
    if len(set(key)) == 1:
        raise ValueError("a key of one repeated byte is no key")
    return key


def load_key(path: str | os.PathLike[str]) -> bytes:
    """Read a door's key: 32 hexadecimal digits in a file of mode 0600 or stricter.

    One comment after `#` may follow the key.

    Raises:
        DeviceFault: the file is absent, open to others, malformed, or holds a public key.
    """
    name = os.fspath(path)
    try:
        with Path(path).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(256) if stat.S_ISREG(mode) else b""
    except FileNotFoundError:
        raise DeviceFault(name, "key file absent", "name the door's OSDP key file") from None
    except OSError as error:
        what = f"key file not readable ({error.strerror})"
        raise DeviceFault(name, what, "check its owner and mode") from None
    if not stat.S_ISREG(mode):
        raise DeviceFault(name, "key file is not a regular file", "name the door's OSDP key file")
    if mode & 0o077:
        raise DeviceFault(name, "key file is open to other users", f"run: chmod 600 {name}")
    match = _HEX.match(text)
    if match is None:
        raise DeviceFault(name, "key file is not 32 hexadecimal digits", "write the key anew")
    try:
        return check_key(bytes.fromhex(match[1].decode()))
    except ValueError as error:
        raise DeviceFault(name, str(error), "give this door a random key of its own") from None


def save_key(path: str | os.PathLike[str], key: bytes, comment: str = "") -> None:
    """Write a door's key to a new file of mode 0600. An existing file is never replaced.

    Args:
        path: where.
        key: 16 bytes.
        comment: one short line of ASCII that stands beside the key.

    Raises:
        DeviceFault: the file exists already or cannot be written.
        ValueError: `check_key` refuses the key.
    """
    check_key(key)
    name = os.fspath(path)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(key.hex() + (f"  # {comment}" if comment else "") + "\n")
    except FileExistsError:
        raise DeviceFault(name, "key file exists", "move it away first") from None
    except OSError as error:
        raise DeviceFault(name, f"key file not writable ({error.strerror})") from None
