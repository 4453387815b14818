"""What must not exist in the source: a classifier of people, a test that replaces what it tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("gate", "models", "firmware_bridge", "enrollment")


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize(
    "word", ["emotion", "gender", "ethnic", "watchlist", "watch_list", "identify_person", "1:n"]
)
def test_no_code_classifies_or_searches_people(word: str) -> None:
    for path in sources():
        for number, line in enumerate(path.read_text(encoding="utf-8").lower().splitlines(), 1):
            if word in line:
                assert "no " in line or "never" in line, f"{path}:{number} speaks of {word}"


def test_no_test_replaces_what_it_tests() -> None:
    banned = re.compile("unittest" + r"\.mock|monkey" + "patch")
    for path in sorted((ROOT / "tests").rglob("*.py")):
        assert not banned.search(path.read_text(encoding="utf-8")), path
