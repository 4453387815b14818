"""Step 9: records stand in an order that a gate can produce."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gate.ledger.verify.report import Problems


@dataclass
class Order:
    """Step 9, record by record, and the counts."""

    problems: Problems
    counts: Counter[str] = field(default_factory=Counter)
    policies: list[str] = field(default_factory=list)
    running: bool = False
    grant: int | None = None
    """The place of a grant whose movement was not recorded yet."""
    batch: int = 0

    def take(self, place: int, record: Mapping[str, Any]) -> None:
        """Follow the gate by one record."""
        kind = record["kind"]
        self.counts[kind] += 1
        if record["batch"] < self.batch:
            # Not a problem by itself: clocks get corrected. The auditor sees how often.
            self.counts["clock_steps_back"] += 1
        self.batch = record["batch"]
        # An enrolment station writes to a log of its own that no gate starts or stops.
        if not self.running and kind not in {"started", "enrolled"}:
            self.problems.add(9, f"entry {place} ({kind}) stands where no gate was running")
        _STEPS[kind](self, place, record)

    def _started(self, _place: int, record: Mapping[str, Any]) -> None:
        if self.running:
            self.counts["unclean_stops"] += 1
            self._abandon()
        self.running = True
        if not self.policies or self.policies[-1] != record["policy"]:
            self.policies.append(record["policy"])

    def _decided(self, place: int, record: Mapping[str, Any]) -> None:
        if self.grant is not None:
            self.problems.add(9, f"grant {self.grant} has no movement before decision {place}")
            self.grant = None
        self.counts[f"lane.{record['lane']}"] += 1
        if record["granted"]:
            self.counts["grants"] += 1
            self.grant = place
        else:
            self.counts["denials"] += 1
            self.counts[f"denied.{record['reason']}"] += 1

    def _moved(self, place: int, record: Mapping[str, Any]) -> None:
        if self.grant is None:
            self.problems.add(9, f"movement {place} has no grant")
        self.grant = None
        self.counts[f"moved.{record['result']}"] += 1
        self.counts[f"crossing.{record['crossing']}"] += 1

    def _faulted(self, _place: int, record: Mapping[str, Any]) -> None:
        self.counts[f"fault.{record['code']}"] += 1
        if record["code"] == "ledger_was_unavailable":
            # The movement could not be written; the gate says so instead.
            self._abandon()

    def _probed(self, _place: int, record: Mapping[str, Any]) -> None:
        self.counts["residues"] += record["residues"]

    def _stopped(self, _place: int, record: Mapping[str, Any]) -> None:
        if self.grant is not None and record["clean"]:
            self.problems.add(9, f"grant {self.grant} has no movement before a clean stop")
            self.grant = None
        self._abandon()
        self.running = False

    def _other(self, _place: int, _record: Mapping[str, Any]) -> None:
        """A record that may stand anywhere while a gate runs."""

    def end(self) -> None:
        """The log may end while a passage is on its way."""
        self._abandon()

    def _abandon(self) -> None:
        if self.grant is not None:
            self.counts["grants_without_movement"] += 1
            self.grant = None


_STEPS: Final[Mapping[str, Callable[[Order, int, Mapping[str, Any]], None]]] = {
    "started": Order._started,
    "decided": Order._decided,
    "moved": Order._moved,
    "verifier_died": Order._other,
    "faulted": Order._faulted,
    "enrolled": Order._other,
    "probed": Order._probed,
    "stopped": Order._stopped,
}
