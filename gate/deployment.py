"""The deployment record: law and assessment come before the first face.

Face mode does not start without this signed document (PRODUCT.md, promise 8). It says under
which law the site verifies faces, who assessed the impact on human rights and on data protection
before installation, who approved, and until when.
"""

from __future__ import annotations

from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import AwareDatetime, Field, model_validator

from gate.signed_document import Bilingual, Line, SignedDocument, Strict, read_signed


class AssessmentKind(Enum):
    """Both are needed before a start."""

    HUMAN_RIGHTS = "human_rights"
    """As the National Human Rights Commission of Korea advised in January 2023."""
    DATA_PROTECTION = "data_protection"
    """GDPR Art. 35; Korea PIPA Art. 33."""


class Assessment(Strict):
    """One finished impact assessment."""

    kind: AssessmentKind
    assessor: Line
    """The body that assessed; never the operator itself."""
    assessed_on: date
    document_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of the published report, so that everyone can check which one is meant."""


class Approval(Strict):
    """Who took responsibility, by role."""

    role: Line
    approved_on: date


class DeploymentRecord(SignedDocument):
    """The record as signed."""

    type: Literal["consentgate.deployment"]
    operator: Line
    zones: Annotated[tuple[Line, ...], Field(min_length=1)]
    legal_basis: Bilingual
    legal_reference: Line
    """The provision, as a lawyer cites it."""
    impact_assessments: Annotated[tuple[Assessment, ...], Field(min_length=1)]
    approvals: Annotated[tuple[Approval, ...], Field(min_length=1)]
    expires: AwareDatetime

    @model_validator(mode="after")
    def _independent_and_complete(self) -> DeploymentRecord:
        missing = set(AssessmentKind) - {a.kind for a in self.impact_assessments}
        if missing:
            names = ", ".join(sorted(kind.value for kind in missing))
            raise ValueError(f"no impact assessment of kind {names}")
        for assessment in self.impact_assessments:
            if _same_body(assessment.assessor, self.operator):
                raise ValueError("the assessor is the operator; an independent body must assess")
            if assessment.assessed_on > self.issued.date():
                raise ValueError("an assessment is dated after the record")
        if self.expires <= self.issued:
            raise ValueError("expires before it is issued")
        return self


def load_deployment(
    path: Path, authority: Ed25519PublicKey, now: datetime, *, demo: bool
) -> DeploymentRecord:
    """Return the verified deployment record. An expired one loads; it only turns face off.

    Raises:
        ConfigError: see gate.signed_document.read_signed.
    """
    record, _ = read_signed(path, DeploymentRecord, authority, now, demo=demo)
    return record


def _same_body(a: str, b: str) -> bool:
    return "".join(a.split()).casefold() == "".join(b.split()).casefold()
