from __future__ import annotations

import pytest

from firmware_bridge.ports import Link, TurnstileStatus
from gate.console.deps import Health
from gate.host_conditions import HostConditions
from gate.passage.health import health, host_lines
from gate.policy import FaceMode, FaceReason


def lines(status: TurnstileStatus) -> dict[str, Health]:
    face = FaceMode(FaceReason.NOT_IN_POLICY)
    parts = health(
        status,
        face,
        agent_alive=True,
        verifier_ready=True,
        ledger_ok=True,
        status_fresh=True,
        host=HostConditions(True, True, True, True),
    )
    return {line.part: line for line in parts}


@pytest.mark.parametrize("link", [Link.OFFLINE, Link.WRONG_KEY])
def test_a_line_that_is_down_tells_nothing_of_its_inputs(link: Link) -> None:
    shown = lines(TurnstileStatus(link, tamper=True, fire=True))
    assert not shown["turnstile"].ok
    assert "tamper" not in shown["turnstile"].what
    assert not shown["fire loop"].ok
    assert "unknown" in shown["fire loop"].what


def test_alarms_of_a_line_that_is_up() -> None:
    shown = lines(TurnstileStatus(Link.ONLINE, tamper=True, fire=True))
    assert (shown["turnstile"].what, shown["fire loop"].what) == ("tamper alarm", "fire")
    assert all(line.advice for line in shown.values() if not line.ok)


def test_a_host_that_keeps_nothing_is_one_line() -> None:
    (line,) = host_lines(HostConditions(True, True, True, True))
    assert line.ok
    assert host_lines(None) == []


@pytest.mark.parametrize(
    ("condition", "advice"),
    [
        ("init_on_free", "init_on_free=1"),
        ("swap_off", "swapoff"),
        ("core_dumps_off", "core_pattern"),
        ("hibernation_off", "nohibernate"),
    ],
)
def test_a_host_that_keeps_something_is_degraded_with_advice(condition: str, advice: str) -> None:
    good = dict.fromkeys(("init_on_free", "swap_off", "core_dumps_off", "hibernation_off"), True)
    (line,) = host_lines(HostConditions(**{**good, condition: False}))
    assert not line.ok
    assert line.what.startswith("degraded: ")
    assert advice in line.advice
