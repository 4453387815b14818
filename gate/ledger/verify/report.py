"""What an audit found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_SHOWN: Final = 50


@dataclass(frozen=True)
class WitnessSeen:
    """One witness that the auditor named: the largest tree it co-signed, and when.

    `size` and `time_s` (POSIX seconds) are None when it co-signed nothing of this log.
    """

    witness: str
    size: int | None
    time_s: int | None


@dataclass(frozen=True)
class Report:
    """What an audit found. `problems` is empty exactly when `ok`.

    `counts` has, among others: a number for each kind of record, `grants`, `denials`,
    `grants_without_movement` (a crash between record and act: nobody was let in by it, or the
    outcome is not known), `unclean_stops`, `clock_steps_back`, `checkpoints`,
    `verifiers_unclean` and `verifiers_unused` (ended before they had a job), and
    `denied.<reason>`, `lane.<lane>`, `moved.<result>`, `crossing.<crossing>`, `fault.<code>`.
    `policies` are the policies the gate said it worked under, in order; compare them with the
    published ones. `kept` says of each kept checkpoint, in the order given, whether this log
    continues it. `witnesses` says what each named witness co-signed, and `witnessed_size` how many
    entries as many witnesses as were asked for vouch for; None when none were asked for, or fewer
    answered.
    """

    ok: bool
    size: int
    root_hex: str
    problems: tuple[str, ...]
    counts: Mapping[str, int]
    policies: tuple[str, ...] = ()
    kept: tuple[bool, ...] = ()
    witnesses: tuple[WitnessSeen, ...] = ()
    witnessed_size: int | None = None


class Problems:
    """The problems found, in words, with the number of the step. Never a record's content."""

    def __init__(self) -> None:
        self._shown: list[str] = []
        self._more = 0

    def add(self, step: int, what: str) -> None:
        """Note one problem."""
        if len(self._shown) < _SHOWN:
            self._shown.append(f"step {step}: {what}")
        else:
            self._more += 1

    def report(
        self,
        size: int,
        root: bytes,
        counts: Counter[str],
        policies: tuple[str, ...],
        kept: tuple[bool, ...],
    ) -> Report:
        """Return the report."""
        shown = [*self._shown, f"and {self._more} more"] if self._more else self._shown
        return Report(not shown, size, root.hex(), tuple(shown), dict(counts), policies, kept)
