"""The day's pseudonyms: they count up, end at midnight, and leave nothing to find."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate.ledger.record import COUNT
from gate.passage.day_cards import DAY_S, DayCards, fill_random

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
SEOUL = timezone(timedelta(hours=9))


def filling(seed: int) -> Callable[[bytearray], None]:
    source = random.Random(seed)

    def fill(buffer: bytearray) -> None:
        buffer[:] = source.randbytes(len(buffer))

    return fill


def day_cards(seed: int = 1, zone: timezone = UTC, now_s: Callable[[], float] = float) -> DayCards:
    return DayCards(filling(seed), now_s, zone)


def decide(cards: DayCards, who: bytes, now: datetime = NOW) -> int:
    number = cards.number(who, now)
    cards.keep(who)
    return number


def test_cards_are_numbered_in_the_order_of_their_first_decision() -> None:
    cards = day_cards()
    assert [decide(cards, who) for who in (b"a", b"b", b"a", b"c", b"b")] == [1, 2, 1, 3, 2]
    assert cards.count == 3


def test_a_number_that_no_record_names_is_not_used_up() -> None:
    cards = day_cards()
    assert cards.number(b"a", NOW) == 1
    assert cards.number(b"b", NOW) == 1, "the record about a did not become durable"
    cards.keep(b"b")
    assert cards.number(b"a", NOW) == 2
    assert cards.destroy() == 1


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=80))
def test_the_numbers_have_no_hole_and_say_how_many_cards_came(visits: list[bytes]) -> None:
    cards = day_cards()
    numbers = [decide(cards, who) for who in visits]
    firsts = [n for place, n in enumerate(numbers) if n not in numbers[:place]]
    assert firsts == list(range(1, len(set(visits)) + 1))
    assert len(set(zip(visits, numbers, strict=True))) == len(set(visits))
    assert cards.destroy() == len(set(visits))


@given(
    st.lists(st.integers(0, 9), max_size=60),
    st.permutations(range(10)),
    st.integers(0, 2**32),
    st.integers(0, 2**32),
)
def test_the_numbers_are_the_same_whoever_came(
    visits: list[int], renamed: list[int], seed: int, other_seed: int
) -> None:
    """Nothing in them depends on the card or the key: only on which visits are one card's."""
    people = [random.Random(who).randbytes(16) for who in range(10)]
    one, other = day_cards(seed), day_cards(other_seed)
    numbers = [decide(one, people[who]) for who in visits]
    assert numbers == [decide(other, people[renamed[who]]) for who in visits]


def test_more_cards_than_a_record_can_count_share_the_last_number() -> None:
    cards = day_cards()
    for who in range(COUNT.high):
        decide(cards, who.to_bytes(16))
    assert decide(cards, b"one more") == decide(cards, b"yet one more") == COUNT.high
    assert decide(cards, (0).to_bytes(16)) == 1
    assert cards.destroy() == COUNT.high


@pytest.mark.parametrize(
    ("zone", "last", "first"),
    [
        (UTC, datetime(2026, 3, 2, 23, 59, 59, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC)),
        (
            SEOUL,
            datetime(2026, 3, 2, 14, 59, 59, tzinfo=UTC),
            datetime(2026, 3, 2, 15, tzinfo=UTC),
        ),
    ],
)
def test_the_day_ends_at_local_midnight(zone: timezone, last: datetime, first: datetime) -> None:
    cards = day_cards(zone=zone)
    assert not cards.is_over(last), "there is no key yet"
    decide(cards, b"a", last - timedelta(hours=8))
    assert not cards.is_over(last)
    assert cards.is_over(first)
    assert cards.destroy() == 1
    assert not cards.is_over(first)
    assert decide(cards, b"b", first) == 1


def test_a_key_does_not_outlive_a_day_whatever_the_clock_does() -> None:
    seconds = [0.0]
    cards = day_cards(now_s=lambda: seconds[0])
    decide(cards, b"a")
    assert cards.is_over(NOW - timedelta(days=1)), "the clock was set back over midnight"
    assert cards.is_over(NOW + timedelta(days=400))
    seconds[0] = DAY_S - 1
    assert not cards.is_over(NOW), "the clock stands still"
    seconds[0] = DAY_S
    assert cards.is_over(NOW)


def test_a_day_ends_after_96_quarters_counted_from_the_earliest() -> None:
    # 9:00 is midnight here, so only the length of the day can end it in the afternoon.
    cards = day_cards(zone=timezone(timedelta(hours=-9)))
    decide(cards, b"a", NOW)
    assert NOW.astimezone(timezone(timedelta(hours=-9))).date() == NOW.date()
    later = NOW + timedelta(hours=14, minutes=59)
    assert not cards.is_over(later)
    decide(cards, b"b", NOW - timedelta(hours=9))  # the clock went back: counted from there
    assert cards.is_over(NOW + timedelta(hours=15))


def test_a_generator_that_fails_leaves_no_half_made_key() -> None:
    def broken(_buffer: bytearray) -> None:
        raise OSError("no randomness")

    cards = DayCards(broken, float, UTC)
    with pytest.raises(OSError, match="no randomness"):
        cards.number(b"a", NOW)
    assert cards.destroy() == 0
    assert not cards.is_over(NOW + timedelta(days=2))


def test_keys_are_random() -> None:
    one, other = bytearray(32), bytearray(32)
    fill_random(one)
    fill_random(other)
    assert one != other
    assert any(one)


# ---- nothing is left of a key -----------------------------------------------------------------

