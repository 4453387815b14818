"""What each number of an audit means, in words an auditor can use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

GROUPS: Final[Mapping[str, Mapping[str, str]]] = {
    "passages": {
        "decided": "decisions: each is a grant or a denial",
        "grants": "decisions to let somebody in",
        "denials": "decisions not to; the reasons are below",
        "denied.": "denials for this reason",
        "lane.": "decisions in this lane; none: before a lane began",
        "moved": "commands to the turnstile, at most one for each grant",
        "moved.": "commands that ended so",
        "crossing.": "what its passage sensor saw after them",
        "grants_without_movement": "grants whose movement is not recorded: ask why",
        "card_key_destroyed": "days whose card numbers nobody can match to a card any more",
    },
    "keys and verifiers": {
        "key_used": "requests for the key of a card",
        "key.": "requests by purpose and outcome",
        "verifier_died": "death certificates of single-use verifiers",
        "verifiers_unclean": "of these not as expected: 0 is right, ask about each",
        "verifiers_unused": "of these ended before they had a job, at a stop for example",
    },
    "what the gate tried on itself": {
        "self_tested": "self-tests of the sandbox, one at each start",
        "escapes_tried": "ways out that they tried",
        "escapes_held": "ways out that were shut: must equal those tried",
        "host_seen": "looks at the machine's settings, one at each start",
        "probed": "retention probes",
        "residues": "remains that they found: 0 is right",
    },
    "running": {
        "started": "starts of the gate",
        "stopped": "orderly stops",
        "unclean_stops": "runs that ended without one: power cut, crash or kill",
        "faulted": "faults that began",
        "fault.": "faults of this kind",
        "cleared": "faults that ended",
        "missed": "times when records could not be written",
        "records_missed": "records lost at these times: ask about them",
        "clock_steps_back": "times when the clock was set back: corrections are rare",
    },
    "rules and people": {
        "policies": "different policies: compare each hash above with the published ones",
        "policy_changed": "policies taken into force while running",
        "admin_acted": "changes by the administrator",
        "admin.": "changes of this kind",
        "enrolled": "acts of an enrolment station",
    },
    "the log itself": {
        "checkpoints": "kept signed checkpoints, all checked",
        "cosigned": "kept checkpoints with signatures of witnesses",
        "pruned": "times when old records were deleted",
        "pruned_entries": "records deleted for their age; their hashes still count",
    },
}
"""Headings, and under each the names of counts; one that ends in a dot stands for all below it."""

_OTHER: Final = "other"


def lines_of(counts: Mapping[str, int]) -> list[str]:
    """Return the counts under headings, each with its meaning; none is left out."""
    left = dict(sorted(counts.items()))
    lines = []
    for heading, words in GROUPS.items():
        shown = []
        for name, meaning in words.items():
            family = [n for n in left if n == name or (name[-1] == "." and n.startswith(name))]
            shown += [_line(n, left.pop(n), meaning) for n in family]
        if shown:
            lines += [f"  {heading}", *shown]
    if left:
        lines += [f"  {_OTHER}", *(_line(name, count, "") for name, count in left.items())]
    return lines


def _line(name: str, count: int, meaning: str) -> str:
    return f"    {name:<28} {count:>6}  {meaning}".rstrip()
