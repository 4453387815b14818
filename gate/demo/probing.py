"""Runs the demo's retention probe in its own process and lets it read this one."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from gate.errors import GateError
from gate.ledger.record import COUNT, Probed

_PR_SET_PTRACER = 0x59616D61
_DEADLINE_S = 300.0
PROGRESS = "progress: "
"""Starts the lines on stderr that say what is searched; other lines there are complaints."""


def family(pid: int) -> dict[str, int]:
    """Return every living descendant of a process, by a name made of its command and id."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found: dict[str, int] = {}
    todo = [pid]
    while todo:
        parent = todo.pop()
        for child, its_parent in parents.items():
            if its_parent == parent:
                found[f"process {child}"] = child
                todo.append(child)
    return found


def probe_stage(
    *,
    pids: Mapping[str, int],
    pack: str,
    pack_folder: Path,
    photos: list[Path],
    card: Path,
    template_key: Path,
    paths: list[Path],
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Search the named processes, all other descendants of this one, and files.

    `progress` is told what is searched; it is called from another thread.

    Raises:
        GateError: the probe could not run.
    """
    named = dict(pids)
    named |= {n: p for n, p in family(os.getpid()).items() if p not in pids.values()}
    request = {
        "pids": named,
        "pack": pack,
        "pack_folder": str(pack_folder),
        "photos": [str(photo) for photo in photos],
        "card": str(card),
        "template_key": str(template_key),
        "paths": [str(path) for path in paths],
    }
    output = _run("\n" + json.dumps(request), progress)
    try:
        answer: dict[str, Any] = json.loads(output)
    except ValueError:
        raise GateError("the retention probe did not answer", "run the demo again") from None
    if "error" in answer:
        raise GateError(f"the retention probe failed: {answer['error']}")
    return answer


def _run(request: str, progress: Callable[[str], None]) -> str:
    """Run the probe's process, let it read this one meanwhile, and return its answer."""
    libc = ctypes.CDLL(None)
    with subprocess.Popen(
        [sys.executable, "-I", "-m", "gate.demo.probe_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        listener = threading.Thread(target=_listen, args=(process.stderr, progress), daemon=True)
        watchdog = threading.Timer(_DEADLINE_S, process.kill)
        listener.start()
        watchdog.start()
        # Hosts that restrict tracing (Yama) let a child read its parent only when the parent
        # says so.
        libc.prctl(_PR_SET_PTRACER, process.pid, 0, 0, 0)
        try:
            with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
                stdin.write(request)
            return process.stdout.read()
        finally:
            libc.prctl(_PR_SET_PTRACER, 0, 0, 0, 0)
            watchdog.cancel()
            process.kill()
            listener.join()


def _listen(lines: Iterable[str], progress: Callable[[str], None]) -> None:
    for line in lines:
        if line.startswith(PROGRESS):
            progress(line.removeprefix(PROGRESS).rstrip())
        else:
            sys.stderr.write(line)


def record_of(answer: Mapping[str, Any]) -> Probed:
    """Return the record for the log."""
    return Probed(
        needles=COUNT.clamp(int(answer["needles"])),
        controls_planted=COUNT.clamp(int(answer["controls_planted"])),
        controls_found=COUNT.clamp(int(answer["controls_found"])),
        decoy_hits=COUNT.clamp(int(answer["decoy_hits"])),
        residues=COUNT.clamp(len(answer["hits"])),
        searched=COUNT.clamp(int(answer["searched"])),
        not_searched=COUNT.clamp(len(answer["not_searched"])),
    )