CHILD = """
import sys
from datetime import UTC, datetime
from gate.passage.day_cards import DayCards

def fill(buffer):
    sys.stdin.buffer.raw.readinto(buffer)  # less than a pipe holds: it comes at once or not at all

cards = DayCards(fill, float, UTC)
now = datetime(2026, 3, 2, 9, tzinfo=UTC)
for who in range(500):
    cards.number(who.to_bytes(16), now)
    cards.keep(who.to_bytes(16))
print("in use", flush=True)
fill(bytearray(1))
cards.destroy()
print("destroyed", flush=True)
fill(bytearray(1))
"""


def memory(pid: int) -> Iterator[bytes]:
    """Yield every readable writable area of a process, which only its parent and root may read."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as mem:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            if rights.startswith("rw") and "[v" not in line:
                begin, end = (int(part, 16) for part in span.split("-"))
                mem.seek(begin)
                yield mem.read(end - begin)


def test_a_destroyed_key_is_nowhere_in_the_memory_of_its_process() -> None:
    # The child reads the key from a pipe straight into the buffer, as from the kernel's generator.
    key = os.urandom(32)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(key)
        assert child.stdout.readline() == b"in use\n"
        try:
            before = sum(area.count(key) for area in memory(child.pid))
        except PermissionError:
            pytest.skip("this kernel lets nobody read another process (kernel.yama.ptrace_scope)")
        child.stdin.write(b".")
        assert child.stdout.readline() == b"destroyed\n"
        after = sum(area.count(key) + area.count(key[8:24]) for area in memory(child.pid))
    finally:
        child.stdin.close()
        child.stdout.close()
        child.wait(10)
    assert before >= 1, "the search can find it"
    assert after == 0


# ---- linkage: simulated people over many days ---------------------------------------------------

PEOPLE, DAYS = 40, 60
Log = list[tuple[int, int]]
"""One day as the log shows it: quarter of an hour and number of each decision."""


def simulate(
    seed: int, number_of_day: Callable[[int], Callable[[int, datetime], int]], *, visits: int = 3
) -> tuple[list[Log], list[dict[int, int]]]:
    """Let people without habits come and go. Return what the log says, and who was who."""
    chance = random.Random(seed)
    logs, truth = [], []
    for day in range(DAYS):
        number = number_of_day(day)
        came: list[tuple[float, int]] = [
            (chance.uniform(7.0, 19.0), who)
            for who in range(PEOPLE)
            for _ in range(chance.randint(1, visits))
        ]
        log: Log = []
        who_was: dict[int, int] = {}
        for hour, who in sorted(came):
            at = NOW.replace(hour=0) + timedelta(days=day, hours=hour)
            card = number(who, at)
            log.append((int(hour * 4), card))
            who_was[card] = who
        logs.append(log)
        truth.append(who_was)
    return logs, truth


def fresh_each_day(_day: int) -> Callable[[int, datetime], int]:
    cards = DayCards(fill_random, float, UTC)
    ids = [random.Random(who).randbytes(16) for who in range(PEOPLE)]
    return lambda who, at: decide(cards, ids[who], at)


def match(one: Log, other: Log) -> dict[int, int]:
    """The adversary: pair the numbers of two days by everything that the log shows of each.

    Same number first, then the most alike profile: how often, and in which quarters.
    """

    def profiles(log: Log) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for quarter, card in log:
            found.setdefault(card, []).append(quarter)
        return found

    ours, theirs = profiles(one), profiles(other)

    def strangeness(a: int, b: int) -> float:
        times_a, times_b = ours[a], theirs[b]
        apart = abs(sum(times_a) / len(times_a) - sum(times_b) / len(times_b))
        return 10 * abs(len(times_a) - len(times_b)) + apart + (0 if a == b else 5)

    pairs = sorted((strangeness(a, b), a, b) for a in ours for b in theirs)
    matched: dict[int, int] = {}
    for _, a, b in pairs:
        if a not in matched and b not in matched.values():
            matched[a] = b
    return matched


def right_matches(logs: list[Log], truth: list[dict[int, int]]) -> int:
    """How many people the adversary followed from one day to the next, over all days."""
    right = 0
    for day in range(DAYS - 1):
        for a, b in match(logs[day], logs[day + 1]).items():
            right += truth[day][a] == truth[day + 1][b]
    return right


def test_nobody_is_followed_from_day_to_day_by_the_pseudonyms() -> None:
    right = right_matches(*simulate(7, fresh_each_day))
    # Whoever pairs at random gets one of the 40 right each night on average, with variance 1.
    nights = DAYS - 1
    assert abs(right - nights) <= 5 * nights**0.5, f"{right} right matches in {nights} nights"


def test_the_adversary_would_follow_a_key_that_is_not_destroyed() -> None:
    forever = DayCards(fill_random, float, UTC)
    ids = [random.Random(who).randbytes(16) for who in range(PEOPLE)]

    def kept(_day: int) -> Callable[[int, datetime], int]:
        return lambda who, at: decide(forever, ids[who], at)

    logs, truth = simulate(7, kept)
    by_number = sum(
        truth[day].get(card) == truth[day + 1].get(card)
        for day in range(DAYS - 1)
        for card in truth[day]
    )
    assert by_number == (DAYS - 1) * PEOPLE, "the search would see a leak"
    assert right_matches(logs, truth) > 5 * (DAYS - 1)


def test_people_who_come_once_a_day_are_numbered_as_they_come() -> None:
    """Then the numbers say nothing that the order of the records does not say."""
    logs, _ = simulate(8, fresh_each_day, visits=1)
    for log in logs:
        assert [card for _, card in log] == list(range(1, len(log) + 1))


def test_within_a_day_the_numbers_link_and_that_is_what_they_are_for() -> None:
    logs, truth = simulate(9, fresh_each_day)
    for log, who_was in zip(logs, truth, strict=True):
        assert len(who_was) == PEOPLE
        assert Counter(card for _, card in log).total() == len(log)
