"""What became of the attempts. Shared by the helper that makes them and whoever asks for them."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass

from firmware_bridge.camera_source import Means
from gate.escapes.layers import Layer

THROUGH = "through"
NOT_RUN = "did not run"
HUNG = "hung"
CANNOT_CLOSE_IN = "no sandbox"

_REFUSALS = frozenset(
    errno.errorcode[number]
    for number in (
        *(errno.EPERM, errno.EACCES, errno.EBADF, errno.ENOSYS),
        *(errno.EMFILE, errno.EFBIG, errno.EAGAIN, errno.ETOOMANYREFS),
    )
)
"""How a wall answers: not allowed, no such call, too many, too large."""
_KILLED = "SIGSYS"


@dataclass(frozen=True)
class Walls:
    """What an attempt was made against."""

    layer: Layer
    camera: Means


OPEN_FIELD = Walls(Layer.NONE, Means.MEMORY)
"""No wall at all: here an attempt must get through, or it shows nothing."""


@dataclass(frozen=True)
class Finding:
    """How one attempt ended against these walls.

    `how`: THROUGH, NOT_RUN, HUNG, the name of the errno it was refused with, or of the signal
    that ended it. `without`: the same for the same attempt without walls.
    """

    attempt: str
    walls: Walls
    how: str
    without: str

    @property
    def host_forbids(self) -> bool:
        """Whether this host refuses it to everybody, so that nothing is shown by a refusal."""
        return self.without not in {THROUGH, NOT_RUN, HUNG}

    @property
    def held(self) -> bool:
        """Whether it ran and was refused. Everything that is not clearly so is an escape."""
        if self.without in {NOT_RUN, HUNG}:
            return False
        if self.how == _KILLED or self.how in _REFUSALS:
            return True
        return self.host_forbids and self.how == self.without


@dataclass(frozen=True)
class SelfTest:
    """Everything that was tried.

    `answers` tells for each kind of walls whether the allowed 16 bytes came through, and whether
    a refusal was reported as one: without that a dead process would look like a strong wall.
    """

    findings: Sequence[Finding]
    answers: dict[Walls, bool]
    landlock_abi: int

    def against(self, walls: Walls) -> list[Finding]:
        """Return the findings of one kind of walls."""
        return [finding for finding in self.findings if finding.walls == walls]

    @property
    def _whole(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.walls.layer is Layer.ALL]

    @property
    def tried(self) -> int:
        """How many attempts were made against the whole sandbox."""
        return len(self._whole)

    @property
    def held(self) -> int:
        """How many of them it held. None where even the allowed answer did not come through."""
        return sum(f.held and self.answers.get(f.walls, False) for f in self._whole)

    @property
    def ok(self) -> bool:
        """Whether the sandbox holds everything that was tried, and something was."""
        return 0 < self.tried == self.held

    def escaped(self) -> list[str]:
        """Return the names of what the whole sandbox did not hold, each once."""
        lost = [f for f in self._whole if not (f.held and self.answers.get(f.walls, False))]
        return list(dict.fromkeys(f.attempt for f in lost))
