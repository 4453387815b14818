"""Real verifiers that hang, die or are killed at a random moment of a passage.

Each time the passage ends with a denial or with the right answer, no dead process grants anything,
an incident is told, and the next passage works.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gate.card.verified import Consent, VerifiedCard
from gate.ledger.record import FaultCode
from gate.passage import events as ev
from gate.passage.decision import DenyReason
from gate.passage.face_leg import FaceLeg, View
from gate.passage.key_uses import KeyUses
from gate.template.agent_client import KeyAgent
from gate.template.biometric import make_template
from gate.template.context import SealContext
from gate.template.seal import seal
from gate.verifier.certificate import DeathCertificate
from gate.verifier.pool import VerifierPool
from gate.verifier.run import VerifierRun
from models.manifest import manifest
from models.pack import load_pack
from models.perceive import perceive
from models.types import Sighting, Zone

CACHE = Path(os.environ.get("GATE_CACHE_DIR", Path(__file__).parents[2] / ".cache/consentgate"))
PHOTOS = CACHE / "sample-photos"
PACK = "bootstrap"
PACK_DIR = CACHE / "packs" / PACK
SITE_KEY = ec.generate_private_key(ec.SECP256R1())
EXPIRY = datetime.now(UTC).replace(microsecond=0) + timedelta(days=300)
AUX = bytes(range(32))
CONSENT = b"consent"
SEED = int(os.environ.get("PYTEST_SEED", "20230125"))
WAIT_S = 60.0

pytestmark = pytest.mark.skipif(
    not all(
        (PACK_DIR / f.name).exists() for f in manifest().packs[PACK].files if f.role != "source"
    )
    or not (PHOTOS / "owner-1.jpg").exists(),
    reason="models or sample photographs are not fetched: run 'gate demo' once",
)


@dataclass
class Outcome:
    """What one passage posted, in order, and how its verifier ended."""

    events: list[ev.Event] = field(default_factory=list)
    certificate: DeathCertificate | None = None
    incident: FaultCode | None = None

    @property
    def last(self) -> ev.Event:
        return self.events[-1]


class Tracked(VerifierPool):
    """The real pool, that says which process it handed out."""

    taken: VerifierRun | None = None

    def take(self, timeout_s: float) -> VerifierRun:
        self.taken = super().take(timeout_s)
        return self.taken


@pytest.fixture(scope="module")
def pool() -> Iterator[Tracked]:
    pool = Tracked(PACK, PACK_DIR, spares=2)
    pool.start()
    pool.wait_ready(WAIT_S)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyAgent]:
    path = tmp_path_factory.mktemp("key") / "key.pem"
    path.write_bytes(SITE_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    agent = KeyAgent.start([path], per_minute=6000, burst=1000)
    yield agent
    agent.close()


@pytest.fixture(scope="module")
def template() -> bytes:
    pack = load_pack(PACK, PACK_DIR)
    frame = cv2.imread(str(PHOTOS / "owner-1.jpg"))
    assert frame is not None
    sighting = perceive(np.asarray(frame, np.uint8), pack, Zone())
    assert isinstance(sighting, Sighting)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    made = make_template(
        sighting.embedding,
        AUX,
        model_id=pack.model_id,
        pack_version=PACK,
        frames=1,
        quality=1.0,
        created=now,
    )
    return made.encode()


def card_with(template: bytes) -> VerifiedCard:
    number = os.urandom(16)
    model_id = manifest().packs[PACK].model_id
    context = SealContext.for_template(number, model_id, CONSENT, AUX, EXPIRY)
    return VerifiedCard(
        credential_id=number,
        access_groups=("staff",),
        expiry=EXPIRY,
        valid_until=EXPIRY,
        status_uri="https://status.example/1",
        status_index=7,
        consent=Consent.LIVE,
        sealed_template=seal(template, context, SITE_KEY.public_key()),
        template_aux=AUX,
        consent_record=CONSENT,
        pin_verifier=None,
        session_id=os.urandom(16),
    )


def walk(
    pool: Tracked, agent: KeyAgent, template: bytes, *, photo: str = "owner-2.jpg", look_ms: int
) -> Outcome:
    view = View(f"sim:{PHOTOS}/{photo}?fps=100", Zone(), look_ms)
    leg = FaceLeg(card_with(template), view, os.urandom(8), KeyUses())
    outcome = Outcome()
    pool.wait_ready(WAIT_S)
    outcome.certificate, outcome.incident = leg.run(
        pool, agent, outcome.events.append, lambda _name, _took_ms: None
    )
    return outcome


def hurt_later(pool: Tracked, number: signal.Signals, delay_s: float) -> threading.Thread:
    """Send one signal to the verifier of the passage that is about to begin."""
    pool.taken = None

    def hurt() -> None:
        while pool.taken is None:
            time.sleep(0.0002)
        time.sleep(delay_s)
        run = pool.taken
        with run._reaping:  # never a process id that was given to somebody else
            if run._process.returncode is None:
                os.kill(run.pid, number)

    thread = threading.Thread(target=hurt)
    thread.start()
    return thread


def right(outcome: Outcome) -> bool:
    return outcome.last == ev.FaceMatched()


def is_dead(certificate: DeathCertificate | None) -> bool:
    return certificate is not None and certificate.pages_left == 0


@pytest.mark.parametrize(
    ("number", "times"), [(signal.SIGKILL, 7), (signal.SIGSEGV, 3)], ids=["killed", "died"]
)
def test_killed_at_any_moment(
    pool: Tracked, agent: KeyAgent, template: bytes, number: signal.Signals, times: int
) -> None:
    chance = random.Random(SEED + number)
    whole = walk(pool, agent, template, look_ms=5_000)
    assert right(whole), whole
    assert whole.certificate is not None
    span_s = whole.certificate.lifetime_ms / 1000 * 1.2
    for _ in range(times):
        delay_s = chance.uniform(0, span_s)
        hurt = hurt_later(pool, number, delay_s)
        outcome = walk(pool, agent, template, look_ms=5_000)
        hurt.join()
        told = (delay_s, outcome)
        assert is_dead(outcome.certificate), told
        assert outcome.certificate is not None
        if outcome.certificate.exit_code == 0:
            assert right(outcome), told
            assert outcome.incident is None, told
        else:
            # A complete answer of before stands; otherwise it is a denial. An incident anyway.
            assert outcome.certificate.exit_code == -number, told
            assert outcome.incident is FaultCode.VERIFIER_KILLED, told
            assert right(outcome) or outcome.last == ev.FaceFailed(DenyReason.VERIFIER_FAULT), told
        assert sum(isinstance(e, ev.FaceMatched | ev.FaceFailed) for e in outcome.events) == 1
    after = walk(pool, agent, template, look_ms=5_000)
    assert right(after), after
    assert after.certificate is not None
    assert after.certificate.is_clean()


def test_a_killed_verifier_never_lets_a_stranger_in(
    pool: Tracked, agent: KeyAgent, template: bytes
) -> None:
    chance = random.Random(SEED)
    for _ in range(3):
        hurt = hurt_later(pool, signal.SIGKILL, chance.uniform(0, 0.6))
        outcome = walk(pool, agent, template, photo="other-1.jpg", look_ms=500)
        hurt.join()
        assert not right(outcome), outcome
        assert isinstance(outcome.last, ev.FaceFailed)


@pytest.mark.parametrize("delay_s", [0.0, 0.05])
def test_one_that_hangs_is_a_timeout_and_the_next_passage_works(
    pool: Tracked, agent: KeyAgent, template: bytes, delay_s: float
) -> None:
    hurt = hurt_later(pool, signal.SIGSTOP, delay_s)
    outcome = walk(pool, agent, template, photo="other-1.jpg", look_ms=500)
    hurt.join()
    assert outcome.last == ev.FaceFailed(DenyReason.VERIFIER_FAULT)
    assert outcome.incident is FaultCode.VERIFIER_KILLED
    assert outcome.certificate is not None
    assert outcome.certificate.exit_code == -signal.SIGKILL
    assert is_dead(outcome.certificate)
    after = walk(pool, agent, template, look_ms=5_000)
    assert right(after), after


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_spare_that_is_hurt_before_its_job(
    pool: Tracked, agent: KeyAgent, template: bytes, number: signal.Signals
) -> None:
    pool.wait_ready(WAIT_S)
    spare = pool._spares[0]
    os.kill(spare.pid, number)
    if number is signal.SIGKILL:
        os.waitid(os.P_PID, spare.pid, os.WEXITED | os.WNOWAIT)
    first = walk(pool, agent, template, look_ms=500 if number is signal.SIGSTOP else 5_000)
    if number is signal.SIGKILL:
        assert right(first), "a dead spare is thrown away before anybody waits for it"
    else:
        assert first.last == ev.FaceFailed(DenyReason.VERIFIER_FAULT)
    assert right(walk(pool, agent, template, look_ms=5_000))
