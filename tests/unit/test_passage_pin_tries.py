"""Wrong PINs are counted per card, without remembering which card it was."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from gate.passage.pin_tries import PinTries

LOCK_S = 900.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def make(clock: Clock, max_tries: int = 3) -> PinTries:
    return PinTries(max_tries, LOCK_S, os.urandom(32), clock)


def test_each_try_counts_until_the_card_is_locked() -> None:
    tries = make(Clock())
    for left in (3, 2, 1):
        assert tries.left(b"card") == left
        tries.spend(b"card")
    assert tries.left(b"card") == 0
    tries.spend(b"card")
    assert tries.left(b"card") == 0
    assert tries.left(b"another card") == 3


def test_the_right_pin_forgives() -> None:
    tries = make(Clock())
    tries.spend(b"card")
    tries.spend(b"card")
    tries.right(b"card")
    assert tries.left(b"card") == 3
    tries.right(b"never seen")


def test_the_lock_ends_and_every_try_renews_it() -> None:
    clock = Clock()
    tries = make(clock)
    for _ in range(3):
        tries.spend(b"card")
        clock.now_s += 10.0
    clock.now_s += LOCK_S - 11.0
    assert tries.left(b"card") == 0
    clock.now_s += 1.0
    assert tries.left(b"card") == 3
    tries.spend(b"card")
    assert tries.left(b"card") == 2, "an old count is not added to"


def test_nothing_kept_tells_which_card_it_was() -> None:
    number = os.urandom(16)
    tries = make(Clock())
    tries.spend(number)
    kept = repr(vars(tries))
    assert number.hex() not in kept
    assert repr(number)[2:-1] not in kept
    other = make(Clock())
    other.spend(number)
    assert set(tries._wrong).isdisjoint(other._wrong), "another process, another pseudonym"


def test_counts_older_than_the_lock_are_dropped() -> None:
    clock = Clock()
    tries = make(clock)
    for card in range(100):
        tries.spend(card.to_bytes(16, "big"))
    clock.now_s += LOCK_S
    tries.spend(b"last")
    assert len(tries._wrong) == 1


@given(
    st.integers(1, 10),
    st.lists(
        st.tuples(st.sampled_from(["spend", "right", "wait"]), st.integers(0, 2)), max_size=60
    ),
)
def test_never_more_wrong_tries_than_allowed_within_the_lock(
    max_tries: int, moves: list[tuple[str, int]]
) -> None:
    clock = Clock()
    tries = make(clock, max_tries)
    wrong = {0: 0, 1: 0, 2: 0}
    for move, card in moves:
        name = bytes([card]) * 16
        if move == "wait":
            clock.now_s += LOCK_S
            wrong = dict.fromkeys(wrong, 0)
        elif move == "right":
            tries.right(name)
            wrong[card] = 0
        elif tries.left(name):
            tries.spend(name)
            wrong[card] += 1
        assert wrong[card] <= max_tries
        assert tries.left(name) == max_tries - wrong[card]
