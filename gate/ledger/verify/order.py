"""Step 9: records stand in an order that a gate can produce."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gate.ledger.verify.report import Problems

_CARDS_MAX: Final = 65_535
_BETWEEN_RUNS: Final = frozenset({"started", "enrolled", "pruned"})
_DAY_BATCHES: Final = 96
"""Quarters of an hour in a day: no key names cards for longer."""
_STEPS_BACK_APART: Final = 1000
"""How many records stand between two corrections of a clock that deserves the name."""
_CLEAN_DEATH: Final[Mapping[str, object]] = {
    "exit_code": 0,
    "threads": 1,
    "no_new_privs": True,
    "seccomp_mode": 2,
    "dumpable": False,
    "core_limit_zero": True,
    "file_limit_zero": True,
    "pages_left": 0,
}
_UNUSED_DEATH: Final[Mapping[str, object]] = {"exit_code": -9, "seccomp_mode": 0}
"""What is clean as well when a spare ended before it had a job."""
_ANSWER_BYTES: Final = 16
_ANSWERS_MAX: Final = 67
"""Ready, camera on, 64 words of guidance, verdict."""


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
    cards: int = 0
    """How many different cards the log named since the day's key was made."""
    key_batch: int | None = None
    """The quarter of an hour in which that key named its first card."""
    keys_out: set[str] = field(default_factory=set)
    """The purposes of the keys released since the last decision."""
    retried: int = 0
    """The card whose PIN was wrong in the last decision: its key may serve the next PIN too."""
    gap: bool = True
    """Whether records before this one may be missing, so that less can be demanded."""
    cut: bool = False
    """Whether the grant of the next movement may have been pruned."""
    unseen: int = 0
    """How many cards pruned records may have named. A gap adds none: a number that no record
    names is not used up."""
    stepped_back: int | None = None
    """Where the clock last went back in this run of the gate."""
    deaths: int = 0
    """How many verifiers died since the last decision."""
    landlock_abi: int | None = None
    """What the self-test of this run found; every verifier of the run finds the same."""
    pruned_below: int = 0
    """How far the log says that it was pruned."""

    def begin_within(self) -> None:
        """Begin where everything before was pruned: what it said is not known."""
        self.running = self.cut = True
        self.unseen = _CARDS_MAX

    def take(self, place: int, record: Mapping[str, Any]) -> None:
        """Follow the gate by one record."""
        kind = record["kind"]
        self.counts[kind] += 1
        if record["batch"] < self.batch:
            # Not a problem by itself: clocks get corrected. The auditor sees how often.
            self.counts["clock_steps_back"] += 1
            last = self.stepped_back
            if kind != "started" and last is not None and place - last < _STEPS_BACK_APART:
                self.problems.add(9, f"the clock goes back again and again before entry {place}")
            self.stepped_back = place
        self.batch = record["batch"]
        # An enrolment station writes to a log of its own that no gate starts or stops.
        if not self.running and kind not in _BETWEEN_RUNS:
            self.problems.add(9, f"entry {place} ({kind}) stands where no gate was running")
        _STEPS[kind](self, place, record)

    def _started(self, _place: int, record: Mapping[str, Any]) -> None:
        if self.running:
            self.counts["unclean_stops"] += 1
            self._abandon()
        self.running = True
        self.gap = self.cut = False
        self.stepped_back = self.landlock_abi = None
        # A gate that was killed in the middle of a passage leaves a key without a decision.
        self.keys_out.clear()
        self.retried = 0
        self._new_card_key()
        self._policy(record)

    def _policy_changed(self, _place: int, record: Mapping[str, Any]) -> None:
        self._policy(record)

    def _policy(self, record: Mapping[str, Any]) -> None:
        if not self.policies or self.policies[-1] != record["policy"]:
            self.policies.append(record["policy"])

    def _self_tested(self, _place: int, record: Mapping[str, Any]) -> None:
        self.counts["escapes_tried"] += record["tried"]
        self.counts["escapes_held"] += record["held"]
        self.landlock_abi = record["landlock_abi"] if record["tried"] else None

    def _verifier_died(self, _place: int, record: Mapping[str, Any]) -> None:
        """Count what no clean death looks like: an incident, or a gate that says more."""
        expected = self.landlock_abi
        # Ended before it had a job: it never locked itself in, nor did it know anybody.
        unused = record["bytes_in"] == 0 and record["bytes_out"] <= _ANSWER_BYTES
        self.counts["verifiers_unused"] += unused
        clean = (
            all(
                record[name] == value or (unused and record[name] == _UNUSED_DEATH.get(name))
                for name, value in _CLEAN_DEATH.items()
            )
            and record["bytes_out"] % _ANSWER_BYTES == 0
            and record["bytes_out"] <= _ANSWERS_MAX * _ANSWER_BYTES
            and (expected is None or record["landlock_abi"] == expected)
        )
        self.counts["verifiers_unclean"] += not clean
        # A passage has one look. Spares die by themselves now and then; the auditor sees how many.
        self.deaths += 1
        if self.deaths > 1:
            self.counts["verifiers_without_decision"] += 1

    def _decided(self, place: int, record: Mapping[str, Any]) -> None:
        if self.grant is not None:
            self.problems.add(9, f"grant {self.grant} has no movement before decision {place}")
            self.grant = None
        self.deaths = 0
        self.counts[f"lane.{record['lane']}"] += 1
        self._card(place, record["card"])
        # Whoever passes is not named, so a grant right after a wrong PIN is taken for a retry.
        again = record["granted"] or record["card"] == self.retried
        if record["lane"] == "pin" and self.retried and again:
            self.keys_out.add("pin")
        if record["granted"]:
            self.counts["grants"] += 1
            self.grant = place
            purpose = "template" if record["lane"] == "face" else "pin"
            if purpose not in self.keys_out and not self.gap:
                self.problems.add(9, f"grant {place} was given without a key for its lane")
        else:
            self.counts["denials"] += 1
            self.counts[f"denied.{record['reason']}"] += 1
        wrong = record["reason"] == "wrong_pin" and ("pin" in self.keys_out or self.gap)
        self.retried = record["card"] if wrong else 0
        self.keys_out.clear()
        self.gap = self.cut = False

    def _card(self, place: int, card: int) -> None:
        """Demand that pseudonyms count up: then they can hold nothing else."""
        if card == 0:
            return
        skipped = card - self.cards - 1
        if skipped > self.unseen:
            self.problems.add(9, f"decision {place} names card {card} after only {self.cards}")
        elif skipped > 0:
            self.unseen -= skipped
        self.cards = max(self.cards, card)
        if self.key_batch is None:
            self.key_batch = self.batch
        elif self.batch - self.key_batch > _DAY_BATCHES:
            self.problems.add(9, f"decision {place} names a card by a key older than a day")
            self.key_batch = self.batch

    def _card_key_destroyed(self, place: int, record: Mapping[str, Any]) -> None:
        if not 0 <= record["cards"] - self.cards <= self.unseen:
            self.problems.add(9, f"entry {place} counts other cards than the decisions name")
        self._new_card_key()
        self.retried = min(self.retried, 1)  # at midnight the same card is the new day's first

    def _new_card_key(self) -> None:
        self.cards, self.unseen, self.key_batch = 0, 0, None

    def _key_used(self, place: int, record: Mapping[str, Any]) -> None:
        purpose, outcome = record["purpose"], record["outcome"]
        self.counts[f"key.{purpose}.{outcome}"] += 1
        if outcome == "released":
            if purpose in self.keys_out and not self.gap:
                self.problems.add(9, f"entry {place} is a second {purpose} key of one passage")
            self.keys_out.add(purpose)

    def _moved(self, place: int, record: Mapping[str, Any]) -> None:
        if self.grant is None and not self.cut:
            self.problems.add(9, f"movement {place} has no grant")
        self.grant, self.cut = None, False
        self.counts[f"moved.{record['result']}"] += 1
        self.counts[f"crossing.{record['crossing']}"] += 1

    def _faulted(self, _place: int, record: Mapping[str, Any]) -> None:
        self.counts[f"fault.{record['code']}"] += 1

    def _missed(self, _place: int, record: Mapping[str, Any]) -> None:
        # The movement could not be written; the gate says so instead.
        self.counts["records_missed"] += record["records"]
        self.gap = True
        self.keys_out.clear()
        self._abandon()

    def _probed(self, _place: int, record: Mapping[str, Any]) -> None:
        self.counts["residues"] += record["residues"]

    def _admin_acted(self, _place: int, record: Mapping[str, Any]) -> None:
        self.counts[f"admin.{record['act']}"] += 1

    def _pruned(self, place: int, record: Mapping[str, Any]) -> None:
        if not self.pruned_below < record["below"] <= place:
            self.problems.add(9, f"entry {place} prunes what was pruned, or what is not there")
        self.pruned_below = max(self.pruned_below, record["below"])

    def _stopped(self, _place: int, record: Mapping[str, Any]) -> None:
        if self.grant is not None and record["clean"]:
            self.problems.add(9, f"grant {self.grant} has no movement before a clean stop")
            self.grant = None
        self._abandon()
        self._new_card_key()
        self.running = self.cut = False

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
    "host_seen": Order._other,
    "self_tested": Order._self_tested,
    "decided": Order._decided,
    "card_key_destroyed": Order._card_key_destroyed,
    "key_used": Order._key_used,
    "moved": Order._moved,
    "verifier_died": Order._verifier_died,
    "faulted": Order._faulted,
    "cleared": Order._other,
    "missed": Order._missed,
    "policy_changed": Order._policy_changed,
    "admin_acted": Order._admin_acted,
    "enrolled": Order._other,
    "probed": Order._probed,
    "pruned": Order._pruned,
    "stopped": Order._stopped,
}
