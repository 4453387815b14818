"""What rules this gate now: policy, deployment record, trusted issuers, status list.

Each is replaced by a newer edition of its file between two passages, without a restart. The log
says so first: an edition whose record is not durable does not come into force. Keys, settings and
models are taken at the start only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gate.card.reader import CERTIFICATES_MAX_BYTES, Trust
from gate.changes import Changes, fingerprint
from gate.deployment import DeploymentRecord
from gate.editions import Edition, Editions
from gate.errors import ConfigError
from gate.ledger.record import AdminAct, PolicyChanged, Record
from gate.policy import FaceMode, Policy, PolicyDocument, face_mode
from gate.settings import Settings
from gate.signed_document import read_signed
from gate.status_refresh import StatusRefresh
from gate.watched import Watched
from gate.whole_file import read_whole

POLICY_MEMORY = "policy.newest"
DEPLOYMENT_MEMORY = "deployment.newest"
"""Files in data_dir, see gate.editions."""

Append = Callable[[Record], bool]


class RulesInForce:
    """The rules of one gate. A gate.passage.ports.Rules.

    Args:
        settings: where the files are.
        authority: the site authority's key; another one needs a restart.
        trust: the issuers as loaded at the start.
        changes: what the log spoke of.
        now: the gate's clock.
        on_policy: told of each policy that comes into force later.

    Raises:
        ConfigError: a document does not verify, or is older than one that was in force.
    """

    def __init__(
        self,
        settings: Settings,
        authority: Ed25519PublicKey,
        trust: Trust,
        changes: Changes,
        now: datetime,
        on_policy: Callable[[Policy], None],
    ) -> None:
        self._settings = settings
        self._authority = authority
        self._demo = settings.gate.mode == "demo"
        self._data_dir = settings.gate.data_dir
        self._changes = changes
        self._on_policy = on_policy
        self._policy = Editions(
            settings.policy.policy, self._read_policy, self._data_dir / POLICY_MEMORY, now
        )
        self._deployment: Editions[DeploymentRecord] | None = None
        if (path := settings.policy.deployment) is not None:
            memory = self._data_dir / DEPLOYMENT_MEMORY
            self._deployment = Editions(path, self._read_deployment, memory, now)
        card = settings.card
        self._issuers = Watched((card.issuer_roots, card.status_signer))
        self._issuers_sha256 = self._hash_issuers()
        self.trust = trust
        self._status = StatusRefresh(card.status_list, trust, self._data_dir, now)

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._policy.current.document

    def face_mode(self, now: datetime) -> FaceMode:
        """Whether the face lane may run now."""
        record = None if self._deployment is None else self._deployment.current.document
        return face_mode(self.policy, record, now)

    def status_is_fresh(self, now: datetime) -> bool:
        """Whether the status list in use may be relied on."""
        found = self.trust.status_list(now)
        return found is not None and found.is_fresh(now)

    def refresh_status(self, now: datetime) -> None:
        """Take a newer status list into use. Never raises."""
        self._status.refresh(now)

    def fingerprints(self) -> Mapping[AdminAct, str]:
        """What is in force, as gate.changes compares it. The policy has a record of its own."""
        deployment = "" if self._deployment is None else self._deployment.current.sha256
        return {
            AdminAct.DEPLOYMENT_REPLACED: fingerprint(deployment.encode()),
            AdminAct.TRUST_REPLACED: self._issuers_sha256,
            AdminAct.STATUS_LIST_REPLACED: self._status_sha256(),
        }

    def renew(self, now: datetime, append: Append) -> None:
        """Take newer editions into force, each behind its record. Between passages only."""
        self._renew_policy(now, append)
        self._renew_deployment(now, append)
        self._renew_issuers(now, append)
        self._status.refresh(now)
        self._changes.record({AdminAct.STATUS_LIST_REPLACED: self._status_sha256()}, append)

    def _renew_policy(self, now: datetime, append: Append) -> None:
        found = self._policy.newer(now)
        if found is None:
            return
        if found.document.gate_zone != self.policy.gate_zone:
            self._policy.refuse(
                f"is for zone {found.document.gate_zone}, not {self.policy.gate_zone},",
                "put this zone's policy in place; a new zone also needs [gate] zone, restart",
            )
        elif append(PolicyChanged(found.sha256)):
            self._policy.take(found)
            self._on_policy(found.document)

    def _renew_deployment(self, now: datetime, append: Append) -> None:
        found = None if self._deployment is None else self._deployment.newer(now)
        if self._deployment is None or found is None:
            return
        sha256 = fingerprint(found.sha256.encode())
        if self._changes.record({AdminAct.DEPLOYMENT_REPLACED: sha256}, append):
            self._deployment.take(found)

    def _renew_issuers(self, now: datetime, append: Append) -> None:
        if not self._issuers.changed():
            return
        card = self._settings.card
        try:
            sha256 = self._hash_issuers()
            trust = Trust.load(
                card.issuer_roots, card.status_signer, card.status_list, card.doc_type
            )
            if trust.is_demo and not self._demo:
                raise ConfigError(
                    "a trusted certificate is of a demo site", "use this site's own issuers"
                )
            if sha256 == self._issuers_sha256:
                self._issuers.judged()
                return
            status = StatusRefresh(card.status_list, trust, self._data_dir, now)
        except ConfigError as fault:
            line = f"{fault.diagnostics()}; the issuers trusted so far stay"
            self._issuers.doubtful(now, line)
            return
        if self._changes.record({AdminAct.TRUST_REPLACED: sha256}, append):
            self._issuers.judged()
            self.trust, self._status, self._issuers_sha256 = trust, status, sha256

    def _hash_issuers(self) -> str:
        card, paths = self._settings.card, []
        for path in (card.issuer_roots, card.status_signer, self._settings.policy.authority):
            try:
                paths.append(read_whole(path, CERTIFICATES_MAX_BYTES))
            except OSError as error:
                raise ConfigError(
                    f"{path} cannot be read: {error.strerror}", "check the path"
                ) from None
        return fingerprint(*paths)

    def _status_sha256(self) -> str:
        return fingerprint(self.trust.status or b"")

    def _read_policy(self, now: datetime) -> Edition[Policy]:
        document, raw = read_signed(
            self._settings.policy.policy, PolicyDocument, self._authority, now, demo=self._demo
        )
        sha256 = hashlib.sha256(raw).hexdigest()
        return Edition(Policy(document, sha256), document.issued, sha256)

    def _read_deployment(self, now: datetime) -> Edition[DeploymentRecord]:
        path = self._settings.policy.deployment
        assert path is not None
        document, raw = read_signed(path, DeploymentRecord, self._authority, now, demo=self._demo)
        return Edition(document, document.issued, hashlib.sha256(raw).hexdigest())
