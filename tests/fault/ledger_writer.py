"""A small writer of a log, forked once for each fault: imported code makes no system call then.

    python ledger_writer.py BOARD

Reads lines of JSON from stdin: {"case", "folder", "scenario", "dummies"}; forks a child for each,
which makes the dummy system calls (strace counts them) and then writes the log below `folder`.
What it did stands in shared memory, so that telling it makes no system call.

Board, one slot of 64 bytes for each case: attempted, returned, failed as lists of step numbers.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gate.errors import LedgerFault
from gate.ledger.checkpoint import Signer
from gate.ledger.record import Decided, Mode, Pack, Record, Started
from gate.ledger.store import Ledger
from gate.passage.decision import DenyReason, Lane

ORIGIN = "gate.example/main"
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
START = Started(Mode.DEMO, Pack.EDGE, "ab" * 32, sandbox_ok=True, key_agent_ok=True)
REASONS = list(DenyReason)
SLOT = 64
RETURNED, FAILED = 1, 2
OPENED, PRUNED_CLEAN, CLOSED = 0, 62, 63
_PR_SET_PTRACER = 0x59616D61


def denied(step: int) -> Record:
    """A record that tells which step wrote it."""
    return Decided(granted=False, reason=REASONS[step], lane=Lane.FACE)


def steps_of(scenario: str, ledger: Ledger) -> list[Callable[[], int]]:
    """What one writer does, in order. Step 0 is the opening."""
    append = [
        lambda: ledger.append(START if scenario == "fresh" else denied(1), NOON),
        lambda: ledger.append(denied(2), NOON + timedelta(minutes=1)),
        lambda: ledger.append(denied(3), NOON + timedelta(minutes=31)),
    ]
    if scenario == "fresh":
        return append
    return [
        *append,
        lambda: ledger.prune(256, NOON + timedelta(minutes=32)),
        lambda: ledger.append(denied(5), NOON + timedelta(minutes=33)),
    ]


def write(folder: Path, scenario: str, slot: memoryview) -> None:
    """Open, write and close a log; note in `slot` what returned and what failed."""
    signer = Signer(ORIGIN, bytes(range(32)))
    try:
        ledger = Ledger.open(folder / "ledger.db", signer, ORIGIN)
    except LedgerFault:
        slot[OPENED] = FAILED
        return
    slot[OPENED] = RETURNED
    for step, act in enumerate(steps_of(scenario, ledger), start=1):
        try:
            act()
        except LedgerFault:
            slot[step] = FAILED
            if scenario == "fresh" and step == 1:
                break  # a gate that cannot write its start does not start
        else:
            slot[step] = RETURNED
    try:
        slot[PRUNED_CLEAN] = RETURNED if not ledger.traces_left() else FAILED
    except LedgerFault:
        slot[PRUNED_CLEAN] = FAILED
    ledger.close()
    slot[CLOSED] = RETURNED


def main() -> None:
    """Fork a writer for each line of stdin."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(sys.argv[1]).open("r+b") as file:
        board = memoryview(mmap.mmap(file.fileno(), 0))
    # Where only parents may trace, let anybody of this user.
    libc.prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
    print("ready", flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        pid = os.fork()
        if pid == 0:
            slot = board[SLOT * task["case"] : SLOT * (task["case"] + 1)]
            for number, times in task["dummies"]:
                for _ in range(times):
                    libc.syscall(number, -1, 0, 0, 0, 0, 0)
            code = 70
            try:
                write(Path(task["folder"]), task["scenario"], slot)
                code = 0
            except (MemoryError, OSError):  # Python itself met the fault
                code = 71
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
