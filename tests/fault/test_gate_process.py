"""A real `gate run`, a simulated turnstile and `enroll tap`, each a process of its own."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gate.console.deps import Screen
from gate.demo.scenarios import Card, View
from gate.demo.stage import DEMO_PIN

if TYPE_CHECKING:
    from tests.fault.conftest import GateProcess, Home, Program

pytestmark = pytest.mark.usefixtures("fresh_log")
READY = (Screen.IDLE, Screen.CARD_ONLY)


def openings(turnstile: Program) -> int:
    return turnstile.out.count("entry relay active")


def test_the_owner_and_a_person_with_a_pin_walk_in(
    home: Home,
    start_gate: Callable[..., GateProcess],
    start_turnstile: Callable[..., Program],
    tap: Callable[[Card], Program],
) -> None:
    turnstile, gate = start_turnstile(), start_gate()
    home.lens.show(View.OWNER)
    gate.wait_screen(Screen.IDLE)
    phone = tap(Card.OWNER)
    turnstile.wait_line("entry relay released")
    assert phone.ended() == 0, phone.err
    assert "look at its screen" in phone.out
    assert openings(turnstile) == 1

    gate.wait_screen(*READY)
    tap(Card.PIN_ONLY)
    asked = gate.wait_screen(Screen.PIN)
    assert gate.say("pin", {"token": asked["pin_token"], "pin": DEMO_PIN}) == 204
    gate.wait_screen(Screen.OPEN)
    gate.wait_screen(*READY)
    assert openings(turnstile) == 2

    assert gate.stop() == 0
    assert gate.err.rstrip().endswith("gate stopped; the turnstile is shut, egress is free")
    assert gate.out == ""
    counts = home.audit().counts
    assert (counts["grants"], counts.get("denials", 0)) == (2, 0)
    assert (counts["lane.face"], counts["lane.pin"], counts["crossing.one"]) == (1, 1, 2)
    assert counts["verifier_died"] == 1
    assert "unclean_stops" not in counts


def test_sigterm_in_the_middle_of_a_look_is_a_recorded_denial(
    home: Home,
    start_gate: Callable[..., GateProcess],
    start_turnstile: Callable[..., Program],
    tap: Callable[[Card], Program],
) -> None:
    turnstile, gate = start_turnstile(), start_gate()
    home.lens.show(View.NOBODY)
    gate.wait_screen(Screen.IDLE)
    tap(Card.OWNER)
    gate.wait_screen(Screen.LOOK)
    assert gate.stop(signal.SIGTERM) == 0, gate.err
    assert "the turnstile is shut" in gate.err
    assert openings(turnstile) == 0
    counts = home.audit().counts
    assert counts["denied.shutting_down"] == counts["denials"] == 1
    assert (counts["started"], counts["stopped"]) == (1, 1)
    assert not home.antenna.exists()


def test_a_killed_gate_leaves_nothing_open_and_starts_again(
    home: Home,
    start_gate: Callable[..., GateProcess],
    start_turnstile: Callable[..., Program],
    tap: Callable[[Card], Program],
) -> None:
    turnstile, gate = start_turnstile(), start_gate()
    home.lens.show(View.NOBODY)
    gate.wait_screen(Screen.IDLE)
    tap(Card.OWNER)
    gate.wait_screen(Screen.LOOK)
    children = [int(pid) for pid in _children(gate.process.pid)]
    assert len(children) >= 2, "a key agent and verifiers"
    gate.stop(signal.SIGKILL)
    end_s = time.monotonic() + 10.0
    while any(_alive(pid) for pid in children):
        assert time.monotonic() < end_s, "who held a key or a face outlived the gate"
        time.sleep(0.02)
    home.audit()
    assert openings(turnstile) == 0

    home.lens.show(View.OWNER)
    again = start_gate()
    again.wait_screen(Screen.IDLE)
    tap(Card.OWNER)
    turnstile.wait_line("entry relay released")
    assert openings(turnstile) == 1
    again.wait_screen(*READY)
    assert again.stop() == 0
    counts = home.audit().counts
    assert (counts["started"], counts["stopped"], counts["unclean_stops"]) == (2, 1, 1)
    assert counts["grants"] == 1


def test_a_full_disk_lets_nobody_in_and_heals(
    home: Home,
    start_gate: Callable[..., GateProcess],
    start_turnstile: Callable[..., Program],
    tap: Callable[[Card], Program],
) -> None:
    turnstile, gate = start_turnstile(), start_gate()
    home.lens.show(View.OWNER)
    gate.wait_screen(Screen.IDLE)
    # A log of a few records is larger than this: what a full disk does, without filling one.
    _, hard = resource.prlimit(gate.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(gate.process.pid, resource.RLIMIT_FSIZE, (4096, hard))
    tap(Card.OWNER)
    gate.wait_screen(Screen.OUT_OF_ORDER)
    gate.wait_line("free space on its disk")
    tap(Card.PIN_ONLY).ended()
    gate.wait_screen(Screen.REFUSED, Screen.OUT_OF_ORDER)
    before = home.audit()
    assert before.counts.get("decided", 0) == 0
    assert openings(turnstile) == 0
    resource.prlimit(gate.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    gate.wait_screen(Screen.IDLE)
    tap(Card.OWNER)
    turnstile.wait_line("entry relay released")
    gate.wait_screen(*READY)
    assert gate.stop() == 0
    counts = home.audit().counts
    assert counts["missed"] == 1
    assert counts["records_missed"] >= 2, "the key of each card, or what was decided about it"
    assert counts["grants"] == counts["moved.opened"] == openings(turnstile) == 1


def _children(pid: int) -> list[str]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [child for task in tasks for child in (task / "children").read_text().split()]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
