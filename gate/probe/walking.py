"""The people of the canary passages: they tap, look, type, and now and then things go wrong."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from enrollment.wallet import Wallet
from firmware_bridge.antenna import serve_card
from firmware_bridge.errors import DeviceFault
from firmware_bridge.sim.card import SimCard
from gate.demo.scenarios import Expected, Pin
from gate.passage.decision import DenyReason, Lane
from gate.probe.canary import Canary
from gate.probe.faults import ProbeFault
from gate.probe.passages import CanaryPassage, Mishap
from gate.probe.processes import VERIFIER, family
from gate.probe.remote_gate import RemoteGate
from gate.settings import load_settings

PASSAGE_S = 60.0
TRIES = 3
_GLANCE_S = 0.01


@dataclass(frozen=True)
class Walked:
    """How one canary passage went."""

    name: str
    outcome: str
    as_expected: bool


class Walker:
    """Walks people through one canary gate."""

    def __init__(self, canary: Canary, gate: RemoteGate) -> None:
        self._canary = canary
        self._gate = gate
        reader = load_settings(canary.site.config_path, environ={}).card.reader
        self._antenna = canary.site.config_path.parent / reader.removeprefix("socket:")

    def walk(self, passage: CanaryPassage) -> Walked:
        """Let one person come.

        Raises:
            ProbeFault: the gate did not finish the passage.
        """
        gate = self._gate
        self._canary.lens.show(passage.view)
        gate.wait(
            lambda: gate.kiosk.screen in ("idle", "card_only") and gate.kiosk.online,
            PASSAGE_S,
            "the canary gate does not get ready",
        )
        gate.wait_spare()
        before = len(gate.passages())
        done = threading.Event()
        hand = threading.Thread(target=self._hand, args=(passage, done), daemon=True)
        hand.start()
        wallet = self._canary.tampered if passage.card is None else self._canary.cards[passage.card]
        assert wallet is not None
        threading.Thread(target=self._tap, args=(wallet,), name="phone", daemon=True).start()
        try:
            gate.wait(
                lambda: len(gate.passages()) > before,
                PASSAGE_S,
                f"the canary gate did not finish '{passage.name}'",
            )
        finally:
            done.set()
            hand.join(timeout=5.0)
        return judged(passage, gate.passages()[before])

    def _tap(self, wallet: Wallet) -> None:
        with contextlib.suppress(DeviceFault):  # the passage itself says what happened
            serve_card(self._antenna, SimCard(wallet))

    def _hand(self, passage: CanaryPassage, done: threading.Event) -> None:
        """Watch the screen as a person does; meanwhile, the mishap."""
        answered, struck = "", False
        while not done.wait(_GLANCE_S):
            seen = self._gate.kiosk
            if seen.camera_on and not struck and passage.mishap is not Mishap.NONE:
                struck = True
                strike(self._gate.pid, passage.mishap)
            if seen.pin_token is None or seen.pin_token == answered:
                continue
            if passage.pin is Pin.NONE or answered:
                self._gate.leave()
                done.wait(0.1)
                continue
            answered = seen.pin_token
            pins = self._canary.pins
            self._gate.enter_pin(answered, pins.right if passage.pin is Pin.RIGHT else pins.wrong)


def strike(gate_pid: int, mishap: Mishap) -> None:
    """Kill or freeze the verifier that is looking; when none is told apart, all of them."""
    time.sleep(0.05)  # let it see a face first
    filters = {p.pid: _filters(p.pid) for p in family(gate_pid) if p.role == VERIFIER}
    most = max(filters.values(), default=0)
    number = signal.SIGKILL if mishap is Mishap.KILLED else signal.SIGSTOP
    for pid, count in filters.items():
        if count == most:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _filters(pid: int) -> int:
    """Return how many system call filters a process is under: a verifier that looks has most."""
    try:
        with open(f"/proc/{pid}/status") as status:  # noqa: PTH123 - a process, not a path
            for line in status:
                if line.startswith("Seccomp_filters:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return -1


def judged(passage: CanaryPassage, told: dict[str, Any]) -> Walked:
    """Return how a passage went, in words."""
    happened = Expected(
        None if told["lane"] is None else Lane(told["lane"]),
        tuple(DenyReason(reason) for reason in told["reasons"]),
    )
    expected = passage.expected is None or happened == passage.expected
    return Walked(passage.name, happened.text(), expected and bool(told["recorded"]))


def walk_all(
    walker: Walker, passages: tuple[CanaryPassage, ...], tell: Callable[[str], None]
) -> list[Walked]:
    """Walk one passage after the other; again, when a busy machine made one end otherwise.

    Raises:
        ProbeFault: the gate stopped, or did something else than it must: then nothing can be said.
    """
    walked: list[Walked] = []
    for number, passage in enumerate(passages, start=1):
        tell(f"passage {number} of {len(passages)}: {passage.name}")
        for _ in range(TRIES):
            walked.append(walker.walk(passage))
            if walked[-1].as_expected:
                break
        else:
            raise ProbeFault(
                f"the canary passage '{passage.name}' ended otherwise: {walked[-1].outcome}",
                "probe again when this machine is less busy",
            )
    return walked
