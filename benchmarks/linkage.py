"""How often a reader of the whole log follows a person from one day to the next.

    .venv/bin/python benchmarks/linkage.py [--people 200] [--nights 40] [--denied 0.05] [--json]

Simulated people with and without habits pass a gate, and some passages begin with a denial. The log
shows quarter of an hour and order, and the day's number of a card that was denied. The adversary
pairs what happened on two days, by order and time alone, with the numbers of denials, and with a
number on every decision, which is the design that was not taken. A pair is right when both were the
same person. Chance is what pairing at random gives. Nothing here is measured on people.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gate.passage.day_cards import DayCards, fill_random

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
Visit = tuple[int, int, int]
"""Quarter of an hour and number, as the log shows them, and who it was, as only we know."""


@dataclass(frozen=True)
class Day:
    """One day: the passages as if every one had a number, and the denials as the log has them."""

    passages: list[Visit]
    denials: list[Visit]


def day_of(
    people: list[list[float]], spread_h: float, denied: float, day: int, chance: random.Random
) -> Day:
    """Return one day.

    Args:
        people: their usual hours.
        spread_h: how far they stray from them.
        denied: the share of passages that begin with a denial.
        day: which one.
        chance: draws everything.
    """
    every, only = (DayCards(fill_random, float, UTC) for _ in range(2))
    came = sorted(
        (min(23.9, max(0.1, chance.gauss(hour, spread_h))), who)
        for who, hours in enumerate(people)
        for hour in hours
    )
    found = Day([], [])
    for hour, who in came:
        now = MIDNIGHT + timedelta(days=day, hours=hour)
        found.passages.append((int(hour * 4), number_of(every, who, now), who))
        if chance.random() < denied:
            found.denials.append((int(hour * 4), number_of(only, who, now), who))
    return found


def number_of(cards: DayCards, who: int, now: datetime) -> int:
    """Return the number that a gate would write."""
    identity = who.to_bytes(16)
    number = cards.number(identity, now)
    cards.keep(identity)
    return number


def by_order(one: Day, other: Day) -> tuple[int, int]:
    """Pair the n-th passage with the n-th: what a log without any pseudonym allows."""
    pairs = list(zip(one.passages, other.passages, strict=True))
    return sum(a[2] == b[2] for a, b in pairs), len(pairs)


def by_numbers(one: list[Visit], other: list[Visit]) -> tuple[int, int]:
    """Pair the cards of two days by all quarters in which each came, the most alike first."""

    def profiles(day: list[Visit]) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for quarter, number, _ in day:
            found.setdefault(number, []).append(quarter)
        return found

    ours, theirs = profiles(one), profiles(other)
    who_one = {number: who for _, number, who in one}
    who_other = {number: who for _, number, who in other}
    strange = sorted(
        (sum(abs(x - y) for x, y in zip(p, q, strict=True)) + abs(a - b) / len(ours), a, b)
        for a, p in ours.items()
        for b, q in theirs.items()
        if len(p) == len(q)
    )
    taken_a: set[int] = set()
    taken_b: set[int] = set()
    right = 0
    for _, a, b in strange:
        if a not in taken_a and b not in taken_b:
            taken_a.add(a)
            taken_b.add(b)
            right += who_one[a] == who_other[b]
    return right, len(ours)


def by_denials(one: Day, other: Day) -> tuple[int, int]:
    """Pair the passages by order, and the denied cards by their numbers: what our log allows."""
    ordered, named = by_order(one, other), by_numbers(one.denials, other.denials)
    return ordered[0] + named[0], ordered[1] + named[1]


def measure(people: int, nights: int, denied: float) -> dict[str, dict[str, float]]:
    """Return the share of right pairs for each way to live and each adversary."""
    chance = random.Random(24)
    mornings = [[chance.uniform(7, 10)] for _ in range(people)]
    three = [[h, h + chance.uniform(3.5, 5), h + chance.uniform(6, 9)] for (h,) in mornings]
    nobody: list[list[float]] = [[13.0] for _ in range(people)]
    ways: dict[str, tuple[list[list[float]], float]] = {
        "no habits, once a day": (nobody, 3.0),
        "habits (30 min), once a day": (mornings, 0.5),
        "habits (10 min), once a day": (mornings, 1 / 6),
        "habits (30 min), three times a day": (three, 0.5),
        "habits (10 min), three times a day": (three, 1 / 6),
    }
    adversaries: dict[str, Callable[[Day, Day], tuple[int, int]]] = {
        "order alone": by_order,
        "denials numbered": by_denials,
        "all numbered": lambda a, b: by_numbers(a.passages, b.passages),
    }
    table: dict[str, dict[str, float]] = {}
    for way, (hours, spread_h) in ways.items():
        days = [day_of(hours, spread_h, denied, day, chance) for day in range(nights + 1)]
        table[way] = {"chance": 1 / people}
        for name, adversary in adversaries.items():
            found = [adversary(a, b) for a, b in itertools.pairwise(days)]
            table[way][name] = sum(right for right, _ in found) / sum(of for _, of in found)
    return table


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--nights", type=int, default=40)
    parser.add_argument("--denied", type=float, default=0.05, help="share of denied first tries")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    table = measure(options.people, options.nights, options.denied)
    if options.json:
        print(json.dumps({"people": options.people, "nights": options.nights, "share": table}))
        return
    print(f"{options.people} people, {options.nights} nights: share followed to the next day")
    columns = ("chance", "order alone", "denials numbered", "all numbered")
    print(f"{'':<36}" + "".join(f"{column:>18}" for column in columns))
    for way, row in table.items():
        print(f"{way:<36}" + "".join(f"{row[column]:>18.1%}" for column in columns))


if __name__ == "__main__":
    main()
