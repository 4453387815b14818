"""Files that are replaced whole or not at all, with the mode they should have, and read whole."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

PRIVATE = 0o600
PUBLIC = 0o644


def write_whole(path: Path, content: bytes, mode: int) -> None:
    """Write a file atomically and durably: readers see the old content or the new one.

    Args:
        path: the file; its folder must exist.
        content: all of it.
        mode: permissions, whatever the umask is.

    Raises:
        OSError: the disk is full or the folder is not writable; the old file is unharmed.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    fresh = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_whole(path: Path, most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes. Never waits.

    A pipe or a device in the place of a file would hold up who reads it, and the lane with it.

    Raises:
        OSError: absent, unreadable, no regular file (EINVAL), or larger (EFBIG).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return content
