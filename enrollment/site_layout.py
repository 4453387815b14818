"""Where the parts of a site lie.

Three folders because three parties will hold them: `authority` belongs to those who decide
(offline), `issuer` to the enrolment station, `gate` is all that one gate needs. A demo keeps them
side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """Every path below one site folder."""

    folder: Path

    @property
    def facts(self) -> Path:
        """What kind of site this is; no secret."""
        return self.folder / "site.json"

    # authority: decides
    @property
    def authority(self) -> Path:
        """Folder of the site authority."""
        return self.folder / "authority"

    @property
    def authority_key(self) -> Path:
        """Signs policy and deployment record (Ed25519)."""
        return self.authority / "authority.key"

    # issuer: enrols
    @property
    def issuer(self) -> Path:
        """Folder of the enrolment station."""
        return self.folder / "issuer"

    @property
    def iaca_key(self) -> Path:
        """Signs document signer certificates. Keep it offline in production."""
        return self.issuer / "iaca.key"

    @property
    def signer_key(self) -> Path:
        """Signs cards."""
        return self.issuer / "document-signer.key"

    @property
    def signer_cert(self) -> Path:
        """The document signer's certificate."""
        return self.issuer / "document-signer.pem"

    @property
    def status_key(self) -> Path:
        """Signs status lists."""
        return self.issuer / "status-signer.key"

    @property
    def reader_ca_key(self) -> Path:
        """Signs reader certificates."""
        return self.issuer / "reader-ca.key"

    @property
    def reader_ca_cert(self) -> Path:
        """What a wallet trusts before it answers a reader."""
        return self.issuer / "reader-ca.pem"

    @property
    def consent_key(self) -> Path:
        """Signs consent records (Ed25519)."""
        return self.issuer / "consent.key"

    @property
    def consent_public(self) -> Path:
        """Published, so that people can check their receipts."""
        return self.issuer / "consent.pub.pem"

    @property
    def template_public(self) -> Path:
        """Seals templates and PINs; opens nothing."""
        return self.issuer / "template.pub.pem"

    @property
    def registry(self) -> Path:
        """Credential id, status index, expiry, state."""
        return self.issuer / "registry.db"

    # gate: verifies
    @property
    def gate(self) -> Path:
        """Folder of one gate: copy it to the gate, and nothing else."""
        return self.folder / "gate"

    @property
    def gate_toml(self) -> Path:
        """Configuration for `gate run`."""
        return self.gate / "gate.toml"

    @property
    def issuer_roots(self) -> Path:
        """The IACA certificate."""
        return self.gate / "issuer-roots.pem"

    @property
    def status_signer(self) -> Path:
        """The certificate that the gate pins for status lists."""
        return self.gate / "status-signer.pem"

    @property
    def status_list(self) -> Path:
        """The signed status list, renewed by the issuer."""
        return self.gate / "status-list.cwt"

    @property
    def reader_key(self) -> Path:
        """The reader's key."""
        return self.gate / "reader.key"

    @property
    def reader_cert(self) -> Path:
        """The reader's certificate."""
        return self.gate / "reader.pem"

    @property
    def template_key(self) -> Path:
        """Opens templates; only the key agent reads it."""
        return self.gate / "template.key"

    @property
    def authority_public(self) -> Path:
        """Checks policy and deployment record."""
        return self.gate / "authority.pub.pem"

    @property
    def policy(self) -> Path:
        """The signed policy."""
        return self.gate / "policy.json"

    @property
    def deployment(self) -> Path:
        """The signed deployment record; absent until somebody answers for it."""
        return self.gate / "deployment.json"

    @property
    def ledger_key(self) -> Path:
        """Signs checkpoints of the log."""
        return self.gate / "ledger.key"

    @property
    def door_key(self) -> Path:
        """The turnstile's OSDP key, hexadecimal."""
        return self.gate / "osdp.key"
