"""What the admin page says about each part of a lane, with advice. Pure."""

from __future__ import annotations

from firmware_bridge.ports import Link, TurnstileStatus
from gate.console.deps import Health
from gate.host_conditions import HostConditions
from gate.policy import FaceMode


def health(
    status: TurnstileStatus,
    face: FaceMode,
    *,
    agent_alive: bool,
    verifier_ready: bool,
    ledger_ok: bool,
    status_fresh: bool,
    host: HostConditions | None,
) -> list[Health]:
    """Return one line for each part. What the line cannot tell is not called well."""
    online = status.link is Link.ONLINE
    tamper, fire = online and status.tamper, online and status.fire
    loop = ("fire" if fire else "closed") if online else "unknown while the line is down"
    return [
        Health(
            "turnstile",
            online and not tamper,
            "tamper alarm" if tamper else status.link.value,
            "look at the housing" if tamper else "check cable and power of the line",
        ),
        Health(
            "fire loop",
            online and not fire,
            loop,
            "evacuate; the turnstile frees the way by itself" if fire else "see turnstile",
        ),
        Health(
            "key agent",
            agent_alive,
            "alive" if agent_alive else "gone",
            "restart the gate; check the template key files",
        ),
        Health(
            "verifier",
            verifier_ready,
            "a spare waits" if verifier_ready else "no spare ready",
            "the card + PIN lane goes on; check the model pack with: gate models verify",
        ),
        Health(
            "ledger",
            ledger_ok,
            "writable" if ledger_ok else "cannot append",
            "free disk space; nobody is let in without a record",
        ),
        Health(
            "status list",
            status_fresh,
            "fresh" if status_fresh else "missing or expired: every card is refused",
            "fetch the newest from the issuer; it is taken into use without a restart",
        ),
        Health("face lane", face.on, face.line, "cards with PIN keep working"),
        *host_lines(host),
    ]


def host_lines(host: HostConditions | None) -> list[Health]:
    """Return one line when the host keeps nothing of a freed page, else one for each gap.

    None, before the first look at the host, is no line.
    """
    if host is None:
        return []
    missing = [
        Health(f"host: {part}", ok=False, what=f"degraded: {what}", advice=advice)
        for shown, part, what, advice in (
            (
                host.init_on_free,
                "freed memory",
                "the kernel clears a freed page only when it is used again",
                "add init_on_free=1 to the kernel command line and restart the host",
            ),
            (
                host.swap_off,
                "swap",
                "memory can be written to a disk",
                "swapoff -a, and take swap out of /etc/fstab",
            ),
            (
                host.core_dumps_off,
                "core dumps",
                "a program that crashes can leave its memory in a file",
                "sysctl kernel.core_pattern='|/bin/false', also below /etc/sysctl.d",
            ),
            (
                host.hibernation_off,
                "hibernation",
                "the whole memory can be written to a disk",
                "add nohibernate to the kernel command line and restart the host",
            ),
        )
        if not shown
    ]
    return missing or [Health("host", ok=True, what="keeps nothing of freed memory")]
