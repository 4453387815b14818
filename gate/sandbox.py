"""How a process of ours gives up what it does not need, in two stages.

`harden` before any secret arrives: no new privileges, no dumps, no file writes, no other program
or process. `deny` takes more as soon as it is known not to be needed. `lock` once every file and
device is open: only the listed system calls, anything else ends the process.
Used by verifier, key agent and enrolment's capture worker. Linux only.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gate import landlock
from gate.errors import ConfigError

try:
    import pyseccomp
except (ImportError, RuntimeError, OSError):  # RuntimeError: libseccomp itself is not installed
    pyseccomp = None
libseccomp: Any = pyseccomp
"""The library that knows the numbers of system calls; None when it is not installed."""

_PR_SET_PDEATHSIG, _PR_GET_DUMPABLE, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 3, 4, 38
_libc = ctypes.CDLL(None, use_errno=True)

_MAKING = (os.O_CREAT, os.O_TRUNC, os.O_TMPFILE & ~os.O_DIRECTORY)
"""Flags of open() that make or empty a file."""
EQ, GE, MASKED_EQ = 4, 5, 7
_PROT_EXEC, _MAP_SHARED, _MAP_ANONYMOUS = 0x4, 0x1, 0x20


@dataclass(frozen=True)
class Allow:
    """One allowed system call, optionally only with certain arguments.

    `args`: (index, operator, value) or (index, MASKED_EQ, mask, value), all must hold. The whole
    64-bit register is compared.
    """

    syscall: str
    args: tuple[tuple[int, ...], ...] = ()


def _names(text: str) -> tuple[Allow, ...]:
    return tuple(Allow(name) for name in text.split())


COMPUTE: tuple[Allow, ...] = (
    *_names("read readv pread64 lseek close brk munmap mremap madvise futex exit exit_group"),
    *_names("clock_gettime clock_nanosleep nanosleep gettimeofday getrandom sched_yield getpid"),
    *_names("rt_sigreturn rt_sigprocmask rt_sigaction restart_syscall poll ppoll select pselect6"),
    # Memory yes, but never executable, never a file, and never shared.
    Allow(
        "mmap",
        (
            (2, MASKED_EQ, _PROT_EXEC, 0),
            (3, MASKED_EQ, _MAP_ANONYMOUS | _MAP_SHARED, _MAP_ANONYMOUS),
        ),
    ),
    Allow("mprotect", ((2, MASKED_EQ, _PROT_EXEC, 0),)),
)
"""What computing, waiting and reading open files needs."""

_VIDIOC = (0xC058560F, 0xC0585611, 0x40045612, 0x40045613)  # QBUF DQBUF STREAMON STREAMOFF
V4L2: tuple[Allow, ...] = tuple(
    Allow("ioctl", ((1, MASKED_EQ, 0xFFFFFFFF, request),)) for request in _VIDIOC
)
"""What streaming from an already opened V4L2 camera needs on top."""

OPEN_SOCKETS: tuple[Allow, ...] = (
    *_names("recvfrom"),
    # send(): without an address, so a socket that was never connected reaches nobody.
    Allow("sendto", ((4, EQ, 0), (5, EQ, 0))),
)
"""What reading an already connected network camera needs on top. No new connection."""

SERVING = "listen accept accept4"
"""For `deny`: what only a server needs."""
NETWORK = f"socket socketpair connect bind sendto sendmsg sendmmsg recvfrom recvmsg {SERVING}"
"""For `deny`: all use of sockets, those already open too."""

NEVER = (
    # Other programs and processes. clone3 has to look absent, see `deny`.
    "execve execveat fork vfork clone ptrace kcmp process_vm_readv process_vm_writev "
    "process_madvise pidfd_open pidfd_getfd pidfd_send_signal kill tkill unshare setns "
    "rt_sigqueueinfo rt_tgsigqueueinfo "
    # Large and often faulty parts of the kernel that no library of ours needs.
    "io_uring_setup io_uring_enter io_uring_register bpf perf_event_open userfaultfd "
    "keyctl add_key request_key fanotify_init personality quotactl "
    # File systems and files by other ways than Landlock watches.
    "mount umount2 pivot_root chroot move_mount open_tree fsopen fsmount fsconfig fspick "
    "mount_setattr name_to_handle_at open_by_handle_at memfd_create memfd_secret "
    # What a file carries beside its content: times, rights and attributes hold bytes, too.
    "utime utimes utimensat futimesat chmod fchmod fchmodat chown fchown lchown fchownat "
    "setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr mknod mknodat "
    "truncate ftruncate fallocate "
    # Names hold bytes, too: the only wall against making them where there is no Landlock.
    "creat mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 "
    "link linkat symlink symlinkat "
    # Memory and messages that outlive the process.
    "shmget shmat shmctl msgget msgsnd semget mq_open "
    # The machine itself.
    "init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff acct "
    "settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname syslog "
    "iopl ioperm modify_ldt "
)


def write_only(fd: int, size: int) -> tuple[Allow, ...]:
    """Return the rule that lets only records of `size` bytes leave, and only through `fd`."""
    return (Allow("write", ((0, EQ, fd), (2, EQ, size))),)


def die_with_parent(parent_pid: int) -> None:
    """End this process when the thread that started it ends; at once if it already has."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)


