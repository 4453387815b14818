"""A locked child tries to get out, by the ways that leaks and exploits use.

Each attempt runs in a process of its own, and the same attempt without the lock must succeed:
otherwise the test would show nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PRELUDE = """
import os, sys, socket, ctypes, mmap, resource
from pathlib import Path
from gate import sandbox
from gate.errors import ConfigError
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
result, tcp_port = int(sys.argv[1]), int(sys.argv[4])
scratch, unix_path = sys.argv[2:4]
tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
unix = socket.socket(socket.AF_UNIX)
other = os.dup(result)
another_program = f"import os; os.write({result}, b'E' * 16)"
def arrived(ok):
    os.write(result, b"E" * 16 if ok else b"F" * 16)
    os._exit(0)
"""
LOCK = """
sandbox.harden(64)
sandbox.lock([*sandbox.COMPUTE, *sandbox.write_only(result, 16)])
"""
HARDEN = """
sandbox.harden(64)
"""
NETWORK_CAMERA = """
from firmware_bridge.camera_source import Means
from gate.verifier.locking import camera_rules, narrow
import select
there, here = socket.socketpair()
here.send(b'frame')
sandbox.harden(64)
narrow(Means.NETWORK)
rules, open_files = camera_rules(Means.NETWORK)
sandbox.lock([*sandbox.COMPUTE, *rules, *sandbox.write_only(result, 16)], open_files)
"""
ATTEMPTS = {
    "create a file": "os.open(scratch + '/new', os.O_WRONLY | os.O_CREAT); arrived(True)",
    "append to a file": "os.open(scratch + '/old', os.O_WRONLY | os.O_APPEND); arrived(True)",
    "read a file": "os.open(scratch + '/old', os.O_RDONLY); arrived(True)",
    "look whether a file exists": "arrived(os.access(scratch + '/old', os.F_OK))",
    "connect over TCP": "tcp.connect(('127.0.0.1', tcp_port)); arrived(True)",
    "send over UDP": "udp.sendto(b'x', ('127.0.0.1', 9)); arrived(True)",
    "connect to a Unix socket": "unix.connect(unix_path); arrived(True)",
    "make a socket": "socket.socket(); arrived(True)",
    "make a memory file": "os.memfd_create('x'); arrived(True)",
    "make a System V segment": "arrived(libc.shmget(0, 4096, 0o1600) >= 0)",
    "fork": "arrived(True) if os.fork() else os._exit(0)",
    "start a thread": "import _thread; _thread.start_new_thread(len, ('',)); arrived(True)",
    "execute a program": "os.execv(sys.executable, ['python', '-c', another_program])",
    "trace its parent": "arrived(libc.ptrace(0, 0, 0, 0) == 0)",
    "make code": "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC); arrived(True)",
    "signal another process": "os.kill(os.getppid(), 0); arrived(True)",
    "write more than a record": "os.write(result, b'E' * 17); os._exit(0)",
    "write less than a record": "os.write(result, b'E'); os._exit(0)",
    "write through another descriptor": "os.write(other, b'E' * 16); os._exit(0)",
    "raise a limit": "resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); arrived(True)",
    "become dumpable": "arrived(libc.prctl(4, 1, 0, 0, 0) == 0)",
}


@pytest.fixture(scope="module", autouse=True)
def needs_libseccomp() -> None:
    from gate import sandbox

    if sandbox.libseccomp is None:
        pytest.skip("needs the Debian package libseccomp2")


def run(tmp_path: Path, body: str) -> tuple[int, bytes]:
    """Run a child with something listening on TCP and Unix; return exit code and what came out."""
    import socket

    (tmp_path / "old").write_bytes(b"old")
    unix_path = str(tmp_path / "socket")
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        unix.bind(unix_path)
        unix.listen()
        read_end, write_end = os.pipe()
        arguments = [str(write_end), str(tmp_path), unix_path, str(tcp.getsockname()[1])]
        child = subprocess.Popen(
            [sys.executable, "-I", "-c", PRELUDE + body, *arguments],
            pass_fds=(write_end,),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(write_end)
        with os.fdopen(read_end, "rb") as pipe:
            said = pipe.read()
        return child.wait(30), said


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS.keys())
def test_the_attempt_works_without_the_lock(tmp_path: Path, attempt: str) -> None:
    code, said = run(tmp_path, attempt)
    assert code == 0
    assert said.startswith(b"E")


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS.keys())
def test_the_lock_kills_it(tmp_path: Path, attempt: str) -> None:
    code, said = run(tmp_path, LOCK + attempt)
    assert code == -signal.SIGSYS
    assert said == b""
    assert not (tmp_path / "new").exists()


EARLY = (
    "fork",
    "start a thread",
    "execute a program",
    "trace its parent",
    "make a memory file",
    "make a System V segment",
)
"""What stage 1 already denies."""


@pytest.mark.parametrize("attempt", EARLY)
def test_stage_one_refuses_other_programs_and_processes(tmp_path: Path, attempt: str) -> None:
    said = run(
        tmp_path,
        HARDEN
        + f"""
try:
    {ATTEMPTS[attempt]}
except (OSError, RuntimeError):
    arrived(False)
