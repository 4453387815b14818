"""Landlock (Linux 5.13): a process forbids itself files, TCP, and reaching others. By raw calls.

Best effort: every rule it makes is enforced by a seccomp filter or a limit, too. What the kernel
at hand knows (its ABI) goes to the log. Source: Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1

# linux/landlock.h
_READS = 0b1100  # READ_FILE READ_DIR
_READ_DIR = 0b1000
_WRITES = 0b1111111110011  # EXECUTE WRITE_FILE REMOVE_* MAKE_*
_SINCE = ((2, 1 << 13), (3, 1 << 14), (5, 1 << 15))  # REFER, TRUNCATE, IOCTL_DEV
_DEVICE = 1 << 1 | 1 << 15  # WRITE_FILE IOCTL_DEV
_BIND, _CONNECT = 1 << 0, 1 << 1  # TCP
_SCOPES = 0b11  # abstract sockets and signals


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def kernel_abi() -> int:
    """Return the newest version that this kernel knows, 0 when it has no Landlock."""
    return max(0, int(_libc.syscall(_CREATE, None, 0, _VERSION)))


def keep_files_unwritten(devices: Iterable[Path]) -> int:
    """Open nothing for writing but `devices`, execute nothing, serve nothing over TCP.

    From version 6 on also: no signal to, and no abstract socket of, any process outside.

    Returns:
        The ABI in force, 0 when none is.
    """
    return _restrict(_WRITES, devices, _BIND)


def keep_from_everything(readable: Iterable[Path] = ()) -> int:
    """Open no file but below `readable`, to read, and connect nowhere over TCP.

    What is open already stays.

    Returns:
        The ABI in force, 0 when none is.
    """
    return _restrict(_WRITES | _READS, (), _BIND | _CONNECT, readable)


def keep_from_reading_but(readable: Iterable[Path]) -> int:
    """Read nothing but these files and what is below these folders. The network stays.

    What is open already stays.

    Returns:
        The ABI in force, 0 when none is.
    """
    return _restrict(_READS, (), 0, readable)


def _restrict(
    access: int, devices: Iterable[Path], network: int, readable: Iterable[Path] = ()
) -> int:
    """Deny `network` and `access` (and what newer ABIs add) but on `devices` and `readable`."""
    abi = kernel_abi()
    if abi < 1:
        return 0
    for since, right in _SINCE:
        access |= right if abi >= since else 0
    attributes = [access]
    if abi >= 4:
        attributes.append(network)
    if abi >= 6:
        attributes.append(_SCOPES)
    packed: Any = (ctypes.c_uint64 * len(attributes))(*attributes)
    ruleset = int(_libc.syscall(_CREATE, packed, ctypes.sizeof(packed), 0))
    if ruleset < 0:
        return 0
    try:
        for device in devices:
            _permit(ruleset, device, access & _DEVICE)
        for folder in readable:
            _permit(ruleset, folder, access & _READS)
        done = int(_libc.syscall(_RESTRICT, ruleset, 0))
    finally:
        os.close(ruleset)
    return abi if done == 0 else 0


def _permit(ruleset: int, path: Path, access: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            access &= ~_READ_DIR  # a rule about a file with it is refused
        rule = _PathBeneath(access, fd)
        _libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(fd)
