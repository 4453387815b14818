"""The process that makes the attempts: `gate.escapes.helper PARENT_PID LAYER:CAMERA ...`.

It closes itself in nowhere. For each attempt it forks: it has one thread, which the gate has not,
and the forked process meets the walls exactly as a verifier meets them. One JSON line per outcome.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence

from firmware_bridge.camera_source import Means
from gate import sandbox
from gate.errors import ConfigError
from gate.escapes.attempts import ATTEMPTS, Act, Attempt, Prepare, number
from gate.escapes.layers import Layer, put_on
from gate.escapes.report import CANNOT_CLOSE_IN, HUNG, NOT_RUN, THROUGH, Walls
from gate.escapes.scene import Refused, Scene, call, error_name

ATTEMPT_S = 5.0
"""How long one attempt may take on a busy machine."""
ANSWER = "answer"
"""The name of the control: an allowed answer passes, and a refusal is reported as one."""

_BEGUN, _DID, _WAS_REFUSED = b"B", b"T", b"R"
_RECORD = 16
_ANY_ERROR = 0xFFFF


CloseIn = Callable[[Layer, int, Means], int]
"""How a process closes itself in; see `put_on`."""


def main(
    arguments: Sequence[str],
    *,
    close_in: CloseIn = put_on,
    attempts: Sequence[Attempt] = ATTEMPTS,
    attempt_s: float = ATTEMPT_S,
) -> None:
    """Make every attempt against all walls that were named, and print how each ended.

    Args:
        arguments: the process id of the parent, then LAYER:CAMERA for each kind of walls.
        close_in: puts the walls up.
        attempts: the ways out.
        attempt_s: the longest time for one of them.
    """
    sandbox.die_with_parent(int(arguments[0]))
    with Scene() as scene:
        for words in arguments[1:]:
            layer, camera = words.split(":")
            walls = Walls(Layer(layer), Means(camera))
            for attempt in (Attempt(ANSWER, _allowed), *attempts):
                ended = _make(scene, walls, attempt.prepare, close_in, attempt_s)
                _say(walls, attempt.name, ended)


def _say(walls: Walls, name: str, ended: tuple[str, int]) -> None:
    how, abi = ended
    line = {"walls": [walls.layer.value, walls.camera.value], "attempt": name, "how": how}
    sys.stdout.write(json.dumps({**line, "landlock_abi": abi}) + "\n")


def _allowed(_: Scene) -> Act:
    """The control: an allowed call gets through, and one that is refused is told apart."""
    getpid, close = number("getpid"), number("close")

    def act() -> None:
        call(getpid)
        try:
            call(close, -1)
        except Refused:
            return
        raise Refused(_ANY_ERROR)

    return act


def _make(
    scene: Scene, walls: Walls, prepare: Prepare, close_in: CloseIn, attempt_s: float
) -> tuple[str, int]:
    """Make one attempt in a process of its own; return how it ended and the Landlock ABI."""
    scene.reset()
    result_in, scene.result_fd = os.pipe()
    other_in, scene.other_fd = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            _attempt(scene, walls, prepare, close_in)
        os._exit(1)
    os.close(scene.result_fd)
    os.close(scene.other_fd)
    said = _listen(result_in, pid, attempt_s)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with os.fdopen(other_in, "rb") as other:
        leaked = other.read() != b"" or scene.traces()
    if said is None:
        return HUNG, 0
    if leaked:
        return THROUGH, 0
    return _ended(said, status)


def _attempt(scene: Scene, walls: Walls, prepare: Prepare, close_in: CloseIn) -> None:
    """Never returns normally. Behind the walls every step is a bare system call."""
    for fd in (1, 2):
        os.dup2(scene.other_fd, fd)
    act, write = prepare(scene), number("write")
    records = {kind: bytearray(kind + bytes(_RECORD - 1)) for kind in (_BEGUN, _DID, _WAS_REFUSED)}

    def tell(kind: bytes, value: int) -> None:
        records[kind][1:3] = value.to_bytes(2, "big")
        call(write, scene.result_fd, bytes(records[kind]), _RECORD)

    try:
        abi = close_in(walls.layer, scene.result_fd, walls.camera)
    except ConfigError:
        os._exit(2)
    tell(_BEGUN, abi)
    try:
        act()
    except Refused as refused:
        tell(_WAS_REFUSED, refused.errno)
    else:
        tell(_DID, 0)
    os._exit(0)


def _listen(fd: int, pid: int, attempt_s: float) -> bytes | None:
    """Return all that comes until the end; None when none comes, and the process is killed."""
    said, end_s = b"", time.monotonic() + attempt_s
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    with os.fdopen(fd, "rb", 0) as pipe:
        while True:
            if not waiting.poll(max(0, round((end_s - time.monotonic()) * 1000))):
                os.kill(pid, signal.SIGKILL)
                return None
            chunk = pipe.read(4096)
            if not chunk:
                return said
            said += chunk


def _ended(said: bytes, status: int) -> tuple[str, int]:
    """Return how an attempt ended, by what it said and its exit status."""
    if status == 2:
        return CANNOT_CLOSE_IN, 0
    if said[:1] != _BEGUN or len(said) < _RECORD:
        return NOT_RUN, 0
    abi, last = int.from_bytes(said[1:3], "big"), said[_RECORD:]
    if last == b"":
        how = signal.Signals(-status).name if status < 0 else THROUGH
    elif len(last) == _RECORD and last[:1] == _WAS_REFUSED:
        how = error_name(int.from_bytes(last[1:3], "big"))
    else:
        how = THROUGH
    return how, abi


if __name__ == "__main__":
    main(sys.argv[1:])
