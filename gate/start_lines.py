"""What `gate run` says at its start and its end, one line for each thing an operator must know."""

from __future__ import annotations

from collections.abc import Mapping

from gate.host_conditions import HostConditions
from gate.ledger.record import KeyPurpose, SelfTested
from gate.passage.health import host_lines
from gate.policy import FaceMode, Policy
from gate.template.context import Purpose
from gate.template.outcome import KeyCounts, KeyOutcome

Recorded = Mapping[tuple[KeyPurpose, KeyOutcome], int]
"""How many uses of a key this gate recorded since its start."""


def start_lines(
    tested: SelfTested,
    host: HostConditions,
    policy: Policy,
    face: FaceMode,
    witnesses: int,
) -> list[str]:
    """Return the lines of a start.

    Args:
        tested: what the attack on the sandbox found.
        host: what the host does with freed memory.
        policy: the one in force.
        face: whether the face lane is on.
        witnesses: how many co-sign the log.
    """
    abi = f"Landlock ABI {tested.landlock_abi}" if tested.landlock_abi else "no Landlock here"
    degraded = [line for line in host_lines(host) if not line.ok]
    parts = ", ".join(line.part.removeprefix("host: ") for line in degraded)
    issued = policy.document.issued.astimezone()
    lines = [
        f"self-test: {tested.held} of {tested.tried} escapes held, {abi}",
        f"host: degraded ({parts}); the admin page says what to do"
        if degraded
        else "host: keeps nothing of freed memory",
        f"policy: zone {policy.gate_zone}, issued {issued:%Y-%m-%d %H:%M}, "
        f"sha256 {policy.sha256[:16]}...; {face.line}",
    ]
    if witnesses:
        lines.append(f"witnesses: {witnesses} asked to co-sign that the log only grows")
    return lines


def key_difference(agent: KeyCounts, recorded: Recorded) -> list[str]:
    """Return one line for each purpose of which the agent released more keys than the log holds.

    A release whose answer came too late is a failure in the log, so failures count as well.
    """
    lines = []
    for purpose in KeyPurpose:
        released = agent[Purpose[purpose.name], KeyOutcome.RELEASED]
        known = sum(
            recorded.get((purpose, outcome), 0)
            for outcome in (KeyOutcome.RELEASED, KeyOutcome.FAILED)
        )
        if released > known:
            lines.append(
                f"the key agent released {released} {purpose.value} keys and the log holds "
                f"{known}; find out who asked before this gate runs again"
            )
    return lines
