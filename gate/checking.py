"""`gate check-config`: read everything a start would read, and move no device."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from firmware_bridge.camera_source import shown_source
from gate.card.reader import Trust
from gate.editions import Edition, refuse_older
from gate.errors import ConfigError
from gate.host_conditions import host_conditions
from gate.key_plan import plan_of, self_tested
from gate.ledger.witness_site import parse_sites
from gate.rules import POLICY_MEMORY
from gate.settings import Settings, load_settings
from gate.status_refresh import newest_seen
from gate.wiring import load_documents


def check(config: Path) -> list[tuple[str, str]]:
    """Return one line for each part that was checked.

    Raises:
        ConfigError, DeviceFault, LedgerFault, ModelFault: the first thing that does not fit.
    """
    settings = load_settings(config)
    now = datetime.now(UTC)
    keys = _keys_line(settings)
    documents = load_documents(settings, now)
    policy = documents.policy
    refuse_older(
        settings.policy.policy,
        Edition(policy, policy.document.issued, policy.sha256),
        settings.gate.data_dir / POLICY_MEMORY,
    )
    host = host_conditions()
    return [
        ("gate", f"{settings.gate.id}, mode {settings.gate.mode}"),
        ("models", f"pack {settings.models.pack}, every file has its SHA-256"),
        ("policy", f"zone {documents.policy.gate_zone}, sha256 {documents.policy.sha256}"),
        ("face lane", documents.face_mode(now).line),
        ("status list", _status_line(settings, documents.trust, now)),
        ("keys", keys),
        ("ledger key", documents.signer.vkey),
        ("witnesses", _witnesses_line(settings)),
        ("probe", _probe_line(settings)),
        ("turnstile", f"osdp on {settings.turnstile.port} at {settings.turnstile.baud} baud"),
        ("camera", shown_source(settings.camera.source)),
        (
            "host",
            ", ".join(f"{name} {'yes' if on else 'NO'}" for name, on in vars(host).items()),
        ),
    ]


def _keys_line(settings: Settings) -> str:
    held = self_tested(plan_of(settings))
    return ", ".join(f"{key.kid.hex()} ({key.kind.value})" for key in held)


def _witnesses_line(settings: Settings) -> str:
    named = [
        f"{site.key.name} ({site.url or 'offline'})"
        for site in parse_sites(settings.ledger.witnesses)
    ]
    return ", ".join(named) or "none: a signed log alone could show two histories"


def _probe_line(settings: Settings) -> str:
    at, faces = settings.probe.nightly, settings.probe.faces
    if at is None or faces is None:
        return "not at night; run: gate probe"
    if not faces.is_dir():
        raise ConfigError(
            f"[probe] faces: {faces} is not a folder",
            "name one with photographs for the canaries; see docs/retention-probe.md",
        )
    return f"every night at {at:%H:%M}"


def _status_line(settings: Settings, trust: Trust, now: datetime) -> str:
    found, newest = trust.status_list(now), newest_seen(settings.gate.data_dir)
    if found is None:
        return "NOT usable: every card is refused"
    if newest is not None and found.issued_at < newest:
        return "OLDER than one seen before: every card is refused"
    if not found.is_fresh(now):
        return "NOT fresh: every card is refused"
    return "signed and readable"
