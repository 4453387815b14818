"""One site: who decides, who issues, what its gate needs. Made once, then loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import AwareDatetime, ValidationError

from enrollment import pki, site_documents
from enrollment.gate_config import Devices, gate_toml
from enrollment.key_files import (
    DEMO_LINE,
    load_ed25519_private,
    load_p256_private,
    load_p256_public,
    save_certificate,
    save_private,
    save_public,
)
from enrollment.notice import Language, Notice, explain
from enrollment.private_files import make_private_folder, write_private
from enrollment.registry import Registry
from enrollment.site_layout import Layout
from enrollment.status_issuer import sign_status_list
from firmware_bridge.osdp_key import save_key
from gate.card import session
from gate.card.reader import load_certificates
from gate.deployment import DeploymentRecord, load_deployment
from gate.errors import ConfigError
from gate.ledger import checkpoint
from gate.ledger import keys as ledger_keys
from gate.policy import FaceMode, Policy, face_mode, load_policy
from gate.signed_document import Strict, load_authority
from models.manifest import pack_spec

RandomBytes = Callable[[int], bytes]

_GATE_ID = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
"""As gate.settings wants it."""
STATUS_DAYS = 30
"""How long gates may live on one status list: the days they must run offline."""


class Facts(Strict):
    """site.json: what kind of site this is."""

    version: int
    gate_id: str
    demo: bool
    created: AwareDatetime
    status_uri: str


@dataclass(frozen=True, repr=False)
class Site:
    """What the enrolment station works with. Holds signing keys, none that opens a template."""

    layout: Layout
    gate_id: str
    demo: bool
    status_uri: str
    policy: Policy
    deployment: DeploymentRecord | None
    document_signer: pki.DocumentSigner
    status_signer: pki.StatusSigner
    reader_roots: tuple[x509.Certificate, ...]
    template_public_key: ec.EllipticCurvePublicKey
    consent_key: Ed25519PrivateKey
    registry: Registry

    @property
    def is_demo(self) -> bool:
        """Whether this is a demonstration: its documents and keys are refused elsewhere."""
        return self.demo

    @property
    def config_path(self) -> Path:
        """The gate.toml for `gate run`."""
        return self.layout.gate_toml

    @property
    def consent_public_key(self) -> Ed25519PublicKey:
        """With it anyone can check a receipt."""
        return self.consent_key.public_key()

    def face_mode(self, now: datetime) -> FaceMode:
        """Whether faces may be enrolled and verified here now."""
        return face_mode(self.policy, self.deployment, now)

    def notice(self, language: Language, until: datetime) -> Notice:
        """The explanation for a person who is about to be asked."""
        return explain(language, self.policy.controller, self.policy.purpose, until)

    def publish_status(self, now: datetime) -> None:
        """Sign the status list anew and put it where the gate looks.

        Raises:
            ConfigError: the registry cannot be read, or the list cannot be written.
        """
        token = sign_status_list(
            self.registry.statuses(),
            self.status_signer,
            self.status_uri,
            now,
            timedelta(days=STATUS_DAYS),
        )
        write_private(self.layout.status_list, token)


def create_site(
    folder: Path,
    *,
    demo: bool,
    gate_id: str,
    now: datetime,
    random_bytes: RandomBytes,
    devices: Devices | None = None,
) -> Site:
    """Make every key, certificate and document of a new site, and its gate.toml.

    A real site starts with card + PIN: its face lane needs a policy and a deployment record that
    people sign. A demo comes with both, marked.

    Args:
        folder: new or empty.
        demo: mark everything as a demonstration.
        gate_id: lower case letters, digits, dots and hyphens.
        now: aware.
        random_bytes: cryptographic randomness.
        devices: what is connected to the gate.

    Raises:
        ConfigError: the folder is in use or cannot be written, or a real site would get models
            that are not for production.
        ModelFault: there is no such model pack.
        DeviceFault: the door's key file cannot be written.
    """
    layout = Layout(folder.absolute())
    now = now.astimezone(UTC).replace(microsecond=0)
    if not _GATE_ID.fullmatch(gate_id):
        raise ConfigError(
            "that is no gate id", "use lower case letters, digits, dots and hyphens, at most 63"
        )
    spec = pack_spec((devices or Devices()).pack)
    if not demo and not spec.for_production:
        raise ConfigError(
            f"the model pack '{spec.name}' is not for production",
            "use --pack edge, or --demo for a demonstration",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not an empty folder", "a site is never overwritten")
    for part in (layout.folder, layout.authority, layout.issuer, layout.gate):
        make_private_folder(part)
    _make_certificates(layout, gate_id, demo, now, random_bytes)
    _make_keys(layout, gate_id, demo, random_bytes)
    authority = load_ed25519_private(layout.authority_key, "authority key")
    site_documents.write_first_policy(layout.policy, demo=demo, now=now, key=authority)
    if demo:
        site_documents.write_demo_deployment(layout.deployment, now=now, key=authority)
    Registry.create(layout.registry)
    text = gate_toml(layout, gate_id, demo=demo, devices=devices or Devices())
    write_private(layout.gate_toml, text.encode())
    facts = {
        "version": 1,
        "gate_id": gate_id,
        "demo": demo,
        "created": now.isoformat(),
        # Only a name: gates get the list as a file.
        "status_uri": f"https://status.example/{random_bytes(8).hex()}",
    }
    write_private(layout.facts, json.dumps(facts, indent=2).encode() + b"\n")
    site = load_site(folder, now=now)
    site.publish_status(now)
    return site


def load_site(folder: Path, *, now: datetime) -> Site:
    """Return a site that create_site made.

    Raises:
        ConfigError: something is missing, open to others, or not what was signed.
    """
    layout = Layout(folder.absolute())
    facts = load_facts(layout)
    authority = load_authority(layout.authority_public)
    policy = load_policy(layout.policy, authority, now, demo=facts.demo)
    deployment = None
    if layout.deployment.exists():
        deployment = load_deployment(layout.deployment, authority, now, demo=facts.demo)
    return Site(
        layout=layout,
        gate_id=facts.gate_id,
        demo=facts.demo,
        status_uri=facts.status_uri,
        policy=policy,
        deployment=deployment,
        document_signer=pki.DocumentSigner(
            load_p256_private(layout.signer_key, "document signer key"),
            load_certificates(layout.signer_cert)[0],
        ),
        status_signer=pki.StatusSigner(
            load_p256_private(layout.status_key, "status signer key"),
            load_certificates(layout.status_signer)[0],
        ),
        reader_roots=tuple(load_certificates(layout.reader_ca_cert)),
        template_public_key=load_p256_public(layout.template_public, "template public key"),
        consent_key=load_ed25519_private(layout.consent_key, "consent key"),
        registry=Registry(layout.registry),
    )


def load_facts(layout: Layout) -> Facts:
    """Return what kind of site lies there.

    Raises:
        ConfigError: none does, or its site.json is damaged.
    """
    try:
        facts = Facts.model_validate_json(layout.facts.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"{layout.folder} is not a site ({error.strerror})",
            "make one with: enroll site create DIR",
        ) from None
    except ValidationError:
        raise ConfigError(f"{layout.facts} is damaged", "restore it from its backup") from None
    if facts.version != 1:
        raise ConfigError(f"{layout.facts} is of a newer version", "update this program")
    return facts


def _make_certificates(
    layout: Layout, gate_id: str, demo: bool, now: datetime, random_bytes: RandomBytes
) -> None:
    owner = pki.Site("ConsentGate" if demo else gate_id, demo=demo)
    iaca = pki.create_iaca(owner, now, random_bytes)
    save_private(layout.iaca_key, iaca.key, demo=demo)
    save_certificate(layout.issuer_roots, iaca.certificate)
    signer = pki.create_document_signer(iaca, now, random_bytes)
    save_private(layout.signer_key, signer.key, demo=demo)
    save_certificate(layout.signer_cert, signer.certificate)
    status = pki.create_status_signer(iaca, now, random_bytes)
    save_private(layout.status_key, status.key, demo=demo)
    save_certificate(layout.status_signer, status.certificate)
    reader_ca = pki.create_reader_authority(owner, now, random_bytes)
    save_private(layout.reader_ca_key, reader_ca.key, demo=demo)
    save_certificate(layout.reader_ca_cert, reader_ca.certificate)
    reader = pki.create_reader(reader_ca, gate_id, now, random_bytes)
    save_private(layout.reader_key, reader.key, demo=demo)
    save_certificate(layout.reader_cert, reader.certificate)


def _make_keys(layout: Layout, gate_id: str, demo: bool, random_bytes: RandomBytes) -> None:
    template = session.new_key(random_bytes)
    save_private(layout.template_key, template, demo=demo)
    save_public(layout.template_public, template.public_key(), demo=demo)
    authority = Ed25519PrivateKey.from_private_bytes(random_bytes(32))
    save_private(layout.authority_key, authority, demo=demo)
    save_public(layout.authority_public, authority.public_key(), demo=demo)
    consent = Ed25519PrivateKey.from_private_bytes(random_bytes(32))
    save_private(layout.consent_key, consent, demo=demo)
    save_public(layout.consent_public, consent.public_key(), demo=demo)
    origin = f"consentgate/{'DEMO/' if demo else ''}{gate_id}"
    ledger_keys.save(checkpoint.generate(origin, random_bytes), layout.ledger_key)
    save_key(layout.door_key, random_bytes(16), DEMO_LINE.decode().strip() if demo else "")
