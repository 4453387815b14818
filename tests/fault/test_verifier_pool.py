"""Real verifiers on real pictures: what they decide, and that the pool survives their deaths."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gate.errors import TemplateRejected, VerifierFault
from gate.template.agent_client import KeyAgent
from gate.template.biometric import make_template
from gate.template.context import SealContext
from gate.template.envelope import Envelope
from gate.template.seal import seal
from gate.verifier.certificate import DeathCertificate
from gate.verifier.job import Job
from gate.verifier.pool import VerifierPool
from gate.verifier.run import VerifierRun
from gate.verifier.wire import Kind, Verdict
from models.manifest import manifest
from models.pack import load_pack
from models.perceive import perceive
from models.types import Advice, Embedding, Sighting, Zone

CACHE = Path(os.environ.get("GATE_CACHE_DIR", Path(__file__).parents[2] / ".cache/consentgate"))
PHOTOS = CACHE / "sample-photos"
PACK = "bootstrap"
PACK_DIR = CACHE / "packs" / PACK
WAIT_S = 60.0
SITE_KEY = ec.generate_private_key(ec.SECP256R1())
EXPIRY = datetime(2031, 5, 1, tzinfo=UTC)
AUX = bytes(range(32))

pytestmark = pytest.mark.skipif(
    not all(
        (PACK_DIR / f.name).exists() for f in manifest().packs[PACK].files if f.role != "source"
    ),
    reason="the bootstrap pack is not fetched: run 'gate models fetch bootstrap'",
)
needs_photos = pytest.mark.skipif(
    not (PHOTOS / "owner-1.jpg").exists(),
    reason="the sample photographs are not fetched: run 'gate demo' once",
)


@pytest.fixture(scope="module")
def pool() -> Iterator[VerifierPool]:
    pool = VerifierPool(PACK, PACK_DIR, spares=1)
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


@dataclass(frozen=True)
class Card:
    envelope: bytes
    context: SealContext

    def job(self, camera: str, deadline_ms: int = 20_000) -> Job:
        return Job(camera, Zone(), self.envelope, self.context, AUX, os.urandom(8), deadline_ms)


def card_of(embedding: Embedding, model_id: str) -> Card:
    context = SealContext.for_template(b"c" * 16, model_id, b"consent", AUX, EXPIRY)
    template = make_template(
        embedding,
        AUX,
        model_id=model_id,
        pack_version=PACK,
        frames=1,
        quality=1.0,
        created=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return Card(seal(template.encode(), context, SITE_KEY.public_key()), context)


@pytest.fixture(scope="module")
def card() -> Card:
    """Somebody's card; no photograph needed."""
    spec = manifest().packs[PACK]
    return card_of(Embedding(np.eye(1, spec.dim, dtype=np.float32)[0]), spec.model_id)


@pytest.fixture(scope="module")
def owner() -> Card:
    pack = load_pack(PACK, PACK_DIR)
    frame = cv2.imread(str(PHOTOS / "owner-1.jpg"))
    assert frame is not None
    sighting = perceive(np.asarray(frame, np.uint8), pack, Zone())
    assert isinstance(sighting, Sighting)
    return card_of(sighting.embedding, pack.model_id)


@pytest.fixture
def grey(tmp_path: Path) -> str:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((240, 320, 3), 128, np.uint8))
    return f"sim:{tmp_path}/grey.png"


def hand_over(pool: VerifierPool, agent: KeyAgent, card: Card, job: Job) -> VerifierRun:
    run = pool.take(WAIT_S)
    envelope = Envelope.decode(card.envelope)
    agent.release_template_key(
        envelope.kid,
        envelope.wrapped,
        card.context.hpke_info(),
        run.key_fd,
        session_id=os.urandom(16),
    )
    run.close_key_fd()
    run.begin(job)
    return run


def outcome(run: VerifierRun) -> tuple[Verdict, list[Advice], DeathCertificate]:
    guidance = []
    while True:
        answer = run.next_answer(30_000)
        assert answer is not None
        if answer.kind is Kind.GUIDANCE:
            guidance.append(Advice(answer.code))
        if answer.kind is Kind.VERDICT:
            return Verdict(answer.code), guidance, run.finish()


