"""The gate.toml of a new site. Paths in it count from the file's own folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from enrollment.site_documents import zone_of
from enrollment.site_layout import Layout


@dataclass(frozen=True)
class Devices:
    """What is connected to the gate, as gate.settings names it."""

    pack: str = "edge"
    pack_folder: Path = Path("/var/lib/consentgate/models/packs/edge")
    camera: str = "v4l2:0"
    turnstile_port: Path = Path("/dev/serial/by-id/turnstile")
    baud: int = 115200
    address: int = 0
    pulse_ms: int = 500
    reader: str = "socket:antenna.sock"
    kiosk_port: int = 8443


def gate_toml(layout: Layout, gate_id: str, *, demo: bool, devices: Devices) -> str:
    """Return the text of gate.toml."""

    def quoted(value: object) -> str:
        return json.dumps(str(value), ensure_ascii=False)  # a JSON string is a TOML basic string

    def own(path: Path) -> str:
        return quoted(path.relative_to(layout.gate))

    deployment = f"deployment = {own(layout.deployment)}" if demo else NO_DEPLOYMENT
    return f"""\
# One gate of ConsentGate. Relative paths count from the folder of this file.
# Check it: gate check-config --config gate.toml

[gate]
id = {quoted(gate_id)}
zone = {quoted(zone_of(demo))}
mode = {quoted("demo" if demo else "production")}
data_dir = "data"

[models]
pack = {quoted(devices.pack)}
dir = {quoted(devices.pack_folder)}

[camera]
source = {quoted(devices.camera)}
zone = [0.0, 0.0, 1.0, 1.0]  # left, top, right, bottom; nothing outside is processed

[turnstile]
driver = "osdp"
port = {quoted(devices.turnstile_port)}
baud = {devices.baud}
address = {devices.address}
key_file = {own(layout.door_key)}
pulse_ms = {devices.pulse_ms}

[card]
reader = {quoted(devices.reader)}
reader_key = {own(layout.reader_key)}
reader_cert = {own(layout.reader_cert)}
issuer_roots = {own(layout.issuer_roots)}
status_signer = {own(layout.status_signer)}
status_list = {own(layout.status_list)}

[keys]
template_keys = [{own(layout.template_key)}]

[policy]
policy = {own(layout.policy)}
authority = {own(layout.authority_public)}
{deployment}

[ledger]
path = "data/ledger.db"
signer = {own(layout.ledger_key)}

[kiosk]
host = "127.0.0.1"
port = {devices.kiosk_port}
"""


NO_DEPLOYMENT = """\
# Faces stay off until a signed deployment record is named here: legal basis, assessments by an
# independent body, approvals, expiry.
# deployment = "deployment.json\""""