""",
    )
    assert said == (0, b"F" * 16)


NAMES = {
    "create a file": "os.open(scratch + '/new', os.O_WRONLY | os.O_CREAT)",
    "create a file without a name": "os.open(scratch, os.O_WRONLY | os.O_TMPFILE)",
    "empty a file": "os.open(scratch + '/old', os.O_WRONLY | os.O_TRUNC)",
    "make a folder": "os.mkdir(scratch + '/new')",
    "make a link": "os.link(scratch + '/old', scratch + '/new')",
    "make a symbolic link": "os.symlink('sixteen bytes!!!', scratch + '/new')",
    "give another name": "os.rename(scratch + '/old', scratch + '/new')",
    "remove a file": "os.unlink(scratch + '/old')",
    "remove a folder": "os.rmdir(scratch + '/folder')",
}


@pytest.mark.parametrize("attempt", NAMES.values(), ids=NAMES.keys())
def test_names_of_files_carry_nothing_out_where_there_is_no_landlock(
    tmp_path: Path, attempt: str
) -> None:
    closed, free = tmp_path / "closed", tmp_path / "free"
    for place in (closed, free):
        (place / "folder").mkdir(parents=True)
    body = f"""
try:
    {attempt}
except PermissionError:
    arrived(False)
arrived(True)
"""
    assert run(closed, "sandbox.deny(sandbox.NEVER)" + body) == (0, b"F" * 16)
    assert sorted(path.name for path in closed.iterdir()) == ["folder", "old", "socket"]
    assert run(free, body) == (0, b"E" * 16), "without the filter it works"


def test_who_may_talk_to_a_camera_reads_no_file_of_the_site(tmp_path: Path) -> None:
    from gate import landlock

    if landlock.kernel_abi() < 1:
        pytest.skip("this kernel has no Landlock")
    body = """
from firmware_bridge.camera_source import Means
from gate.verifier.locking import narrow
Path(scratch + '/old').read_bytes()
narrow(Means.NETWORK)
import wave
Path('/etc/resolv.conf').exists() and Path('/etc/resolv.conf').read_bytes()
tcp.connect(('127.0.0.1', tcp_port))
try:
    Path(scratch + '/old').read_bytes()
except PermissionError:
    arrived(True)
arrived(False)
"""
    assert run(tmp_path, HARDEN + body) == (0, b"E" * 16)


CLIENT = ("connect over TCP", "send over UDP", "connect to a Unix socket", "make a socket")


@pytest.mark.parametrize("camera", ["MEMORY", "FILE", "DEVICE", "NETWORK"])
@pytest.mark.parametrize("attempt", CLIENT)
def test_only_a_network_camera_leaves_the_network_open(
    tmp_path: Path, attempt: str, camera: str
) -> None:
    said = run(
        tmp_path,
        HARDEN
        + f"""
from firmware_bridge.camera_source import Means
from gate.verifier.locking import narrow
narrow(Means.{camera})
try:
    {ATTEMPTS[attempt]}
except OSError:
    arrived(False)
""",
    )
    assert said == (0, (b"E" if camera == "NETWORK" else b"F") * 16)


def test_behind_the_lock_a_network_camera_is_still_heard_and_answered(tmp_path: Path) -> None:
    body = """
waiting = select.poll()
waiting.register(there, select.POLLIN)
ready = waiting.poll(1000)
arrived(bool(ready) and there.recv(9) == b'frame' and there.send(b'more') == 4)
"""
    assert run(tmp_path, NETWORK_CAMERA + body) == (0, b"E" * 16)


@pytest.mark.parametrize(
    "attempt",
    [
        *(ATTEMPTS[name] for name in CLIENT),
        "udp.sendmsg([b'x'], [], 0, ('127.0.0.1', 9)); arrived(True)",
        "there.sendmsg([b'x']); arrived(True)",
        "here.listen(); arrived(True)",
    ],
)
def test_behind_the_lock_no_other_address_is_reached(tmp_path: Path, attempt: str) -> None:
    assert run(tmp_path, NETWORK_CAMERA + attempt) == (-signal.SIGSYS, b"")


def test_a_record_of_the_right_size_gets_out(tmp_path: Path) -> None:
    assert run(tmp_path, LOCK + "arrived(True)") == (0, b"E" * 16)


def test_printing_fails_but_does_not_kill(tmp_path: Path) -> None:
    body = """
try:
    os.write(2, b'a library warns')
except OSError:
    arrived(True)
arrived(False)
"""
    assert run(tmp_path, LOCK + body) == (0, b"E" * 16)


def test_stage_one_alone_already_stops_dumps_and_file_writes(tmp_path: Path) -> None:
    body = """
limits = {resource.getrlimit(r) for r in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE)}
quiet = not sandbox.is_dumpable() and limits == {(0, 0)}
try:
    fd = os.open(scratch + '/old', os.O_WRONLY | os.O_APPEND)
    os.write(fd, b'more')
except OSError:
    arrived(quiet)
arrived(False)
"""
    assert run(tmp_path, HARDEN + body) == (0, b"E" * 16)
    assert (tmp_path / "old").read_bytes() == b"old"


def test_stage_one_still_reads_and_executes_nothing(tmp_path: Path) -> None:
    body = """
Path(scratch + '/old').read_bytes()
abi = sandbox.harden(64)
try:
    os.execv('/bin/sh', ['sh', '-c', 'true'])
except OSError:
    arrived(True)
arrived(False)
"""
    code, said = run(tmp_path, HARDEN + body)
    from gate import landlock

    if landlock.kernel_abi() < 1:
        pytest.skip("this kernel has no Landlock; stage 1 does not stop exec without it")
    assert (code, said) == (0, b"E" * 16)


def test_without_libseccomp_there_is_no_start(tmp_path: Path) -> None:
    body = """
sandbox.pyseccomp = None
try:
    sandbox.lock([])
except ConfigError as error:
    arrived('apt install libseccomp2' in error.diagnostics())
arrived(False)
"""
    assert run(tmp_path, body) == (0, b"E" * 16)
