from __future__ import annotations

import pytest

from firmware_bridge.ports import Link, TurnstileStatus
from gate.console.deps import Health
from gate.passage.health import health
from gate.policy import FaceMode, FaceReason


def lines(status: TurnstileStatus) -> dict[str, Health]:
    face = FaceMode(FaceReason.NOT_IN_POLICY)
    parts = health(status, face, agent_alive=True, verifier_ready=True, ledger_ok=True)
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
