"""The first policy of a new site, and the deployment record of a demonstration.

A real deployment record is never made here: it needs assessors and approvals that no program has.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from enrollment.key_files import load_ed25519_private
from enrollment.site_layout import Layout
from gate.deployment import Approval, Assessment, AssessmentKind, DeploymentRecord, load_deployment
from gate.errors import ConfigError
from gate.policy import PolicyDocument, load_policy
from gate.signed_document import Bilingual, signature_path, write_signed
from gate.whole_file import PUBLIC, write_whole

DEMO_ZONE = "demo-lobby"
DEFAULT_GROUP = "staff"
FACE_DAYS = 180
_DEMO = "DEMO - not for production"


def zone_of(demo: bool) -> str:
    """Return the zone of a new site's first gate."""
    return DEMO_ZONE if demo else "main"


def write_first_policy(path: Path, *, demo: bool, now: datetime, key: Ed25519PrivateKey) -> None:
    """Write the policy a site starts with: card + PIN; a demo also shows the face lane."""
    purpose = Bilingual(
        ko="카드를 댄 사람이 카드 주인인지 확인하여 출입문을 엽니다",
        en="Opening the entrance for the card's owner",
    )
    controller = (
        Bilingual(ko="시연용 기관 (실제 사용 금지)", en=f"Demonstration site ({_DEMO})")
        if demo
        else Bilingual(ko="시설 관리 기관", en="Operator of this building")
    )
    document = PolicyDocument(
        type="consentgate.policy",
        version=1,
        demo=demo,
        issued=now,
        gate_zone=zone_of(demo),
        purpose=purpose,
        controller=controller,
        lanes=("pin", "face") if demo else ("pin",),
        access_groups=(DEFAULT_GROUP,),
        face_expires=now + timedelta(days=FACE_DAYS) if demo else None,
        pin_max_tries=3,
    )
    write_signed(path, document, key)


def write_demo_deployment(path: Path, *, now: datetime, key: Ed25519PrivateKey) -> None:
    """Write the deployment record of a demonstration, refused outside demo mode."""
    report = hashlib.sha256(_DEMO.encode()).hexdigest()
    document = DeploymentRecord(
        type="consentgate.deployment",
        version=1,
        demo=True,
        issued=now,
        operator=f"Demonstration operator ({_DEMO})",
        zones=(DEMO_ZONE,),
        legal_basis=Bilingual(ko="시연: 법적 근거 없음", en=f"None: {_DEMO}"),
        legal_reference=_DEMO,
        impact_assessments=tuple(
            Assessment(
                kind=kind,
                assessor=f"Demonstration assessor ({_DEMO})",
                assessed_on=now.date(),
                document_sha256=report,
            )
            for kind in AssessmentKind
        ),
        approvals=(Approval(role=f"Demonstration owner ({_DEMO})", approved_on=now.date()),),
        expires=now + timedelta(days=FACE_DAYS),
    )
    write_signed(path, document, key)


def sign_document(layout: Layout, path: Path, now: datetime, *, demo: bool) -> Path:
    """Sign a policy or deployment record that people wrote, if it would load.

    Args:
        layout: of the site whose authority signs.
        path: the JSON file; its signature is written beside it.
        now: aware.
        demo: whether the site is a demonstration.

    Raises:
        ConfigError: unreadable, or it would be refused by a gate.
    """
    key = load_ed25519_private(layout.authority_key, "authority key")
    try:
        raw = path.read_bytes()
        signature = signature_path(path)
        before = signature.read_bytes() if signature.exists() else None
        write_whole(signature, key.sign(raw), PUBLIC)
    except OSError as error:
        raise ConfigError(
            f"{path.name}: cannot be signed ({error.strerror})", "check path and permissions"
        ) from None
    try:
        if b'"consentgate.deployment"' in raw:
            load_deployment(path, key.public_key(), now, demo=demo)
        else:
            load_policy(path, key.public_key(), now, demo=demo)
    except ConfigError:
        # What a gate would refuse must not lie around signed.
        if before is None:
            signature.unlink()
        else:
            write_whole(signature, before, PUBLIC)
        raise
    return path
