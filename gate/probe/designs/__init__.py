"""Designs of a verifier: the product's own, and careless ones for contrast.

The careless ones exist to be caught by the probe. No setting leads here; only the canary gate of
the probe imports them, and it never runs at a door.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from gate.passage.ports import VerifierSource
from gate.settings import Settings
from gate.wiring import verifier_pool


class Design(Enum):
    """How a gate looks at a face."""

    SINGLE_USE = "single-use"
    """The product: one process for one passage."""
    NAIVE = "naive"
    """In the gate process, as a programmer writes it who thinks of nothing."""
    ZEROED = "zeroed"
    """In the gate process, overwriting every array it can name."""
    REUSED = "reused"
    """In one verifier process that serves many passages."""


def verifiers_of(design: Design) -> Callable[[Settings], VerifierSource]:
    """Return what makes the verifiers of a design."""
    if design is Design.SINGLE_USE:
        return verifier_pool
    # Imported late: a canary gate of the product's design loads no models into its process.
    from gate.probe.designs.in_process import InProcess
    from gate.probe.designs.reused import Reused

    if design is Design.REUSED:
        return Reused
    zeroing = design is Design.ZEROED
    return lambda settings: InProcess(settings, zeroing=zeroing)
