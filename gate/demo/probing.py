"""Runs the demo's retention probe in its own process and lets it read this one."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gate.errors import GateError
from gate.ledger.record import COUNT, Probed

_PR_SET_PTRACER = 0x59616D61


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
) -> dict[str, Any]:
    """Search the named processes, all other descendants of this one, and files.

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
    process = subprocess.Popen(
        [sys.executable, "-I", "-m", "gate.demo.probe_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None,
        text=True,
    )
    # Hosts that restrict tracing (Yama) let a child read its parent only when the parent says so.
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, process.pid, 0, 0, 0)
    output, _ = process.communicate("\n" + json.dumps(request), timeout=300)
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, 0, 0, 0, 0)
    try:
        answer: dict[str, Any] = json.loads(output)
    except ValueError:
        raise GateError("the retention probe did not answer", "run the demo again") from None
    if "error" in answer:
        raise GateError(f"the retention probe failed: {answer['error']}")
    return answer


def record_of(answer: Mapping[str, Any]) -> Probed:
    """Return the record for the log."""
    return Probed(
        needles=COUNT.clamp(int(answer["needles"])),
        controls_found=COUNT.clamp(int(answer["controls_found"])),
        residues=COUNT.clamp(len(answer["hits"])),
    )
