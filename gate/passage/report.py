"""What one passage was, for whoever watches this process: demo, benchmark, tests. Never stored."""

from __future__ import annotations

from dataclasses import dataclass, field

from firmware_bridge.ports import Crossing, OpenResult
from gate.passage.decision import Decision, Grant
from gate.verifier.certificate import DeathCertificate


@dataclass
class PassageReport:
    """Filled while the passage runs, handed out when it is over.

    `steps_ms` maps a step (card, key, look, pin, record, open) to its time in milliseconds.
    """

    decisions: list[Decision] = field(default_factory=list)
    opened: OpenResult | None = None
    crossing: Crossing | None = None
    certificate: DeathCertificate | None = None
    steps_ms: dict[str, float] = field(default_factory=dict)
    unrecorded: bool = False
    """A decision could not be made durable, so nobody was let in."""

    @property
    def let_in(self) -> bool:
        """Whether the relay was pulsed and read back."""
        return self.opened is OpenResult.OPENED

    @property
    def granted(self) -> bool:
        """Whether any decision of this passage was a grant."""
        return any(isinstance(decision, Grant) for decision in self.decisions)
