"""Everything one lane works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from firmware_bridge.ports import Turnstile
from gate.host_conditions import HostConditions, host_conditions
from gate.passage.face_leg import View
from gate.passage.ports import (
    CardChecks,
    CardReader,
    CardStands,
    KeyReleases,
    Kiosk,
    Log,
    Rules,
    Verifiers,
)
from gate.passage.session import DEADLINE_MS, State


@dataclass(frozen=True)
class Lane:
    """The devices, processes and rules of one lane. Built in gate.wiring, real or simulated."""

    reader: CardReader
    card_checks: CardChecks
    card_stands: CardStands
    verifiers: Verifiers
    keys: KeyReleases
    turnstile: Turnstile
    log: Log
    kiosk: Kiosk
    rules: Rules
    view: View
    pulse_ms: int
    pin_lock_s: float = 900.0
    deadline_ms: Mapping[State, int | None] = field(default_factory=lambda: DEADLINE_MS)
    host: Callable[[], HostConditions] = host_conditions
