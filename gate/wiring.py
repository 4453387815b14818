"""The only place that builds real or simulated devices into one lane.

`assemble` is what `gate run`, `gate check-config` (partly) and the demo share, so the demo walks
the real path: OSDP over a serial device, a card over an antenna, a verifier process, a key agent
process and a durable log.
"""

from __future__ import annotations

import contextlib
import logging
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
from gate.console.live import LiveView
from gate.deployment import DeploymentRecord, load_deployment
from gate.errors import ConfigError, VerifierFault
from gate.host_conditions import host_conditions
from gate.key_plan import supervised
from gate.key_supervision import SupervisedKeyAgent
from gate.ledger import keys as ledger_keys
from gate.ledger.checkpoint import Signer
from gate.ledger.record import HostSeen, Mode, Pack, Started
from gate.ledger.store import Ledger
from gate.passage.face_leg import View
from gate.passage.ports import Verifiers, VerifierSource
from gate.passage.report import PassageReport
from gate.passage.runner import Lane, Runner
from gate.passage.session import DEADLINE_MS, State
from gate.policy import FaceMode, Policy, face_mode, load_policy
from gate.settings import Settings
from gate.signed_document import load_authority
from gate.status_refresh import StatusRefresh
from gate.verifier.pool import VerifierPool
from models.manifest import pack_spec
from models.types import Zone
from models.verified import verify_pack

_LOG = logging.getLogger(__name__)

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
        status = StatusRefresh(
            settings.card.status_list, documents.trust, settings.gate.data_dir, utc_now()
        )
        keys = supervised(settings)
        stack.callback(keys.close)
        verifiers = verifiers_of(settings)
        verifiers.start()
        stack.callback(verifiers.close)
        ledger.append(
            _started(settings, documents, sandbox_ok=_first_verifier(verifiers)), utc_now()
        )
        ledger.append(_host_seen(), utc_now())
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
            status.refresh(now)
            return read_card(channel, documents.reader, documents.trust, now, random_bytes)

        def still_stands(card: VerifiedCard, now: datetime) -> Consent | CardRefusal:
            status.refresh(now)
            return card_stands(card, documents.trust, now)

        live = LiveView(
            gate_id=settings.gate.id,
            purpose=_purpose(documents.policy),
            turnstile=turnstile.status,
            health=lambda: runner.health(),
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
            policy=documents.policy,
            face_mode=documents.face_mode,
            view=View(settings.camera.source, Zone(*settings.camera.zone), settings.camera.look_ms),
            pulse_ms=settings.turnstile.pulse_ms,
            deadline_ms=deadline_ms,
        )
        runner = Runner(lane, on_passage=on_passage, utc_now=utc_now, random_bytes=random_bytes)
        yield Assembly(settings, documents, runner, live, ledger, turnstile, verifiers, keys)


def _first_verifier(verifiers: Verifiers) -> bool:
    """Whether a verifier came up, which includes its sandbox. Without one the lane is card-only."""
    try:
        verifiers.wait_ready(timeout_s=30.0)
    except VerifierFault as fault:
        _LOG.warning("%s; cards with PIN keep working meanwhile", fault.diagnostics())
        return False
    return True


def _started(settings: Settings, documents: Documents, *, sandbox_ok: bool) -> Started:
    return Started(
        mode=Mode(settings.gate.mode),
        pack=Pack(settings.models.pack),
        policy=documents.policy.sha256,
        sandbox_ok=sandbox_ok,
        key_agent_ok=True,
    )


def _host_seen() -> HostSeen:
    host = host_conditions()
    return HostSeen(
        init_on_free=host.init_on_free,
        swap_off=host.swap_off,
        core_dumps_off=host.core_dumps_off,
        hibernation_off=host.hibernation_off,
    )


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
