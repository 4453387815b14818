"""`gate check-config`: read everything a start would read, and start nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from gate.host_conditions import host_conditions
from gate.settings import load_settings
from gate.wiring import load_documents


def check(config: Path) -> list[tuple[str, str]]:
    """Return one line for each part that was checked.

    Raises:
        ConfigError, DeviceFault, LedgerFault, ModelFault: the first thing that does not fit.
    """
    settings = load_settings(config)
    now = datetime.now(UTC)
    documents = load_documents(settings, now)
    host = host_conditions()
    status = documents.trust.status_list(now)
    return [
        ("gate", f"{settings.gate.id}, mode {settings.gate.mode}"),
        ("models", f"pack {settings.models.pack}, every file has its SHA-256"),
        ("policy", f"zone {documents.policy.gate_zone}, sha256 {documents.policy.sha256}"),
        ("face lane", documents.face_mode(now).line),
        ("status list", "signed and readable" if status else "NOT usable: every card is refused"),
        ("ledger key", documents.signer.vkey),
        ("turnstile", f"osdp on {settings.turnstile.port} at {settings.turnstile.baud} baud"),
        ("camera", settings.camera.source),
        (
            "host",
            ", ".join(f"{name} {'yes' if on else 'NO'}" for name, on in vars(host).items()),
        ),
    ]
