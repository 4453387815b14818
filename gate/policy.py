"""The gate's signed policy, and whether it allows the face lane right now."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import AwareDatetime, Field, model_validator

from gate.deployment import DeploymentRecord
from gate.passage.decision import Lane
from gate.signed_document import Bilingual, Line, SignedDocument, read_signed


class PolicyDocument(SignedDocument):
    """The policy as signed. One per gate zone."""

    type: Literal["consentgate.policy"]
    gate_zone: Line
    purpose: Bilingual
    controller: Bilingual
    """Who is responsible for the data, in words for the person in front of the gate."""
    lanes: Annotated[tuple[Literal["pin", "face"], ...], Field(min_length=1)]
    access_groups: Annotated[tuple[Line, ...], Field(min_length=1)]
    """A card passes when it carries at least one of these."""
    face_expires: AwareDatetime | None
    """When the face lane ends unless renewed; None for a zone without it."""
    pin_max_tries: Annotated[int, Field(ge=1, le=10)]

    @model_validator(mode="after")
    def _equal_lane(self) -> PolicyDocument:
        if "pin" not in self.lanes:
            raise ValueError("lanes must contain pin: nobody is made to use a face")
        if len(set(self.lanes)) != len(self.lanes):
            raise ValueError("a lane is named twice")
        if ("face" in self.lanes) != (self.face_expires is not None):
            raise ValueError("face_expires must be given exactly when lanes contain face")
        return self


@dataclass(frozen=True)
class Policy:
    """A policy whose signature was verified.

    `sha256` is the lower-case hex hash of the signed file, as the ledger records it.
    """

    document: PolicyDocument
    sha256: str

    @property
    def gate_zone(self) -> str:
        """The zone that this gate leads to."""
        return self.document.gate_zone

    @property
    def purpose(self) -> tuple[str, str]:
        """What for, Korean then English."""
        return self.document.purpose.ko, self.document.purpose.en

    @property
    def controller(self) -> tuple[str, str]:
        """Who asks, Korean then English."""
        return self.document.controller.ko, self.document.controller.en

    @property
    def lanes(self) -> frozenset[Lane]:
        """The lanes of this zone; PIN is always one."""
        return frozenset(Lane(name) for name in self.document.lanes)

    @property
    def pin_max_tries(self) -> int:
        """Wrong PINs until the card's PIN lane is locked."""
        return self.document.pin_max_tries

    @property
    def access_groups(self) -> frozenset[str]:
        """The groups that pass here."""
        return frozenset(self.document.access_groups)

    @property
    def demo(self) -> bool:
        """Whether this is a demo document."""
        return self.document.demo

    def allows(self, access_groups: Sequence[str]) -> bool:
        """Tell whether a card with these groups may pass here."""
        return not self.access_groups.isdisjoint(access_groups)


class FaceReason(Enum):
    """Why the face lane is on or off. For the start-up log and the admin page."""

    ON = "on"
    NOT_IN_POLICY = "not_in_policy"
    POLICY_EXPIRED = "policy_expired"
    NO_DEPLOYMENT_RECORD = "no_deployment_record"
    DEPLOYMENT_EXPIRED = "deployment_expired"
    DEPLOYMENT_OTHER_ZONE = "deployment_other_zone"


_LINES = {
    FaceReason.ON: "face lane on until {until:%Y-%m-%d}",
    FaceReason.NOT_IN_POLICY: "face lane off: the policy of this zone is card + PIN",
    FaceReason.POLICY_EXPIRED: "face lane off: the policy's face_expires has passed; "
    "renew the policy, cards keep working",
    FaceReason.NO_DEPLOYMENT_RECORD: "face lane off: no signed deployment record; "
    "finish the assessments and approvals first, cards keep working",
    FaceReason.DEPLOYMENT_EXPIRED: "face lane off: the deployment record has expired; "
    "have it assessed and signed again, cards keep working",
    FaceReason.DEPLOYMENT_OTHER_ZONE: "face lane off: the deployment record is for other zones; "
    "have this zone assessed, cards keep working",
}


@dataclass(frozen=True)
class FaceMode:
    """Whether faces may be verified here now. Cards with PIN work either way."""

    reason: FaceReason
    until: datetime | None = None
    """When it turns off by itself; None when off."""

    @property
    def on(self) -> bool:
        """Whether the face lane is open."""
        return self.reason is FaceReason.ON

    @property
    def line(self) -> str:
        """One line for the start-up log and the admin."""
        return _LINES[self.reason].format(until=self.until)


def load_policy(path: Path, authority: Ed25519PublicKey, now: datetime, *, demo: bool) -> Policy:
    """Return the verified policy. An expired face lane loads; it only turns face off.

    Raises:
        ConfigError: see gate.signed_document.read_signed.
    """
    document, raw = read_signed(path, PolicyDocument, authority, now, demo=demo)
    return Policy(document, hashlib.sha256(raw).hexdigest())


def face_mode(policy: Policy, deployment: DeploymentRecord | None, now: datetime) -> FaceMode:
    """Decide whether the face lane is open. Pure; ask again before each passage."""
    face_expires = policy.document.face_expires
    if face_expires is None:
        return FaceMode(FaceReason.NOT_IN_POLICY)
    if now >= face_expires:
        return FaceMode(FaceReason.POLICY_EXPIRED)
    if deployment is None:
        return FaceMode(FaceReason.NO_DEPLOYMENT_RECORD)
    if now >= deployment.expires:
        return FaceMode(FaceReason.DEPLOYMENT_EXPIRED)
    if policy.gate_zone not in deployment.zones:
        return FaceMode(FaceReason.DEPLOYMENT_OTHER_ZONE)
    return FaceMode(FaceReason.ON, min(face_expires, deployment.expires))