@needs_photos
@pytest.mark.parametrize(
    ("photo", "expected"),
    [("owner-2.jpg", Verdict.MATCH), ("other-1.jpg", Verdict.NO_MATCH)],
)
def test_the_owner_matches_and_another_person_does_not(
    pool: VerifierPool, agent: KeyAgent, owner: Card, photo: str, expected: Verdict
) -> None:
    job = owner.job(f"sim:{PHOTOS}/{photo}?fps=100")
    verdict, _, certificate = outcome(hand_over(pool, agent, owner, job))
    assert verdict is expected
    assert certificate.is_clean()
    assert certificate.bytes_out == 3 * 16, "ready, camera on, verdict"


@needs_photos
def test_two_faces_are_told_to_step_back_and_then_refused(
    pool: VerifierPool, agent: KeyAgent, owner: Card, tmp_path: Path
) -> None:
    # One scale, no distortion: the bootstrap detector misses squashed faces.
    faces = [cv2.imread(str(PHOTOS / name)) for name in ("owner-2.jpg", "other-1.jpg")]
    side_by_side = [
        cv2.resize(face, (face.shape[1] * 900 // face.shape[0], 900))
        for face in faces
        if face is not None
    ]
    cv2.imwrite(str(tmp_path / "two.png"), np.hstack(side_by_side))
    job = owner.job(f"sim:{tmp_path}/two.png?fps=100")
    verdict, guidance, _ = outcome(hand_over(pool, agent, owner, job))
    assert verdict is Verdict.MULTIPLE_FACES
    assert guidance == [Advice.MULTIPLE_FACES]


def test_nobody_there(pool: VerifierPool, agent: KeyAgent, card: Card, grey: str) -> None:
    verdict, guidance, certificate = outcome(hand_over(pool, agent, card, card.job(grey, 800)))
    assert verdict is Verdict.NO_FACE
    assert guidance == [Advice.NO_FACE]
    assert certificate.is_clean()
    assert certificate.lifetime_ms >= 800


@pytest.mark.parametrize("how", ["stall_after=2", "vanish_after=2"])
def test_a_camera_that_fails_mid_look(
    pool: VerifierPool, agent: KeyAgent, card: Card, grey: str, how: str
) -> None:
    verdict, _, certificate = outcome(hand_over(pool, agent, card, card.job(f"{grey}?{how}")))
    assert verdict is Verdict.CAMERA_FAULT
    assert certificate.is_clean()


def test_a_camera_that_is_not_there(pool: VerifierPool, agent: KeyAgent, card: Card) -> None:
    verdict, _, certificate = outcome(hand_over(pool, agent, card, card.job("v4l2:99")))
    assert verdict is Verdict.CAMERA_FAULT
    assert certificate.is_clean()


def test_a_video_plays_under_the_lock(
    pool: VerifierPool, agent: KeyAgent, card: Card, tmp_path: Path
) -> None:
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 15, (320, 240))
    if not writer.isOpened():
        pytest.skip("this OpenCV cannot write a video")
    for _ in range(200):
        writer.write(np.full((240, 320, 3), 128, np.uint8))
    writer.release()
    run = hand_over(pool, agent, card, card.job(f"file:{path}", 700))
    verdict, guidance, certificate = outcome(run)
    assert guidance == [Advice.NO_FACE], "a frame was seen"
    # A short video may run out before the deadline.
    assert verdict in (Verdict.NO_FACE, Verdict.CAMERA_FAULT)
    assert certificate.is_clean()


def test_without_a_key_there_is_no_camera(pool: VerifierPool, card: Card, grey: str) -> None:
    run = pool.take(WAIT_S)
    run.close_key_fd()
    run.begin(card.job(grey))
    answer = run.next_answer(20_000)
    assert answer is not None
    assert (answer.kind, answer.code) == (Kind.VERDICT, Verdict.NO_KEY)
    assert run.finish().is_clean()


@pytest.mark.parametrize("key", [bytes(32), bytes(33)], ids=["wrong", "long"])
def test_a_wrong_key_opens_nothing(pool: VerifierPool, card: Card, grey: str, key: bytes) -> None:
    run = pool.take(WAIT_S)
    os.write(run.key_fd, key)
    run.close_key_fd()
    run.begin(card.job(grey))
    verdict, _, certificate = outcome(run)
    expected = Verdict.TEMPLATE_REJECTED if len(key) == 32 else Verdict.NO_KEY
    assert verdict is expected
    assert certificate.bytes_out == 2 * 16, "the camera never went on"


def test_another_context_is_rejected(
    pool: VerifierPool, agent: KeyAgent, card: Card, grey: str
) -> None:
    good = card.job(grey)
    changed = [
        replace(good, context=replace(card.context, credential_id=b"d" * 16)),
        replace(good, template_aux=bytes(32)),
    ]
    for job in changed:
        verdict, _, certificate = outcome(hand_over(pool, agent, card, job))
        assert verdict is Verdict.TEMPLATE_REJECTED
        assert certificate.is_clean()


def test_a_withdrawn_consent_gets_no_key(pool: VerifierPool, agent: KeyAgent, card: Card) -> None:
    envelope = Envelope.decode(card.envelope)
    other = SealContext.for_template(
        b"c" * 16, card.context.model_id, b"another consent", AUX, EXPIRY
    )
    run = pool.take(WAIT_S)
    with pytest.raises(TemplateRejected):
        agent.release_template_key(
            envelope.kid, envelope.wrapped, other.hpke_info(), run.key_fd, session_id=os.urandom(16)
        )
    assert run.finish().exit_code == 0, "told nothing, it simply ends"


def test_a_killed_verifier_is_a_fault_and_the_next_is_ready(
    pool: VerifierPool, agent: KeyAgent, card: Card, grey: str
) -> None:
    run = hand_over(pool, agent, card, card.job(grey))
    answer = run.next_answer(20_000)
    assert answer is not None
    assert answer.kind is Kind.CAMERA_ON
    os.kill(run.pid, signal.SIGKILL)
    with pytest.raises(VerifierFault):
        while run.next_answer(20_000) is not None:
            pass
    assert run.finish().exit_code == -signal.SIGKILL
    assert outcome(hand_over(pool, agent, card, card.job(grey, 100)))[0] is Verdict.NO_FACE


def test_a_hung_camera_ends_with_the_verifier(
    pool: VerifierPool, agent: KeyAgent, card: Card, grey: str
) -> None:
    run = hand_over(pool, agent, card, card.job(f"{grey}?hang_after=0", 200))
    answer = run.next_answer(20_000)
    assert answer is not None
    assert answer.kind is Kind.CAMERA_ON
    assert run.next_answer(500) is None
    certificate = run.finish()
    assert certificate.exit_code == -signal.SIGKILL
    assert certificate.seccomp_mode == 2


def test_a_spare_that_died_waiting_is_replaced(pool: VerifierPool) -> None:
    pool.wait_ready(WAIT_S)
    (spare,) = pool._spares
    os.kill(spare.pid, signal.SIGKILL)
    os.waitid(os.P_PID, spare.pid, os.WEXITED | os.WNOWAIT)
    run = pool.take(WAIT_S)
    assert run.pid != spare.pid
    run.finish()


def test_two_that_arrive_together_each_get_their_own(pool: VerifierPool) -> None:
    one, two = pool.take(WAIT_S), pool.take(WAIT_S)
    assert one.pid != two.pid
    one.finish()
    two.finish()


def test_a_pack_that_does_not_load_says_so(tmp_path: Path) -> None:
    pool = VerifierPool(PACK, tmp_path)
    pool.start()
    try:
        with pytest.raises(VerifierFault, match="model pack") as fault:
            pool.wait_ready(WAIT_S)
        assert "gate models verify" in fault.value.diagnostics()
        assert not pool.ready()
    finally:
        pool.close()


def test_a_closed_pool_gives_nothing_and_leaves_nobody() -> None:
    pool = VerifierPool(PACK, PACK_DIR, spares=1)
    pool.start()
    pool.wait_ready(WAIT_S)
    (spare,) = pool._spares
    pool.close()
    pool.close()
    with pytest.raises(ProcessLookupError):
        os.kill(spare.pid, 0)
    with pytest.raises(VerifierFault, match="closed"):
        pool.take(0.1)


def test_when_the_gate_is_killed_its_verifiers_go_too() -> None:
    gate = subprocess.Popen(
        [
            sys.executable,
            "-I",
            "-c",
            textwrap.dedent(
                """
                import sys, time
                from pathlib import Path
                from gate.verifier.pool import VerifierPool
                pool = VerifierPool(sys.argv[1], Path(sys.argv[2]))
                pool.start()
                run = pool.take(60)
                print(run.pid, flush=True)
                time.sleep(1000)
                """
            ),
            PACK,
            str(PACK_DIR),
        ],
        stdout=subprocess.PIPE,
    )
    assert gate.stdout is not None
    with gate.stdout:
        pid = int(gate.stdout.readline())
    gate.kill()
    gate.wait()
    end_s = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and _state(pid) != "Z":
        assert time.monotonic() < end_s, "the verifier outlived the gate"
        time.sleep(0.02)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"
