"""Random needles with which a probe shows that it finds, and that it finds nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gate.ledger.needles import PIECE, Kind, Needle, fragments


def random_needles(name: str, random: Callable[[int], bytes]) -> list[Needle]:
    """Return one needle of each kind that never was anywhere."""
    sizes = {Kind.IMAGE: 4096, Kind.VECTOR: 2048, Kind.KEY: 32, Kind.TEXT: 16}
    return [Needle(f"{name} {kind.value}", kind, random(size)) for kind, size in sizes.items()]


def plant(controls: Sequence[Needle]) -> bytes:
    """Return one smallest piece of each control, at odd places between zeros."""
    held = bytearray()
    for control in controls:
        pieces = fragments(control)
        size = PIECE[control.kind].min_bytes if control.kind in PIECE else len(control.data)
        held += bytes(13) + pieces[len(pieces) // 2].data[:size]
    return bytes(held)
