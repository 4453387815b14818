"""Every way out that is tried. Each attempt is prepared first and then made of bare system calls.

An attempt that comes back without `Refused` got through, whatever its system call answered.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass

from gate import sandbox
from gate.escapes.scene import SECRET, Refused, Scene, call

Act = Callable[[], object]
"""The attempt itself, made behind the sandbox."""
Prepare = Callable[[Scene], Act]
"""Makes the attempt ready, in front of the sandbox."""

_AT_FDCWD = -100
_PAGE = 4096
_READ, _WRITE, _EXEC = 1, 2, 4
_SHARED, _PRIVATE, _ANONYMOUS = 0x01, 0x02, 0x20
_RECORD = len(SECRET)


@dataclass(frozen=True)
class Attempt:
    """One way out. `name` is stable: reports and tests refer to it."""

    name: str
    prepare: Prepare


def number(name: str) -> int:
    """Return the number of a system call on this machine; negative when it has none."""
    library = sandbox.libseccomp
    return int(library.resolve_syscall(library.Arch.NATIVE, name))


def _try(name: str, *arguments: object) -> Act:
    at = number(name)
    return lambda: call(at, *arguments)


def _vector(*parts: tuple[int, int]) -> ctypes.Array[ctypes.c_ulong]:
    """Return an iovec array of (address, length) pairs."""
    return (ctypes.c_ulong * (2 * len(parts)))(*(value for part in parts for value in part))


# ---- files ----------------------------------------------------------------------------------


def _open(path: bytes, flags: int) -> Act:
    return _try("openat", _AT_FDCWD, path, flags, 0o600)


def _times() -> bytes:
    """Return two timespecs whose nanoseconds carry what is to be hidden."""
    hidden = (int.from_bytes(SECRET[n : n + 3], "big") for n in (0, 3))
    return b"".join(struct.pack("qq", 1, nanoseconds) for nanoseconds in hidden)


FILES = (
    Attempt("open a file for writing", lambda s: _open(bytes(s.old), os.O_WRONLY)),
    Attempt("create a file", lambda s: _open(bytes(s.new), os.O_WRONLY | os.O_CREAT)),
    Attempt("create a file in /dev/shm", lambda s: _open(bytes(s.shm), os.O_WRONLY | os.O_CREAT)),
    Attempt("make a file in memory", lambda _: _try("memfd_create", b"x", 0)),
    Attempt("open another file for reading", lambda s: _open(bytes(s.old), os.O_RDONLY)),
    Attempt("list a folder", lambda s: _open(bytes(s.folder), os.O_RDONLY | os.O_DIRECTORY)),
    Attempt(
        "look whether a file exists",
        lambda s: _try("faccessat", _AT_FDCWD, bytes(s.old), os.F_OK),
    ),
    Attempt("remove a file", lambda s: _try("unlinkat", _AT_FDCWD, bytes(s.old), 0)),
    Attempt(
        "hide bytes in the name a link points to",
        lambda s: _try("symlinkat", SECRET, _AT_FDCWD, bytes(s.new)),
    ),
    Attempt(
        "hide bytes in the times of a file",
        lambda s: _try("utimensat", _AT_FDCWD, bytes(s.old), _times(), 0),
    ),
    Attempt(
        "hide bytes in the rights of a file",
        lambda s: _try("fchmodat", _AT_FDCWD, bytes(s.old), 0o612),
    ),
    Attempt(
        "hide bytes in an attribute of a file",
        lambda s: _try("setxattr", bytes(s.old), b"user.x", SECRET, _RECORD, 0),
    ),
    Attempt("change the length of a file", lambda s: _try("truncate", bytes(s.old), 5)),
    Attempt("write to a file opened before", lambda s: _try("write", s.old_fd, SECRET, _RECORD)),
)

# ---- the answer and other descriptors -------------------------------------------------------


def _exchange_descriptors(scene: Scene) -> Act:
    dup3, write = number("dup3"), number("write")

    def act() -> None:
        call(dup3, scene.other_fd, scene.result_fd, 0)
        call(write, scene.result_fd, SECRET, _RECORD)

    return act


def _write_vector(scene: Scene) -> Act:
    content = ctypes.create_string_buffer(SECRET, _RECORD)
    at = ctypes.addressof(content)
    vector, writev = _vector((at, _RECORD), (at, 1)), number("writev")

    def act() -> int:
        assert content
        return call(writev, scene.result_fd, vector, 2)

    return act


ANSWERS = (
    Attempt(
        "answer more than 16 bytes",
        lambda s: _try("write", s.result_fd, SECRET + b"+", _RECORD + 1),
    ),
    Attempt("answer less than 16 bytes", lambda s: _try("write", s.result_fd, SECRET, 1)),
    Attempt("answer from several places", _write_vector),
    Attempt(
        "answer out of a file", lambda s: _try("sendfile", s.result_fd, s.old_fd, None, _RECORD)
    ),
    Attempt(
        "answer by moving pages",
        lambda s: _try("splice", s.old_fd, None, s.result_fd, None, _RECORD, 0),
    ),
    Attempt("write to another descriptor", lambda s: _try("write", s.other_fd, SECRET, _RECORD)),
    Attempt("write to standard output", lambda _: _try("write", 1, SECRET, _RECORD)),
    Attempt("write to standard error", lambda _: _try("write", 2, SECRET, _RECORD)),
    Attempt("put another descriptor in place of the answer's", _exchange_descriptors),
    Attempt(
        "control a descriptor",
        lambda s: _try("ioctl", s.result_fd, 0x541B, ctypes.create_string_buffer(8)),  # FIONREAD
    ),
    Attempt("copy a descriptor", lambda s: _try("dup", s.result_fd)),
)

# ---- memory ---------------------------------------------------------------------------------


def _map(rights: int, flags: int, fd: int = -1) -> Act:
    return _try("mmap", 0, _PAGE, rights, flags, fd, 0)


def _share_system_v(_: Scene) -> Act:
    shmget, shmctl = number("shmget"), number("shmctl")

    def act() -> None:
        segment = call(shmget, 0, _PAGE, 0o1600)  # IPC_PRIVATE, IPC_CREAT
        call(shmctl, segment, 0, None)  # IPC_RMID

    return act


def _queue_system_v(_: Scene) -> Act:
    msgget, msgctl = number("msgget"), number("msgctl")

    def act() -> None:
        queue = call(msgget, 0, 0o1600)
        call(msgctl, queue, 0, None)

    return act


def _queue_posix(scene: Scene) -> Act:
    mq_open, mq_unlink = number("mq_open"), number("mq_unlink")

    def act() -> None:
        call(mq_open, scene.queue_name, os.O_CREAT | os.O_WRONLY, 0o600, None)
        call(mq_unlink, scene.queue_name)

    return act


def _keep_in_keyring(_: Scene) -> Act:
    add_key, keyctl = number("add_key"), number("keyctl")

    def act() -> None:
        key = call(add_key, b"user", b"consentgate", SECRET, _RECORD, -2)  # process keyring
        call(keyctl, 3, key)  # KEYCTL_REVOKE

    return act


MEMORY = (
    Attempt("map a file shared", lambda s: _map(_READ | _WRITE, _SHARED, s.old_fd)),
    Attempt("map memory shared", lambda _: _map(_READ | _WRITE, _SHARED | _ANONYMOUS)),
    Attempt("map a file", lambda s: _map(_READ, _PRIVATE, s.old_fd)),
    Attempt("map executable memory", lambda _: _map(_READ | _EXEC, _PRIVATE | _ANONYMOUS)),
    Attempt(
        "make memory executable",
        lambda s: _try("mprotect", s.page_at, _PAGE, _READ | _EXEC),
    ),
    Attempt("make a System V segment", _share_system_v),
    Attempt("make a System V queue", _queue_system_v),
    Attempt("make a POSIX message queue", _queue_posix),
    Attempt("leave a key in the kernel", _keep_in_keyring),
    Attempt("handle page faults itself", lambda _: _try("userfaultfd", 1)),  # UFFD_USER_MODE_ONLY
)

# ---- network --------------------------------------------------------------------------------


def _loopback(port: int) -> bytes:
    """Return a sockaddr_in."""
    family, at = struct.pack("=H", socket.AF_INET), struct.pack("!H", port)
    return family + at + socket.inet_aton("127.0.0.1") + bytes(8)


def _unix(server: socket.socket) -> bytes:
    """Return the sockaddr_un of a server."""
    name = server.getsockname()
    path = name if isinstance(name, bytes) else name.encode()
    return struct.pack("=H", socket.AF_UNIX) + path


def _connect(address: bytes) -> Act:
    """With a socket from before: a taken-over process may find one open."""
    family = struct.unpack("=H", address[:2])[0]
    fd = socket.socket(family, socket.SOCK_STREAM).detach()
    return _try("connect", fd, address, len(address))


def _listen(_: Scene) -> Act:
    return _try("bind", socket.socket().detach(), _loopback(0), len(_loopback(0)))


def _send(scene: Scene) -> Act:
    address = _loopback(scene.udp_server.getsockname()[1])
    fd = socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach()
    return _try("sendto", fd, SECRET, _RECORD, 0, address, len(address))


NETWORK = (
    Attempt("make a TCP socket", lambda _: _try("socket", socket.AF_INET, socket.SOCK_STREAM, 0)),
    Attempt("make a Unix socket", lambda _: _try("socket", socket.AF_UNIX, socket.SOCK_DGRAM, 0)),
    Attempt("make a netlink socket", lambda _: _try("socket", socket.AF_NETLINK, 3, 0)),
    Attempt("connect over TCP", lambda s: _connect(_loopback(s.tcp_server.getsockname()[1]))),
    Attempt("listen for TCP", _listen),
    Attempt("send over UDP", _send),
    Attempt("connect to a Unix socket", lambda s: _connect(_unix(s.unix_server))),
    Attempt(
        "connect to an abstract Unix socket",
        lambda s: _connect(_unix(s.abstract_server)),
    ),
    Attempt(
        "pass a descriptor to another process",
        lambda s: _try("sendmsg", s.here.fileno(), _rights(s), 0),
    ),
)


def _rights(scene: Scene) -> ctypes.Array[ctypes.c_char]:
    """Return a msghdr that passes one descriptor (SCM_RIGHTS), with all that it points to."""
    data = ctypes.create_string_buffer(SECRET, _RECORD)
    control = ctypes.create_string_buffer(
        struct.pack("NiiiI", 20, socket.SOL_SOCKET, socket.SCM_RIGHTS, scene.old_fd, 0)
    )
    vector = _vector((ctypes.addressof(data), _RECORD))
    header = struct.pack(
        "PIPNPNi", 0, 0, ctypes.addressof(vector), 1, ctypes.addressof(control), 24, 0
    )
    message = ctypes.create_string_buffer(header, 56)
    message.keep_alive = (data, control, vector)  # type: ignore[attr-defined]
    return message


# ---- other processes ------------------------------------------------------------------------


def _execute(scene: Scene) -> Act:
    """Another program, that would answer in place of this process."""
    code = f"import os; os.write({scene.result_fd}, {SECRET!r})"
    os.set_inheritable(scene.result_fd, True)
    words = [sys.executable, "-I", "-S", "-c", code]
    texts = [ctypes.c_char_p(word.encode()) for word in words]
    arguments = (ctypes.c_char_p * (len(texts) + 1))(*texts, None)
    return _try("execve", os.fsencode(sys.executable), arguments, (ctypes.c_char_p * 1)(None))


def _fork(_: Scene) -> Act:
    clone = number("clone")

    def act() -> None:
        if call(clone, int(signal.SIGCHLD), 0, 0, 0, 0) == 0:
            os._exit(0)

    return act


def _fork_anew(_: Scene) -> Act:
    """By clone3, whose arguments no filter can read."""
    clone3, size = number("clone3"), 64
    arguments = ctypes.create_string_buffer(
        struct.pack("8Q", 0, 0, 0, 0, int(signal.SIGCHLD), 0, 0, 0), size
    )

    def act() -> None:
        if call(clone3, arguments, size) == 0:
            os._exit(0)

    return act


def _start_thread(_: Scene) -> Act:
    libc = ctypes.CDLL(None, use_errno=True)
    stack = ctypes.create_string_buffer(1 << 16)
    top = ctypes.c_void_p((ctypes.addressof(stack) + (1 << 16)) & ~0xF)
    # VM FS FILES SIGHAND THREAD SYSVSEM; the thread calls sched_yield() and ends.
    flags = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000

    def act() -> None:
        if libc.clone(libc.sched_yield, top, flags, None) < 0:
            raise Refused(ctypes.get_errno())

    return act


def _trace(scene: Scene) -> Act:
    return _try("ptrace", 0x4206, scene.parent_pid, 0, 0)  # PTRACE_SEIZE


def _reach_memory(name: str) -> Prepare:
    def prepare(scene: Scene) -> Act:
        mine = ctypes.create_string_buffer(_RECORD)
        local = _vector((ctypes.addressof(mine), _RECORD))
        remote = _vector((ctypes.addressof(scene.in_parent), _RECORD))
        at = number(name)

        def act() -> int:
            assert mine
            return call(at, scene.parent_pid, local, 1, remote, 1, 0)

        return act

    return prepare


def _limits(soft: int, hard: int) -> bytes:
    everything = (1 << 64) - 1  # RLIM_INFINITY is -1 in Python
    return struct.pack("QQ", soft & everything, hard & everything)


_MIB = 1 << 20
_NAME = SECRET[:15] + b"\0"

PROCESSES = (
    Attempt("execute a program", _execute),
    Attempt("fork", _fork),
    Attempt("fork by clone3", _fork_anew),
    Attempt("start a thread", _start_thread),
    Attempt("trace another process", _trace),
    Attempt("read another process's memory", _reach_memory("process_vm_readv")),
    Attempt("write another process's memory", _reach_memory("process_vm_writev")),
    Attempt("take hold of another process", lambda s: _try("pidfd_open", s.parent_pid, 0)),
    Attempt(
        "take another process's descriptor", lambda s: _try("pidfd_getfd", s.pidfd, s.old_fd, 0)
    ),
    Attempt("signal another process", lambda s: _try("kill", s.parent_pid, 0)),
    Attempt(
        "signal another process's thread",
        lambda s: _try("tgkill", s.parent_pid, s.parent_pid, 0),
    ),
    Attempt(
        "change another process's limits",
        lambda s: _try(
            "prlimit64",
            s.parent_pid,
            resource.RLIMIT_CORE,
            _limits(*resource.getrlimit(resource.RLIMIT_CORE)),
            None,
        ),
    ),
    Attempt(
        "raise a limit",
        lambda _: _try("prlimit64", 0, resource.RLIMIT_FSIZE, _limits(_MIB, _MIB), None),
    ),
    Attempt("become dumpable", lambda _: _try("prctl", 4, 1, 0, 0, 0)),
    Attempt(
        "hide bytes in its own name", lambda _: _try("prctl", 15, SECRET[:15] + b"\0", 0, 0, 0)
    ),
    Attempt("unshare the user namespace", lambda _: _try("unshare", 0x10000000)),
    Attempt("use io_uring", lambda _: _try("io_uring_setup", 1, ctypes.create_string_buffer(120))),
    Attempt("load a BPF map", lambda _: _try("bpf", 0, struct.pack("4I", 2, 4, 16, 1), 16)),
)


def _by_32_bits(scene: Scene) -> Act:
    """The other table of system calls, that a careless filter forgets."""

    def act() -> None:
        if scene.code is None:
            raise Refused(errno.ENOEXEC)
        scene.code()

    return act


OTHER_TABLE = (
    (Attempt("use the 32-bit system calls", _by_32_bits),) if platform.machine() == "x86_64" else ()
)
"""Only 64-bit x86 has a second table of system calls."""

ATTEMPTS = (*FILES, *ANSWERS, *MEMORY, *NETWORK, *PROCESSES, *OTHER_TABLE)
"""Every way out that is tried on this machine."""
