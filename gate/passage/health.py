"""What the admin page says about each part of a lane, with advice. Pure."""

from __future__ import annotations

from firmware_bridge.ports import Link, TurnstileStatus
from gate.console.deps import Health
from gate.policy import FaceMode


def health(
    status: TurnstileStatus,
    face: FaceMode,
    *,
    agent_alive: bool,
    verifier_ready: bool,
    ledger_ok: bool,
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
        Health("face lane", face.on, face.line, "cards with PIN keep working"),
    ]