def is_dumpable() -> bool:
    """Whether this process could still be dumped or traced."""
    return bool(_libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0))


def check_available() -> None:
    """Refuse a host on which `lock` could not work.

    Raises:
        ConfigError: not Linux, or libseccomp is missing.
    """
    if not sys.platform.startswith("linux"):
        raise ConfigError("the sandbox needs Linux", "run the gate on Linux")
    if pyseccomp is None:
        raise ConfigError("libseccomp is missing", "run: apt install libseccomp2")


def leave_no_core() -> None:
    """Leave no memory image of this process, and let no other user's process look into it.

    Not RLIMIT_CORE alone: a core pattern that pipes into a collector ignores the limit.
    """
    _prctl(_PR_SET_DUMPABLE, 0)
    _limit(resource.RLIMIT_CORE, 0)


def harden(open_files: int, devices: Iterable[Path] = ()) -> int:
    """Stage 1: give up privileges, dumps, file writes, and other programs and processes.

    What remains, because models load and cameras open after it: reading files, opening `devices`,
    memory of every kind, and the network as a client (a camera may be a network camera; which one
    it is comes later, so take it away with `deny` then). A TCP server is impossible where Landlock
    is version 4, signals and abstract sockets of others are out of reach where it is version 6.

    Args:
        open_files: RLIMIT_NOFILE from now on.
        devices: device files that may still be opened for writing (a V4L2 camera must be).

    Returns:
        The Landlock ABI in force, 0 where the kernel has none (best effort, others hold).

    Raises:
        ConfigError: the host cannot sandbox at all.
    """
    check_available()
    gain_no_privileges()
    leave_no_core()
    limit(open_files)
    abi = landlock.keep_files_unwritten(devices)
    deny(NEVER)
    return abi


def gain_no_privileges() -> None:
    """Let no program that this process executes have more rights than it. For `harden`."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def limit(open_files: int) -> None:
    """Write no file, start no process, hold few descriptors. For `harden`."""
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NPROC, 0)
    limit_open_files(open_files)


def limit_open_files(open_files: int) -> None:
    """Open no descriptor of this number or above. For `harden` and `lock`."""
    _limit(resource.RLIMIT_NOFILE, open_files)


def deny(syscalls: str) -> None:
    """Between the stages: from here on these system calls fail with EPERM.

    An error and not death, because libraries try things that they can do without. No file is made
    or emptied by opening it either.

    Args:
        syscalls: names, separated by spaces.

    Raises:
        ConfigError: the filter could not be loaded.
    """
    with _filter("ALLOW") as rules:
        for name in syscalls.split():
            rules.add_rule(pyseccomp.ERRNO(errno.EPERM), name)
        for name, at in (("open", 1), ("openat", 2)):
            for flag in _MAKING:
                making = pyseccomp.Arg(at, MASKED_EQ, flag, flag)
                rules.add_rule(pyseccomp.ERRNO(errno.EPERM), name, making)
        # Their arguments lie in memory, where no filter sees them; absent, libc takes the others.
        for name in ("clone3", "openat2"):
            rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), name)


def lock(allowed: Sequence[Allow], open_files: int = 0, readable: Iterable[Path] = ()) -> None:
    """Stage 2: from here on only `allowed`; any other system call kills the process.

    Writes to standard output and error fail with EBADF instead, because libraries print there.

    Args:
        allowed: the rules.
        open_files: RLIMIT_NOFILE from now on. Descriptors already open stay.
        readable: folders that may still be read, where `allowed` lets files be opened at all.

    Raises:
        ConfigError: the filter could not be loaded.
    """
    check_available()
    landlock.keep_from_everything(readable)
    limit_open_files(open_files)
    allow_only(allowed)


def allow_only(allowed: Sequence[Allow]) -> None:
    """Load the filter of stage 2. For `lock`, which says what it does.

    Raises:
        ConfigError: the filter could not be loaded.
    """
    with _filter("KILL_PROCESS") as rules:
        for fd in (1, 2):
            to_std = pyseccomp.Arg(0, pyseccomp.EQ, fd)
            rules.add_rule(pyseccomp.ERRNO(errno.EBADF), "write", to_std)
        # OpenBLAS places its buffer with it, and does not mind being told no.
        rules.add_rule(pyseccomp.ERRNO(errno.EPERM), "mbind")
        for rule in allowed:
            arguments = [pyseccomp.Arg(*argument) for argument in rule.args]
            rules.add_rule(pyseccomp.ALLOW, rule.syscall, *arguments)


@contextlib.contextmanager
def _filter(otherwise: str) -> Iterator[Any]:
    """Hand out an empty filter, and load it once it is filled."""
    check_available()
    try:
        rules = pyseccomp.SyscallFilter(getattr(pyseccomp, otherwise))
        rules.set_attr(pyseccomp.Attr.ACT_BADARCH, pyseccomp.KILL_PROCESS)
        rules.set_attr(pyseccomp.Attr.CTL_TSYNC, 1)
        yield rules
        rules.load()
    except OSError as error:
        raise ConfigError(
            f"seccomp filter refused (errno {error.errno})",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        ) from None


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise ConfigError(f"prctl {option} refused (errno {ctypes.get_errno()})")


def _limit(which: int, value: int) -> None:
    resource.setrlimit(which, (value, value))
