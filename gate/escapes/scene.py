"""What an attempt finds: files, sockets, pipes and a parent, all there before the sandbox closes.

Everything is made by the helper process, so that behind the sandbox an attempt is nothing but
the system calls it is named for. A library that opened a file on the way would be killed for that,
and the attempt would look held although it never happened.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

SECRET = b"sixteen bytes!!!"
"""What an attempt tries to carry out."""
OLD_BYTES = 4096


class Refused(Exception):
    """A system call answered with an error. Not OSError: that would look up the error's text."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.errno = number


def call(number: int, *arguments: Any) -> int:
    """Make one system call.

    Raises:
        Refused: it failed.
    """
    # Every argument as a whole register: seccomp compares 64 bits.
    registers = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *registers))
    if result < 0:
        raise Refused(ctypes.get_errno())
    return result


@dataclass
class Scene:
    """The surroundings of all attempts of one helper. Use as a context.

    `result_fd` is the pipe of the verifier's answers; it and `other_fd` and the standard output
    are replaced for each attempt. `parent_pid` is the helper: the process to reach.
    """

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="consentgate-")))
    parent_pid: int = field(default_factory=os.getpid)
    old_fd: int = -1
    result_fd: int = -1
    other_fd: int = -1

    def __enter__(self) -> Scene:
        """Make what lasts for all attempts."""
        self.old, self.new = self.folder / "old", self.folder / "new"
        self.shm = Path(f"/dev/shm/consentgate-{self.parent_pid}")  # noqa: S108 - to be refused
        self.queue_name = f"consentgate-{self.parent_pid}".encode()
        self._make_old()
        self.pidfd = os.pidfd_open(self.parent_pid)
        self.tcp_server = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.udp_server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp_server.bind(("127.0.0.1", 0))
        self.unix_server = _unix_server(str(self.folder / "socket"))
        self.abstract_server = _unix_server(f"\0consentgate-{self.parent_pid}")
        self.here, self.there = socket.socketpair()
        self.page = mmap.mmap(-1, mmap.PAGESIZE)
        self.page_at = ctypes.addressof(ctypes.c_char.from_buffer(self.page))
        self.in_parent = ctypes.create_string_buffer(b"what the parent holds", 64)
        self.code = _machine_code()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the files. Descriptors end with the helper."""
        for path in (self.shm, *self.folder.iterdir()):
            path.unlink(missing_ok=True)
        self.folder.rmdir()

    def reset(self) -> None:
        """Put the files back as they were."""
        if not self.traces():
            return
        for path in (self.new, self.shm, self.old):
            path.unlink(missing_ok=True)
        self._make_old()

    def _make_old(self) -> None:
        self.old.write_bytes(bytes(OLD_BYTES))
        self.old.chmod(0o600)
        os.utime(self.old, (0, 0))
        fd = os.open(self.old, os.O_RDWR)
        if self.old_fd < 0:
            self.old_fd = fd
        else:
            os.dup2(fd, self.old_fd)
            os.close(fd)

    def traces(self) -> bool:
        """Whether an attempt left something in a file."""
        return self.new.exists() or self.shm.exists() or not self.old.exists() or self._changed()

    def _changed(self) -> bool:
        found = self.old.stat()
        return (
            self.old.read_bytes() != bytes(OLD_BYTES)
            or found.st_mtime_ns != 0
            or found.st_mode & 0o777 != 0o600
            or bool(_attributes(self.old))
        )


def _attributes(path: Path) -> list[str]:
    """Return the user's extended attributes; none on file systems without any."""
    try:
        return [name for name in os.listxattr(path) if name.startswith("user.")]
    except OSError:
        return []


def _unix_server(name: str) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(name)
    server.listen(1024)
    return server


def _machine_code() -> Any:
    """Return a function that asks for getppid() by the 32-bit entry of 64-bit x86, or None."""
    rights = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    try:
        code = mmap.mmap(-1, mmap.PAGESIZE, prot=rights)
    except OSError:  # a host that lets nobody write code
        return None
    # mov eax, 64 (getppid of i386); int 0x80; ret
    code.write(b"\xb8\x40\x00\x00\x00\xcd\x80\xc3")
    at = ctypes.addressof(ctypes.c_char.from_buffer(code))
    return ctypes.CFUNCTYPE(ctypes.c_int)(at)


def error_name(number: int) -> str:
    """Return the name of an errno."""
    return errno.errorcode.get(number, f"errno {number}")
