"""The only place that builds real or simulated devices into one lane.

`assemble` is what `gate run`, `gate check-config` (partly) and the demo share, so the demo walks
the real path: OSDP over a serial device, a card over an antenna, a verifier process, a key agent
process and a durable log.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from firmware_bridge.antenna import AntennaServer
from firmware_bridge.osdp_key import load_key
from firmware_bridge.osdp_turnstile import OsdpTurnstile
from firmware_bridge.ports import ApduChannel
from gate.card.reader import ReaderIdentity, Trust, card_stands, read_card
from gate.card.verified import CardRefusal, Consent, Refused, VerifiedCard
from gate.changes import Changes, fingerprint
from gate.console.live import LiveView
from gate.deployment import DeploymentRecord, load_deployment
from gate.errors import ConfigError
from gate.host_conditions import HostConditions, host_conditions
from gate.isolation import enforce, find_out
from gate.key_plan import supervised
from gate.key_supervision import SupervisedKeyAgent
from gate.ledger import keys as ledger_keys
from gate.ledger.checkpoint import Signer
from gate.ledger.record import AdminAct, HostSeen, Mode, Pack, Record, SelfTested, Started, Stopped
from gate.ledger.store import Ledger
from gate.passage.face_leg import View
from gate.passage.lane import Lane
from gate.passage.ports import VerifierSource
from gate.passage.report import PassageReport
from gate.passage.runner import Runner
from gate.passage.session import DEADLINE_MS, State
from gate.policy import FaceMode, Policy, face_mode, load_policy
from gate.rules import RulesInForce
from gate.settings import Settings
from gate.signed_document import load_authority
from gate.verifier.pool import VerifierPool
from gate.witnesses import witnesses_of
from models.manifest import pack_spec
from models.types import Zone
from models.verified import verify_pack

DEMO_MARK = b"DEMO"
"""Stands in every key file of a demo site."""


@dataclass(frozen=True)
class Documents:
    """Everything that is read before a process starts, checked."""

    policy: Policy
    deployment: DeploymentRecord | None
    reader: ReaderIdentity
    trust: Trust
    signer: Signer
    door_key: bytes

    def face_mode(self, now: datetime) -> FaceMode:
        """Whether the face lane may run now."""
        return face_mode(self.policy, self.deployment, now)


def load_documents(settings: Settings, now: datetime) -> Documents:
    """Read and check keys, certificates and signed documents.

    Raises:
        ConfigError, DeviceFault, LedgerFault, ModelFault: the first thing that does not fit.
    """
    demo = settings.gate.mode == "demo"
    spec = pack_spec(settings.models.pack)
    if not demo and not spec.for_production:
        raise ConfigError(
            f"the model pack '{spec.name}' is not for production", 'set [models] pack = "edge"'
        )
    _refuse_demo_keys(settings, demo)
    authority = load_authority(settings.policy.authority)
    card = settings.card
    documents = Documents(
        policy=load_policy(settings.policy.policy, authority, now, demo=demo),
        deployment=None
        if settings.policy.deployment is None
        else load_deployment(settings.policy.deployment, authority, now, demo=demo),
        reader=ReaderIdentity.load(card.reader_key, card.reader_cert),
        trust=Trust.load(card.issuer_roots, card.status_signer, card.status_list, card.doc_type),
        signer=ledger_keys.load(settings.ledger.signer),
        door_key=load_key(settings.turnstile.key_file),
    )
    if not demo and (documents.reader.is_demo or documents.trust.is_demo):
        raise ConfigError(
            "a certificate of a demo site is configured",
            "use this site's own reader and issuer certificates",
        )
    if documents.policy.gate_zone != settings.gate.zone:
        raise ConfigError(
            f"the policy is for zone {documents.policy.gate_zone}, [gate] zone is "
            f"{settings.gate.zone}",
            "put this zone's policy in place, or correct [gate] zone",
        )
    certificate = documents.reader.certificate
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not first <= now <= last:
        raise ConfigError(
            f"the reader certificate is valid from {first:%Y-%m-%d} to {last:%Y-%m-%d} only",
            "renew it, or set this machine's clock; phones answer no other reader",
        )
    verify_pack(settings.models.dir, settings.models.pack)
    return documents


@dataclass
class Assembly:
    """One gate with everything running but its loop. Use `assemble`."""

    settings: Settings
    documents: Documents
    runner: Runner
    live: LiveView
    ledger: Ledger
    turnstile: OsdpTurnstile
    verifiers: VerifierSource
    keys: SupervisedKeyAgent
    rules: RulesInForce
    host: HostConditions
    tested: SelfTested
    """Both as the log says them at the start."""

    @property
    def pids(self) -> dict[str, int]:
        """Processes of this gate that outlive a passage."""
        return {"gate": os.getpid(), "key agent": self.keys.pid}


def verifier_pool(settings: Settings) -> VerifierSource:
    """Return the verifiers of a gate: one process for one passage, spares waiting."""
    return VerifierPool(settings.models.pack, settings.models.dir, spares=settings.models.spares)


@contextlib.contextmanager
def assemble(
    settings: Settings,
    *,
    deadline_ms: Mapping[State, int | None] = DEADLINE_MS,
    on_passage: Callable[[PassageReport], None] = lambda _report: None,
    utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
    random_bytes: Callable[[int], bytes] = os.urandom,
    verifiers_of: Callable[[Settings], VerifierSource] = verifier_pool,
) -> Iterator[Assembly]:
    """Build one gate and take it down again, in the order that keeps the door shut.

    The log is opened first and closed last. `Started` is durable before any device is touched.
    Only the retention probe gives other verifiers, to show what a careless design leaves behind.

    Raises:
        ConfigError, DeviceFault, LedgerFault, ModelFault, KeyAgentFault: no start.
    """
    documents = load_documents(settings, utc_now())
    with contextlib.ExitStack() as stack:
        settings.gate.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.ledger.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        ledger = Ledger.open(settings.ledger.path, documents.signer, documents.signer.name)
        stack.callback(ledger.close)
        changes = Changes(settings.gate.data_dir, log_is_new=ledger.size() == 0)
        rules = RulesInForce(
            settings,
            load_authority(settings.policy.authority),
            documents.trust,
            changes,
            utc_now(),
            on_policy=lambda policy: live.tell_purpose(_purpose(policy)),
        )
        keys = supervised(settings)
        stack.callback(keys.close)
        verifiers = verifiers_of(settings)
        verifiers.start()
        stack.callback(verifiers.close)
        production = settings.gate.mode == "production"
        isolation = find_out(verifiers, settings.camera.source, production=production)
        sandbox_ok = isolation.broken is None
        ledger.append(_started(settings, rules.policy, sandbox_ok=sandbox_ok), utc_now())
        ledger.append(isolation.record, utc_now())
        enforce(
            isolation,
            verifiers,
            production=production,
            before_refusal=lambda: ledger.append(Stopped(clean=True), utc_now()),
        )
        host = host_conditions()
        ledger.append(HostSeen(**vars(host)), utc_now())
        _record_changes(changes, ledger, utc_now, settings, documents, keys, rules)
        witnesses = witnesses_of(settings, ledger, documents.signer.vkey, utc_now, random_bytes)
        stack.callback(witnesses.close)
        witnesses.start()
        turnstile = OsdpTurnstile(
            str(settings.turnstile.port),
            documents.door_key,
            baud=settings.turnstile.baud,
            address=settings.turnstile.address,
            random_bytes=random_bytes,
        )
        stack.callback(turnstile.close)
        antenna = AntennaServer(Path(settings.card.reader.removeprefix("socket:")))
        stack.callback(antenna.close)

        def card_checks(channel: ApduChannel, now: datetime) -> VerifiedCard | Refused:
            rules.refresh_status(now)
            return read_card(channel, documents.reader, rules.trust, now, random_bytes)

        def still_stands(card: VerifiedCard, now: datetime) -> Consent | CardRefusal:
            rules.refresh_status(now)
            return card_stands(card, rules.trust, now)

        live = LiveView(
            gate_id=settings.gate.id,
            purpose=_purpose(rules.policy),
            turnstile=turnstile.status,
            health=lambda: [*runner.health(), *witnesses.health()],
            on_pin_lane=lambda: runner.choose_pin_lane(),
            on_leave=lambda: runner.leave(),
        )
        lane = Lane(
            reader=antenna,
            card_checks=card_checks,
            card_stands=still_stands,
            verifiers=verifiers,
            keys=keys,
            turnstile=turnstile,
            log=ledger,
            kiosk=live,
            rules=rules,
            view=View(settings.camera.source, Zone(*settings.camera.zone), settings.camera.look_ms),
            pulse_ms=settings.turnstile.pulse_ms,
            deadline_ms=deadline_ms,
        )
        runner = Runner(lane, on_passage=on_passage, utc_now=utc_now, random_bytes=random_bytes)
        yield Assembly(
            settings,
            documents,
            runner,
            live,
            ledger,
            turnstile,
            verifiers,
            keys,
            rules,
            host,
            isolation.record,
        )


def _started(settings: Settings, policy: Policy, *, sandbox_ok: bool) -> Started:
    return Started(
        mode=Mode(settings.gate.mode),
        pack=Pack(settings.models.pack),
        policy=policy.sha256,
        sandbox_ok=sandbox_ok,
        key_agent_ok=True,
    )


def _record_changes(
    changes: Changes,
    ledger: Ledger,
    utc_now: Callable[[], datetime],
    settings: Settings,
    documents: Documents,
    keys: SupervisedKeyAgent,
    rules: RulesInForce,
) -> None:
    """Let the log speak of everything that is another thing than at the last start."""

    def append(record: Record) -> bool:
        ledger.append(record, utc_now())
        return True

    models = (f"{spec.name} {spec.sha256}" for spec in pack_spec(settings.models.pack).files)
    found = {
        AdminAct.SETTINGS_CHANGED: fingerprint(settings.model_dump_json().encode()),
        AdminAct.TEMPLATE_KEYS_CHANGED: fingerprint(*sorted(keys.kids)),
        AdminAct.DOOR_KEY_CHANGED: fingerprint(b"consentgate door key", documents.door_key),
        AdminAct.MODELS_CHANGED: fingerprint("\n".join(sorted(models)).encode()),
    }
    changes.record({**found, **rules.fingerprints()}, append)


def _purpose(policy: Policy) -> tuple[str, str]:
    (who_ko, who_en), (why_ko, why_en) = policy.controller, policy.purpose
    return f"{who_ko} · {why_ko}", f"{who_en} · {why_en}"


def _refuse_demo_keys(settings: Settings, demo: bool) -> None:
    # Not the template keys: only the key agent reads those, and it refuses a demo's itself.
    if demo:
        return
    named = (
        settings.ledger.signer,
        settings.turnstile.key_file,
        settings.card.reader_key,
        settings.policy.authority,
    )
    for path in named:
        try:
            marked = DEMO_MARK in path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be read: {error.strerror}", "check the path"
            ) from None
        if marked:
            raise ConfigError(f"{path} is a demo key", "make this site's own keys")
