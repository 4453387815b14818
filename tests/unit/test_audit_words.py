"""An auditor reads what each number means, and none is left out."""

from __future__ import annotations

from gate.audit_words import GROUPS, lines_of
from gate.ledger.verify.schema import SCHEMA

NAMES = [name for words in GROUPS.values() for name in words]


def test_every_kind_of_record_has_a_meaning() -> None:
    assert set(SCHEMA) <= set(NAMES)


def test_every_count_is_shown_once_with_its_number() -> None:
    counts = {"grants": 3, "denied.no_match": 2, "fault.camera": 1, "key.pin.released": 4, "new": 7}
    lines = [line.split(maxsplit=2) for line in lines_of(counts) if line.startswith("    ")]
    assert {words[0]: int(words[1]) for words in lines} == counts
    assert all(len(words) == 3 for words in lines if words[0] != "new")
    assert len(lines) == len(counts)


def test_headings_without_numbers_are_not_shown() -> None:
    assert [line for line in lines_of({"residues": 0}) if not line.startswith("    ")] == [
        "  what the gate tried on itself"
    ]
    assert lines_of({}) == []
