"""Which processes there are, and what each is to a gate. Reads /proc; needs no right for that."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gate.probe.faults import ProbeFault

_PR_SET_CHILD_SUBREAPER: Final = 36
GATE, AGENT, VERIFIER = "gate", "key agent", "spare verifier"
REUSED, RUNNING, OTHER = "reused verifier", "running gate", "other process"
_ROLES: Final = (
    ("gate.template.agent", AGENT),
    ("gate.verifier.worker", VERIFIER),
    ("gate.probe.designs.reused_process", REUSED),
    ("gate.probe.gate_process", GATE),
)


@dataclass(frozen=True)
class Process:
    """One process. `role` says what it is to a gate."""

    pid: int
    parent: int
    role: str
    command: str
    """The program's own name as the kernel keeps it, at most 15 characters."""

    @property
    def name(self) -> str:
        """How reports name it."""
        what = self.role if self.role != OTHER else f"{self.role} '{self.command}'"
        return f"{what} (process {self.pid})"


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, so that none gets away."""
    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise ProbeFault(
            "this kernel does not let the probe keep orphans", "use Linux 3.4 or later"
        )


def all_processes() -> Iterator[Process]:
    """Yield every process that can be seen, without those that have no memory: kernel, dead.

    One whose first thread ended looks dead and is not: see `memory_folder`.
    """
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text(errors="replace")
            arguments = (memory_folder(int(entry.name)) / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        head, _, tail = stat.rpartition(")")
        fields = tail.split()
        if arguments == [b""]:
            continue
        command = head.partition("(")[2]
        yield Process(int(entry.name), int(fields[1]), _role(arguments), command)


def memory_folder(pid: int) -> Path:
    """Return the folder of /proc that leads to the memory of a process.

    That of its first thread, or of another one when the first has ended: the kernel then says
    "zombie" and shows no memory there, though the process lives with all that it holds.

    Raises:
        FileNotFoundError: no such process.
        ProcessLookupError: all of it is dead.
    """
    own = Path(f"/proc/{pid}")
    for folder in (own, *sorted((own / "task").iterdir())):
        if (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] not in "ZX":
            return folder
    raise ProcessLookupError(pid)


def _role(arguments: list[bytes]) -> str:
    words = {argument.decode(errors="replace") for argument in arguments}
    return next((role for module, role in _ROLES if module in words), OTHER)


def family(pid: int) -> list[Process]:
    """Return every living descendant of a process, the nearest first."""
    processes = list(all_processes())
    found: list[Process] = []
    todo = [pid]
    while todo:
        parent = todo.pop(0)
        children = [process for process in processes if process.parent == parent]
        found += children
        todo += [child.pid for child in children]
    return found


def readable(pid: int) -> str | None:
    """Return why the memory of a process cannot be read, or None when it can."""
    try:
        with (memory_folder(pid) / "mem").open("rb"):
            return None
    except ProcessLookupError:
        return None  # it ended, as whoever reads it is told
    except OSError as error:
        return (error.strerror or "cannot be read").lower()


def holders_of(path: Path) -> list[int]:
    """Return the processes that have a file open, as far as this user may see."""
    wanted = str(path.resolve())
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            links = [str(fd.readlink()) for fd in (entry / "fd").iterdir()]
        except OSError:
            continue
        if wanted in links:
            found.append(int(entry.name))
    return found
