"""Files that only their owner can read, replaced whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gate.errors import ConfigError
from gate.whole_file import PRIVATE, write_whole


def make_private_folder(path: Path) -> None:
    """Create a folder with mode 0700, or tighten the one that is there.

    Raises:
        ConfigError: it cannot be created.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be created ({error.strerror})", "choose a folder you may write to"
        ) from None


def write_private(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 atomically: readers see the old content or the new one.

    Raises:
        ConfigError: the disk is full or the folder is not writable; the old file is unharmed.
    """
    try:
        write_whole(path, content, PRIVATE)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written ({error.strerror})", "free the disk or fix permissions"
        ) from None


def read_private(path: Path, what: str, max_bytes: int = 64 * 1024) -> bytes:
    """Return the content of a secret file.

    Args:
        path: the file.
        what: its name in messages, such as "consent key".
        max_bytes: more is not read.

    Raises:
        ConfigError: absent, too large, or readable by other users.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise ConfigError(
            f"{what}: cannot read {path} ({error.strerror})", "is this the folder of a site?"
        ) from None
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(f"{what}: other users can open {path}", f"chmod 600 {path}")
    if len(content) > max_bytes:
        raise ConfigError(f"{what}: {path} is too large", "is this the right file?")
    return content
