"""Random needles with which a probe shows that it finds, and that it finds nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from gate.probe.faults import ProbeFault
from gate.probe.needles import PIECE, Kind, Needle, fragments

_HELPER: Final = """\
import sys
size = int.from_bytes(sys.stdin.buffer.read(8), "big")
held = sys.stdin.buffer.read(size)
sys.stdout.write("+")
sys.stdout.flush()
sys.stdin.buffer.read()
"""
_SIZES: Final = {Kind.IMAGE: 4096, Kind.VECTOR: 2048, Kind.KEY: 32, Kind.TEXT: 16}


def random_needles(name: str, random: Callable[[int], bytes]) -> list[Needle]:
    """Return one needle of each kind that never was anywhere."""
    return [Needle(f"{name} {kind.value}", kind, random(size)) for kind, size in _SIZES.items()]


def plant(controls: Sequence[Needle]) -> bytes:
    """Return one smallest piece of each control, at odd places between zeros."""
    held = bytearray()
    for control in controls:
        pieces = fragments(control)
        size = PIECE[control.kind].min_bytes if control.kind in PIECE else len(control.data)
        held += bytes(13) + pieces[len(pieces) // 2].data[:size]
    return bytes(held)


@contextmanager
def holding(planted: bytes) -> Iterator[int]:
    """Run a helper process that holds these bytes and nothing else of a needle; yield its pid.

    Raises:
        ProbeFault: it did not start, or died.
    """
    command = [sys.executable, "-I", "-S", "-c", _HELPER]
    with subprocess.Popen(  # noqa: S603 - our own interpreter and our own text
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(len(planted).to_bytes(8, "big") + planted)
            child.stdin.flush()
            if child.stdout.read(1) != b"+":
                raise ProbeFault("the probe's helper process did not start", "check memory")
            yield child.pid
        except BrokenPipeError:
            raise ProbeFault("the probe's helper process died", "check memory") from None
        finally:
            child.kill()
