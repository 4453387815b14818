"""The runner over plain in-memory ports: what is recorded, when something moves, what ends it."""

# ruff: noqa: ARG002 - the ports name arguments that these need not look at

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from firmware_bridge.errors import DeviceFault
from firmware_bridge.ports import ApduChannel, Crossing, Link, OpenResult, TurnstileStatus
from gate.card.verified import CardRefusal, Consent, Refused, VerifiedCard
from gate.console.deps import KioskView, Screen
from gate.errors import KeyAgentFault, LedgerFault, TemplateRejected, VerifierFault
from gate.host_conditions import HostConditions
from gate.ledger.checkpoint import generate
from gate.ledger.record import (
    CardKeyDestroyed,
    Cleared,
    Decided,
    FaultCode,
    Faulted,
    HostSeen,
    KeyPurpose,
    KeyUsed,
    Missed,
    Mode,
    Moved,
    Pack,
    PolicyChanged,
    Record,
    Started,
    Stopped,
    VerifierDied,
)
from gate.ledger.store import Ledger
from gate.ledger.verify import verify_store
from gate.passage import events as ev
from gate.passage.decision import Deny, DenyReason, Grant
from gate.passage.decision import Lane as Which
from gate.passage.face_leg import View
from gate.passage.lane import Lane
from gate.passage.report import PassageReport
from gate.passage.runner import Runner
from gate.passage.session import State
from gate.policy import FaceMode, FaceReason, Policy, PolicyDocument
from gate.template.context import SealContext
from gate.template.outcome import KeyOutcome
from gate.template.pin import seal_pin
from gate.template.seal import seal
from gate.template.wrapping import unwrap
from gate.verifier.certificate import DeathCertificate
from gate.verifier.job import Job
from gate.verifier.wire import Answer, Kind, Verdict
from models.types import Advice, Zone

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
EXPIRY = datetime(2031, 5, 1, tzinfo=UTC)
SITE_KEY = ec.generate_private_key(ec.SECP256R1())
PIN = "4071"
WAIT_S = 20.0
# Long for everything, so that a slow machine changes nothing; short where nobody waits for it.
DEADLINE_MS: dict[State, int | None] = {
    State.CLOSED: None,
    State.IDLE: None,
    State.CARD: 20_000,
    State.LOOK: 20_000,
    State.PIN: 20_000,
    State.GRANTING: 10_000,
    State.DENYING: 10_000,
    State.OPENING: 10_000,
    State.CROSSING: 10_000,
    State.REFUSED: 30,
    State.STOPPED: None,
}
POLICY = Policy(
    PolicyDocument.model_validate_json(
        """{"type": "consentgate.policy", "version": 1, "demo": false,
        "issued": "2026-02-01T00:00:00Z", "gate_zone": "lobby",
        "purpose": {"ko": "출입", "en": "Entry"},
        "controller": {"ko": "관리소", "en": "Administration"},
        "lanes": ["pin", "face"], "access_groups": ["staff"],
        "face_expires": "2027-01-01T00:00:00Z", "pin_max_tries": 3}"""
    ),
    "ab" * 32,
)
HOST = HostConditions(True, True, True, True)
FACE_ON = FaceMode(FaceReason.ON, EXPIRY)
CERTIFICATE = DeathCertificate(0, 120, 1, True, 2, 3, False, 0, 0, 900, 48, 0)

KILLED = replace(CERTIFICATE, exit_code=-9)


def make_card(groups: tuple[str, ...] = ("staff",)) -> VerifiedCard:
    number, aux, consent = os.urandom(16), bytes(32), b"consent"
    context = SealContext.for_template(number, "model", consent, aux, EXPIRY)
    return VerifiedCard(
        credential_id=number,
        access_groups=groups,
        expiry=EXPIRY,
        valid_until=EXPIRY,
        status_uri="https://status.example/1",
        status_index=7,
        consent=Consent.LIVE,
        sealed_template=seal(b"template", context, SITE_KEY.public_key()),
        template_aux=aux,
        consent_record=consent,
        pin_verifier=seal_pin(PIN, SealContext.for_pin(number, EXPIRY), SITE_KEY.public_key()),
        session_id=os.urandom(16),
    )


CARD = make_card()


class Trace:
    """What happened, in order, across all ports."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self.all: list[object] = []

    def add(self, what: object) -> None:
        with self._turn:
            self.all.append(what)
            self._turn.notify_all()

    def wait(self, what: object, times: int = 1) -> None:
        with self._turn:
            seen = self._turn.wait_for(lambda: self.all.count(what) >= times, WAIT_S)
        assert seen, f"{what} not in {self.all}"

    def records(self) -> list[Record]:
        return [item for item in self.all if isinstance(item, Record)]


class Channel:
    def __init__(self) -> None:
        self.closed = threading.Event()

    def exchange(self, apdu: bytes) -> bytes:
        raise DeviceFault("card", "left the field")

    def close(self) -> None:
        self.closed.set()


class Reader:
    def __init__(self) -> None:
        self.cards: queue.SimpleQueue[Channel] = queue.SimpleQueue()
        self.broken = False
        self.asked = 0

    def wait_for_card(self, timeout_s: float) -> Channel | None:
        self.asked += 1
        if self.broken:
            raise DeviceFault("reader", "gone")
        try:
            return self.cards.get(timeout=min(timeout_s, 0.02))
        except queue.Empty:
            return None


class OneLook:
    """A verifier that says what the test wrote down; then it waits until it is killed."""

    key_fd = 99

    def __init__(
        self, said: list[Answer | Exception], trace: Trace, let_end: threading.Event
    ) -> None:
        self._said = said
        self._trace = trace
        self._let_end = let_end
        self.killed = threading.Event()
        self.job: Job | None = None
        self.key_closed = False

    def close_key_fd(self) -> None:
        self.key_closed = True

    def begin(self, job: Job) -> None:
        self.job = job

    def next_answer(self, timeout_ms: int) -> Answer | None:
        if self._said:
            said = self._said.pop(0)
            if isinstance(said, Exception):
                raise said
            return said
        self.killed.wait(timeout_ms / 1000)
        if self.killed.is_set():
            raise VerifierFault("the verifier ended without a verdict")
        return None

    def kill(self) -> None:
        self.killed.set()

    def finish(self) -> DeathCertificate:
        assert self.key_closed
        self._let_end.wait(WAIT_S)
        self._trace.add("verifier gone")
        return KILLED if self.killed.is_set() else CERTIFICATE


class Verifiers:
    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.missing = False
        self.gone_at_take = False
        self.says: list[Answer | Exception] = []
        self.looks: list[OneLook] = []
        self.let_end = threading.Event()
        self.let_end.set()

    def ready(self) -> bool:
        return not self.missing

    def wait_ready(self, timeout_s: float) -> None:
        if self.missing:
            raise VerifierFault("no verifier")

    def take(self, timeout_s: float) -> OneLook:
        if self.gone_at_take:
            raise VerifierFault("no verifier")
        self._trace.add("verifier taken")
        self.looks.append(OneLook(list(self.says), self._trace, self.let_end))
        return self.looks[-1]


class Keys:
    def __init__(self) -> None:
        self.dead = False
        self.asked: list[int] = []
        self.error: Exception | None = None

    def alive(self) -> bool:
        return not self.dead

    def release_template_key(
        self, kid: bytes, wrapped: bytes, info: bytes, fd: int, *, session_id: bytes
    ) -> None:
        self._check()
        assert unwrap(wrapped, info, SITE_KEY)
        self.asked.append(fd)

    def open_pin_key(self, kid: bytes, wrapped: bytes, info: bytes, *, session_id: bytes) -> bytes:
        self._check()
        return unwrap(wrapped, info, SITE_KEY)

    def _check(self) -> None:
        if self.dead:
            raise KeyAgentFault("key agent is gone")
        if self.error is not None:
            raise self.error


class Turnstile:
    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.now = TurnstileStatus(Link.ONLINE, ready=True)
        self.answer: OpenResult | Exception = OpenResult.OPENED
        self.crossing: Crossing | Exception = Crossing.ONE
        self.broken: Exception | None = None
        self.let_open = threading.Event()
        self.let_open.set()
        self.let_cross = threading.Event()
        self.let_cross.set()

    def open(self, pulse_ms: int, deadline_ms: int = 700) -> OpenResult:
        self._trace.add("pulse")
        self.let_open.wait(WAIT_S)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def status(self) -> TurnstileStatus:
        if self.broken is not None:
            raise self.broken
        return self.now

    def watch_crossing(self, window_ms: int) -> Crossing:
        self._trace.add("watch")
        self.let_cross.wait(WAIT_S)
        if isinstance(self.crossing, Exception):
            raise self.crossing
        return self.crossing

    def close(self) -> None: ...


class Log:
    """A log whose disk can be full, or slow at one record."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.full = False
        self.fails_at: type[Record] | None = None
        self.error: Exception = LedgerFault("disk full")
        self.slow: Callable[[Record], float] = lambda _record: 0.0

    def append(self, record: Record, now: datetime) -> int:
        time.sleep(self.slow(record))
        if self.full or (self.fails_at is not None and isinstance(record, self.fails_at)):
            self._trace.add(("refused", record))
            raise self.error
        self._trace.add(record)
        return 0


class Kiosk:
    """A screen, and a person who types what is in `pins`, one at each prompt."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.views: list[KioskView] = []
        self.pins: list[str] = []
        self.broken: Exception | None = None
        self._count = 0
        self._open: dict[str, threading.Event] = {}
        self._typed: dict[str, str] = {}

    def show(self, view: KioskView) -> None:
        if self.broken is not None:
            raise self.broken
        self.views.append(view)
        self._trace.add(view.screen)

    def open_prompt(self) -> str:
        self._count += 1
        token = f"prompt {self._count}"
        self._open[token] = threading.Event()
        return token

    def wait_pin(self, token: str, timeout_s: float) -> str | None:
        if self.pins:
            return self.pins.pop(0)
        self._open[token].wait(timeout_s)
        return self._typed.pop(token, None)

    def type(self, token: str, pin: str) -> None:
        """A person types at a prompt that waits."""
        self._typed[token] = pin
        self._open[token].set()

    def close_prompt(self, token: str) -> None:
        self._open[token].set()
        self._trace.add("prompt closed")


class RulesNow:
    """What rules the lane, as the test sets it."""

    def __init__(self) -> None:
        self.policy = POLICY
        self.face = FACE_ON
        self.fresh = True
        self.next: list[tuple[Record, Policy]] = []

    def face_mode(self, now: datetime) -> FaceMode:
        return self.face

    def status_is_fresh(self, now: datetime) -> bool:
        return self.fresh

    def renew(self, now: datetime, append: Callable[[Record], bool]) -> None:
        while self.next and append(self.next[0][0]):
            self.policy = self.next.pop(0)[1]


@dataclass
class World:
    """One lane and everything around it."""

    trace: Trace = field(default_factory=Trace)
    reader: Reader = field(default_factory=Reader)
    keys: Keys = field(default_factory=Keys)
    card: VerifiedCard | Refused | Exception = CARD
    stands: Consent | CardRefusal | Exception = Consent.LIVE
    rules: RulesNow = field(default_factory=RulesNow)
    host: HostConditions = HOST
    now: datetime = NOW
    now_s: Callable[[], float] = time.monotonic
    deadline_ms: dict[State, int | None] = field(default_factory=lambda: dict(DEADLINE_MS))
    pin_lock_s: float = 900.0
    reports: queue.SimpleQueue[PassageReport] = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        self.verifiers = Verifiers(self.trace)
        self.turnstile = Turnstile(self.trace)
        self.log = Log(self.trace)
        self.kiosk = Kiosk(self.trace)
        self.let_read = threading.Event()
        self.let_read.set()
        self.thread: threading.Thread | None = None

    def checks(self, channel: ApduChannel, now: datetime) -> VerifiedCard | Refused:
        self.let_read.wait(WAIT_S)
        if isinstance(self.card, Exception):
            raise self.card
        return self.card

    def still(self, card: VerifiedCard, now: datetime) -> Consent | CardRefusal:
        if isinstance(self.stands, Exception):
            raise self.stands
        return self.stands

    def start(self) -> None:
        lane = Lane(
            reader=self.reader,
            card_checks=self.checks,
            card_stands=self.still,
            verifiers=self.verifiers,
            keys=self.keys,
            turnstile=self.turnstile,
            log=self.log,
            kiosk=self.kiosk,
            rules=self.rules,
            view=View("sim:nowhere", Zone(), 10_000),
            pulse_ms=500,
            pin_lock_s=self.pin_lock_s,
            deadline_ms=self.deadline_ms,
            host=lambda: self.host,
        )
        self.runner = Runner(
            lane,
            on_passage=self.reports.put,
            utc_now=lambda: self.now,
            monotonic_s=lambda: self.now_s(),
            zone=UTC,
        )
        self.thread = threading.Thread(target=self.runner.run, daemon=True)
        self.thread.start()

    def tap(self) -> Channel:
        if self.thread is None:
            self.start()
        channel = Channel()
        self.reader.cards.put(channel)
        return channel

    def passage(self) -> PassageReport:
        """One card comes; what became of it."""
        self.tap()
        return self.reports.get(timeout=WAIT_S)

    def at(self, screen: Screen, times: int = 1) -> None:
        self.trace.wait(screen, times)

    def stop(self) -> None:
        """Ask for a stop and wait for the end, as `gate run` does."""
        self.runner.stop()
        self.joined()

    def joined(self) -> None:
        assert self.thread is not None
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()

    @property
    def pulses(self) -> int:
        return self.trace.all.count("pulse")

    @property
    def decisions(self) -> list[Decided]:
        return [r for r in self.trace.records() if isinstance(r, Decided)]


def said(kind: Kind, code: int = 0) -> Answer:
    return Answer(kind, code, bytes(8))


MATCH = [said(Kind.CAMERA_ON), said(Kind.VERDICT, Verdict.MATCH)]
NO_MATCH = [said(Kind.CAMERA_ON), said(Kind.VERDICT, Verdict.NO_MATCH)]


def denied(reason: DenyReason, lane: Which = Which.NONE, card: int = 0) -> Decided:
    return Decided.of(Deny(reason, lane), card)


FACE_GRANTED, PIN_GRANTED = Decided.of(Grant(Which.FACE)), Decided.of(Grant(Which.PIN))
TEMPLATE_KEY = KeyUsed(KeyPurpose.TEMPLATE, KeyOutcome.RELEASED)
PIN_KEY = KeyUsed(KeyPurpose.PIN, KeyOutcome.RELEASED)
MOVED = Moved(OpenResult.OPENED, Crossing.ONE)
NOT_MOVED = Moved(OpenResult.NOT_DELIVERED, Crossing.UNOBSERVED)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A lane; afterwards it is stopped, and what it wrote must be a log that an auditor accepts."""
    made = World()
    made.verifiers.says = list(MATCH)
    yield made
    if made.thread is not None:
        for let in (
            made.let_read,
            made.verifiers.let_end,
            made.turnstile.let_open,
            made.turnstile.let_cross,
        ):
            let.set()
        made.stop()
    signer = generate("gate.example/lane", os.urandom)
    path = tmp_path / "log.db"
    with closing(Ledger.open(path, signer, signer.name)) as ledger:
        ledger.append(Started(Mode.DEMO, Pack.BOOTSTRAP, "ab" * 32, True, True), NOW)
        for record in made.trace.records():
            ledger.append(record, NOW)
    report = verify_store(path, signer.vkey)
    assert report.ok, (report.problems, made.trace.all)
    grants = report.counts.get("grants", 0)
    assert made.pulses <= grants, "a pulse needs a durable grant"


# ---- record, then act -----------------------------------------------------------------------


def test_the_owner_passes_and_everything_is_recorded_before_it_happens(world: World) -> None:
    report = world.passage()
    assert report.decisions == [Grant(Which.FACE)]
    assert report.let_in
    assert report.crossing is Crossing.ONE
    assert report.certificate == CERTIFICATE
    order = [x for x in world.trace.all if x in ("pulse", "watch", FACE_GRANTED, MOVED)]
    assert order == [FACE_GRANTED, "pulse", "watch", MOVED]
    world.trace.wait(VerifierDied.of(CERTIFICATE))
    look = world.verifiers.looks[0]
    assert world.keys.asked == [look.key_fd], "the key went into the pipe of this verifier"
    assert look.job is not None
    assert look.job.envelope == CARD.sealed_template


def test_the_screen_follows_and_the_camera_light_is_honest(world: World) -> None:
    world.verifiers.says = [
        said(Kind.CAMERA_ON),
        said(Kind.GUIDANCE, Advice.STEP_CLOSER),
        said(Kind.VERDICT, Verdict.MATCH),
    ]
    world.passage()
    world.at(Screen.IDLE, times=2)
    shown = [view.screen for view in world.kiosk.views]
    wanted = [Screen.READING_CARD, Screen.LOOK, Screen.CHECKING, Screen.OPEN, Screen.IDLE]
    places = [shown.index(screen, shown.index(Screen.READING_CARD)) for screen in wanted]
    assert places == sorted(places)
    lit = [view for view in world.kiosk.views if view.camera_on]
    assert {view.screen for view in lit} == {Screen.LOOK}
    assert Advice.STEP_CLOSER in {view.advice for view in lit}
    assert not world.kiosk.views[-1].camera_on


@pytest.mark.parametrize("result", [OpenResult.REFUSED, OpenResult.NOT_DELIVERED])
def test_a_turnstile_that_did_not_move_is_recorded(world: World, result: OpenResult) -> None:
    world.turnstile.answer = result
    report = world.passage()
    assert not report.let_in
    assert world.trace.records()[-1] in (
        Moved(result, Crossing.UNOBSERVED),
        VerifierDied.of(CERTIFICATE),
    )
    assert "watch" not in world.trace.all
    assert world.pulses == 1


def test_a_doubtful_opening_is_watched_never_repeated(world: World) -> None:
    world.turnstile.answer = OpenResult.UNKNOWN
    world.turnstile.crossing = Crossing.NOBODY
    report = world.passage()
    assert not report.let_in
    assert Moved(OpenResult.UNKNOWN, Crossing.NOBODY) in world.trace.records()
    assert world.pulses == 1
    assert Screen.OPEN not in world.trace.all


def test_a_record_that_comes_too_late_opens_nothing(world: World) -> None:
    world.deadline_ms[State.GRANTING] = 100
    world.log.slow = lambda record: 0.4 if record == FACE_GRANTED else 0.0
    report = world.passage()
    assert report.decisions == [Grant(Which.FACE)]
    assert report.opened is OpenResult.NOT_DELIVERED
    assert world.pulses == 0
    records = world.trace.records()
    assert NOT_MOVED in records[records.index(FACE_GRANTED) :]


def test_an_opening_that_never_answers_is_recorded_as_unknown(world: World) -> None:
    world.deadline_ms[State.OPENING] = 100
    world.turnstile.let_open.clear()
    report = world.passage()
    assert report.opened is OpenResult.UNKNOWN
    assert Moved(OpenResult.UNKNOWN, Crossing.UNOBSERVED) in world.trace.records()
    world.turnstile.let_open.set()
    world.verifiers.says = list(NO_MATCH)
    world.tap()  # its late answer is not the next passage's
    world.trace.wait(denied(DenyReason.NO_MATCH, Which.FACE, 1))
    assert world.pulses == 1


# ---- the log ----------------------------------------------------------------------------------


def test_no_record_nobody_enters_and_the_gap_is_the_first_thing_told(world: World) -> None:
    world.start()
    world.at(Screen.IDLE)
    world.log.full = True
    report = world.passage()
    assert report.unrecorded
    assert report.decisions == []
    assert world.pulses == 0
    world.at(Screen.OUT_OF_ORDER, times=2)
    again = world.passage()  # closed now: refused without a look
    assert again.unrecorded
    assert len(world.verifiers.looks) == 1
    world.log.full = False
    world.at(Screen.IDLE, times=2)
    first = world.trace.records()[0]
    assert isinstance(first, Missed)
    assert first.records >= 3, "two keys or decisions and what else could not be written"
    world.verifiers.says = list(MATCH)
    assert world.passage().let_in


def test_a_movement_that_could_not_be_written_is_a_gap(world: World) -> None:
    world.log.fails_at = Moved
    assert world.passage().let_in
    world.log.fails_at = None
    world.trace.wait(Missed(1))
    assert world.passage().let_in
    assert world.trace.records().count(MOVED) == 1


def test_a_movement_stands_behind_its_grant_whatever_failed_between(world: World) -> None:
    world.turnstile.let_open.clear()
    world.verifiers.let_end.clear()
    world.log.fails_at = VerifierDied
    world.tap()
    world.trace.wait("pulse")
    world.verifiers.let_end.set()
    world.trace.wait(("refused", VerifierDied.of(CERTIFICATE)))
    world.log.fails_at = None
    world.turnstile.let_open.set()
    assert world.reports.get(timeout=WAIT_S).let_in
    world.trace.wait(Missed(1))
    assert world.trace.records() == [TEMPLATE_KEY, FACE_GRANTED, MOVED, Missed(1)]


def test_whatever_the_log_raises_nobody_enters(world: World) -> None:
    world.start()
    world.at(Screen.IDLE)
    world.log.fails_at, world.log.error = Decided, RuntimeError("a defect in the store")
    assert world.passage().unrecorded
    assert world.pulses == 0
    world.log.fails_at = None
    world.at(Screen.IDLE, times=2)
    assert world.passage().let_in


# ---- parts that fail --------------------------------------------------------------------------


def test_without_a_verifier_the_card_goes_on_with_its_pin(world: World) -> None:
    world.verifiers.missing = True
    world.kiosk.pins = [PIN]
    report = world.passage()
    assert report.decisions == [Grant(Which.PIN)]
    assert report.let_in
    assert Screen.CARD_ONLY in world.trace.all


def test_a_verifier_that_is_gone_when_needed_is_a_denial_then_the_pin(world: World) -> None:
    world.verifiers.gone_at_take = True
    world.kiosk.pins = [PIN]
    report = world.passage()
    assert report.decisions == [Deny(DenyReason.VERIFIER_FAULT, Which.FACE), Grant(Which.PIN)]
    world.trace.wait(Faulted(FaultCode.VERIFIER_KILLED))
    assert Screen.OTHER_LANE in world.trace.all


def test_a_verifier_that_dies_in_the_middle_of_a_look(world: World) -> None:
    world.verifiers.says = [said(Kind.CAMERA_ON), VerifierFault("killed")]
    world.kiosk.pins = [PIN]
    report = world.passage()
    assert report.decisions == [Deny(DenyReason.VERIFIER_FAULT, Which.FACE), Grant(Which.PIN)]
    assert report.certificate == KILLED
    world.trace.wait(VerifierDied.of(KILLED))
    world.trace.wait(Faulted(FaultCode.VERIFIER_KILLED))
    assert world.verifiers.looks[0].killed.is_set()


def test_a_defect_inside_a_look_leaves_no_verifier_behind(world: World) -> None:
    world.verifiers.says = [said(Kind.CAMERA_ON), RuntimeError("a defect")]
    world.kiosk.pins = [PIN]
    report = world.passage()
    assert report.decisions == [Deny(DenyReason.INTERNAL_FAULT, Which.FACE), Grant(Which.PIN)]
    world.trace.wait("verifier gone")
    world.trace.wait(Faulted(FaultCode.INTERNAL))
    assert world.verifiers.looks[0].killed.is_set()


def test_a_template_that_does_not_open_is_a_denial_then_the_pin(world: World) -> None:
    world.card = replace(CARD, consent_record=b"another consent")
    world.kiosk.pins = [PIN]
    report = world.passage()
    assert report.decisions == [Deny(DenyReason.TEMPLATE_REJECTED, Which.FACE), Grant(Which.PIN)]
    assert world.verifiers.looks[0].job is None


def test_a_dead_key_agent_closes_the_lane_and_is_recorded_once(world: World) -> None:
    world.start()
    world.at(Screen.IDLE)
    world.keys.dead = True
    world.trace.wait(Faulted(FaultCode.KEY_AGENT_DEAD))
    world.at(Screen.OUT_OF_ORDER, times=2)
    assert world.passage().decisions == [Deny(DenyReason.KEY_UNAVAILABLE)]
    assert {line.part: line.ok for line in world.runner.health()}["key agent"] is False
    world.keys.dead = False
    world.at(Screen.IDLE, times=2)
    assert world.passage().let_in
    assert world.trace.records().count(Faulted(FaultCode.KEY_AGENT_DEAD)) == 1


def test_the_admin_page_cannot_hide_the_death_of_a_key_agent(world: World) -> None:
    class TellsOnce(Keys):
        """Like the supervised agent: dead is said once, then a new one runs."""

        def alive(self) -> bool:
            was, self.dead = self.dead, False
            return not was

    world.keys = TellsOnce()
    world.start()
    world.at(Screen.IDLE)
    world.keys.dead = True
    for _ in range(50):
        world.runner.health()
    world.trace.wait(Faulted(FaultCode.KEY_AGENT_DEAD))


def test_a_key_agent_that_dies_during_a_passage_is_a_denial(world: World) -> None:
    world.keys.error = KeyAgentFault("key agent is gone")
    world.kiosk.pins = [PIN]
    report = world.passage()
    assert report.decisions == [
        Deny(DenyReason.KEY_UNAVAILABLE, Which.FACE),
        Deny(DenyReason.KEY_UNAVAILABLE, Which.PIN),
    ]
    assert world.pulses == 0


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (TurnstileStatus(Link.OFFLINE), FaultCode.TURNSTILE_OFFLINE),
        (TurnstileStatus(Link.WRONG_KEY), FaultCode.TURNSTILE_WRONG_KEY),
        (TurnstileStatus(Link.ONLINE, tamper=True), FaultCode.TAMPER),
    ],
)
def test_a_turnstile_in_trouble_closes_the_lane(
    world: World, status: TurnstileStatus, code: FaultCode
) -> None:
    world.start()
    world.at(Screen.IDLE)
    fine, world.turnstile.now = world.turnstile.now, status
    world.at(Screen.OUT_OF_ORDER, times=2)
    for _ in range(2):
        assert world.passage().decisions == [Deny(DenyReason.TURNSTILE_OFFLINE)]
    assert world.trace.records().count(Faulted(code)) == 1
    world.turnstile.now = fine
    world.at(Screen.IDLE, times=2)
    world.turnstile.now = status
    world.trace.wait(Faulted(code), times=2)
    assert world.pulses == 0


def test_fire_is_recorded_and_closes_nothing(world: World) -> None:
    world.start()
    world.at(Screen.IDLE)
    world.turnstile.now = TurnstileStatus(Link.ONLINE, ready=True, fire=True)
    world.trace.wait(Faulted(FaultCode.FIRE))
    assert world.passage().let_in, "whether it may open in a fire is the turnstile's business"


def test_a_reader_that_is_gone_is_recorded_once_and_comes_back(world: World) -> None:
    world.reader.broken = True
    world.start()
    world.trace.wait(Faulted(FaultCode.READER))
    asked = world.reader.asked
    while world.reader.asked < asked + 2:
        time.sleep(0.02)
    world.reader.broken = False
    assert world.passage().let_in
    assert world.trace.records().count(Faulted(FaultCode.READER)) == 1


def test_a_part_that_cannot_say_how_it_is_closes_the_lane(world: World) -> None:
    world.start()
    world.at(Screen.IDLE)
    world.turnstile.broken = RuntimeError("a defect")
    world.at(Screen.OUT_OF_ORDER, times=2)
    assert world.passage().decisions == [Deny(DenyReason.INTERNAL_FAULT)]
    assert world.trace.records()[0] == Faulted(FaultCode.INTERNAL)
    world.turnstile.broken = None
    world.at(Screen.IDLE, times=2)
    assert world.passage().let_in


def test_a_screen_that_breaks_stops_nobody_from_being_recorded(world: World) -> None:
    world.start()
    world.at(Screen.IDLE)
    world.kiosk.broken = RuntimeError("a defect")
    assert world.passage().decisions == [Grant(Which.FACE)]
    assert Faulted(FaultCode.INTERNAL) in world.trace.records()
    world.kiosk.broken = None
    world.at(Screen.IDLE, times=2)
    assert world.passage().let_in


# ---- exceptions in any step -------------------------------------------------------------------


def test_a_defect_in_the_card_checks(world: World) -> None:
    world.card = RuntimeError("a defect")
    assert world.passage().decisions == [Deny(DenyReason.INTERNAL_FAULT)]
    assert Faulted(FaultCode.INTERNAL) in world.trace.records()
    world.card = CARD
    assert world.passage().let_in


def test_a_defect_in_the_pin_check(world: World) -> None:
    world.rules.face = FaceMode(FaceReason.NOT_IN_POLICY)
    world.keys.error = RuntimeError("a defect")
    world.kiosk.pins = [PIN]
    assert world.passage().decisions == [Deny(DenyReason.INTERNAL_FAULT, Which.PIN)]
    assert Faulted(FaultCode.INTERNAL) in world.trace.records()
    assert world.pulses == 0


def test_a_defect_in_the_opening_is_an_opening_in_doubt(world: World) -> None:
    world.turnstile.answer = RuntimeError("a defect")
    report = world.passage()
    assert report.opened is OpenResult.UNKNOWN
    assert Moved(OpenResult.UNKNOWN, Crossing.ONE) in world.trace.records()
    assert Faulted(FaultCode.INTERNAL) in world.trace.records()


def test_a_defect_in_the_sensor(world: World) -> None:
    world.turnstile.crossing = RuntimeError("a defect")
    report = world.passage()
    assert report.let_in
    assert report.crossing is Crossing.UNOBSERVED


# ---- cards and PINs ---------------------------------------------------------------------------


@pytest.mark.parametrize("refusal", CardRefusal)
def test_a_refused_card_is_a_recorded_denial(world: World, refusal: CardRefusal) -> None:
    world.card = Refused(refusal)
    report = world.passage()
    assert len(report.decisions) == len(world.decisions) == 1
    assert not report.granted
    assert not world.verifiers.looks, "no camera for a card that was refused"
    assert world.keys.asked == []


def test_a_wrong_pin_may_be_tried_again_until_the_card_is_locked(world: World) -> None:
    world.rules.face = FaceMode(FaceReason.NOT_IN_POLICY)
    world.kiosk.pins = ["0000", "1111", PIN]
    report = world.passage()
    wrong = Deny(DenyReason.WRONG_PIN, Which.PIN)
    assert report.decisions == [wrong, wrong, Grant(Which.PIN)]
    assert Screen.PIN_AGAIN in world.trace.all
    world.kiosk.pins = ["0000", "1111", "2222"]
    assert world.passage().decisions == [wrong, wrong, wrong]
    world.kiosk.pins = [PIN]
    assert world.passage().decisions == [Deny(DenyReason.PIN_LOCKED, Which.NONE)], "nobody asks"
    world.card, world.kiosk.pins = make_card(), [PIN]
    assert world.passage().let_in, "another card is not locked"


def test_nobody_types_and_the_time_is_over(world: World) -> None:
    world.rules.face = FaceMode(FaceReason.NOT_IN_POLICY)
    world.deadline_ms[State.PIN] = 100
    assert world.passage().decisions == [Deny(DenyReason.PIN_TIMEOUT, Which.PIN)]
    assert "prompt closed" in world.trace.all


def test_choosing_the_pin_ends_the_look_and_leaves_no_trace_of_the_choice(world: World) -> None:
    world.verifiers.says = [said(Kind.CAMERA_ON)]
    world.tap()
    world.at(Screen.LOOK)
    while not world.verifiers.looks:
        time.sleep(0.005)
    world.kiosk.pins = [PIN]
    world.runner.choose_pin_lane()
    report = world.reports.get(timeout=WAIT_S)
    assert report.decisions == [Grant(Which.PIN)]
    assert world.verifiers.looks[0].killed.is_set()
    assert world.decisions == [PIN_GRANTED]
    assert Faulted(FaultCode.VERIFIER_KILLED) not in world.trace.records()


def test_choosing_the_pin_at_the_very_first_moment_still_ends_the_look(world: World) -> None:
    for _ in range(10):
        world.verifiers.says = [said(Kind.CAMERA_ON)]
        world.kiosk.pins = [PIN]
        looks = len(world.trace.all)
        world.tap()
        while Screen.LOOK not in world.trace.all[looks:]:
            pass  # no pause: the choice shall meet the beginning of the look
        world.runner.choose_pin_lane()
        assert world.reports.get(timeout=WAIT_S).decisions == [Grant(Which.PIN)]
        assert all(look.killed.is_set() for look in world.verifiers.looks)


@pytest.mark.parametrize("lane", ["card", "look", "pin"])
def test_leaving_frees_the_lane(world: World, lane: str) -> None:
    world.verifiers.says = [said(Kind.CAMERA_ON)]
    if lane == "card":
        world.let_read.clear()
    if lane == "pin":
        world.rules.face = FaceMode(FaceReason.NOT_IN_POLICY)
    channel = world.tap()
    screen = {"card": Screen.READING_CARD, "look": Screen.LOOK, "pin": Screen.PIN}[lane]
    world.at(screen)
    world.runner.leave()
    assert channel.closed.wait(WAIT_S), "the card is let go"
    world.let_read.set()
    report = world.reports.get(timeout=WAIT_S)
    assert not report.granted
    assert not any(isinstance(record, Faulted) for record in world.trace.records())
    world.verifiers.says, world.kiosk.pins = list(MATCH), [PIN]
    assert world.passage().let_in


# ---- stale events, second taps ----------------------------------------------------------------


def test_a_second_card_waits_until_the_first_passage_is_over(world: World) -> None:
    world.verifiers.says = [said(Kind.CAMERA_ON)]
    world.tap()
    world.at(Screen.LOOK)
    second = world.tap()
    time.sleep(0.1)
    assert world.reader.cards.qsize() == 1, "nobody reads a second card meanwhile"
    world.verifiers.says = list(NO_MATCH)
    world.kiosk.pins = [PIN, PIN]
    world.runner.choose_pin_lane()
    assert world.reports.get(timeout=WAIT_S).decisions == [Grant(Which.PIN)]
    assert world.reports.get(timeout=WAIT_S).decisions == [
        Deny(DenyReason.NO_MATCH, Which.FACE),
        Grant(Which.PIN),
    ]
    assert second.closed.is_set()


def test_cards_that_come_one_after_another_are_all_served(world: World) -> None:
    world.card = Refused(CardRefusal.REVOKED)
    world.start()
    for _ in range(40):
        world.reader.cards.put(Channel())
    for _ in range(40):
        assert world.reports.get(timeout=WAIT_S).decisions == [Deny(DenyReason.CARD_REVOKED)]


def test_a_card_read_too_late_belongs_to_nobody(world: World) -> None:
    world.deadline_ms[State.CARD] = 100
    world.let_read.clear()
    world.tap()
    assert world.reports.get(timeout=WAIT_S).decisions == [Deny(DenyReason.TIMED_OUT)]
    world.deadline_ms[State.CARD] = 20_000
    world.let_read.set()  # the first card's answer arrives now, before the second card
    world.card = Refused(CardRefusal.EXPIRED)
    assert world.passage().decisions == [Deny(DenyReason.CARD_EXPIRED)]
    assert not world.verifiers.looks


def test_what_the_last_person_chose_is_not_the_next_ones_choice(world: World) -> None:
    world.verifiers.says = [said(Kind.CAMERA_ON)]
    world.tap()
    world.at(Screen.LOOK)
    stale = world.runner._number
    world.trace.wait(TEMPLATE_KEY)
    world.runner.leave()
    world.reports.get(timeout=WAIT_S)
    world.tap()
    world.at(Screen.LOOK, times=2)
    for event in (ev.FaceMatched(), ev.PinMatched(), ev.PinChosen(), ev.Left(), ev.Recorded()):
        world.runner._post(stale, event)
    time.sleep(0.1)
    assert world.pulses == 0
    assert world.decisions == [denied(DenyReason.TIMED_OUT, Which.FACE, 1)], "the first one left"
    assert world.kiosk.views[-1].screen is Screen.LOOK


# ---- stop -------------------------------------------------------------------------------------


def test_stop_while_idle(world: World) -> None:
    world.start()
    world.at(Screen.IDLE)
    world.stop()
    assert world.trace.records() == [Stopped(clean=True)], "no card came: no key was destroyed"


def test_stop_while_closed(world: World) -> None:
    world.turnstile.now = TurnstileStatus(Link.OFFLINE)
    world.start()
    world.trace.wait(Faulted(FaultCode.TURNSTILE_OFFLINE))
    world.stop()
    assert world.trace.records()[-1] == Stopped(clean=True)


@pytest.mark.parametrize("lane", ["card", "look", "pin"])
def test_stop_denies_a_passage_under_way(world: World, lane: str) -> None:
    world.verifiers.says = [said(Kind.CAMERA_ON)]
    if lane == "card":
        world.let_read.clear()
    if lane == "pin":
        world.rules.face = FaceMode(FaceReason.NOT_IN_POLICY)
    channel = world.tap()
    world.at({"card": Screen.READING_CARD, "look": Screen.LOOK, "pin": Screen.PIN}[lane])
    if lane == "card":
        threading.Timer(0.2, world.let_read.set).start()
    world.stop()
    which = {"card": Which.NONE, "look": Which.FACE, "pin": Which.PIN}[lane]
    assert world.decisions == [denied(DenyReason.SHUTTING_DOWN, which, int(lane != "card"))]
    assert world.trace.records()[-1] == Stopped(clean=True)
    assert world.pulses == 0
    assert channel.closed.is_set()
    assert all(look.killed.is_set() for look in world.verifiers.looks)


@pytest.mark.parametrize("moment", ["granting", "opening", "crossing"])
def test_stop_lets_a_granted_person_through_first(world: World, moment: str) -> None:
    if moment == "granting":
        world.log.slow = lambda record: 0.3 if record == FACE_GRANTED else 0.0
    if moment == "opening":
        world.turnstile.let_open.clear()
    if moment == "crossing":
        world.turnstile.let_cross.clear()
    world.tap()
    if moment == "granting":
        world.at(Screen.LOOK)
    else:
        world.trace.wait("pulse" if moment == "opening" else "watch")
    if moment == "granting":
        world.trace.wait("verifier gone")
    world.runner.stop()
    world.turnstile.let_open.set()
    world.turnstile.let_cross.set()
    world.joined()
    assert world.decisions == [FACE_GRANTED]
    records = [r for r in world.trace.records() if not isinstance(r, VerifierDied)]
    assert records == [TEMPLATE_KEY, FACE_GRANTED, MOVED, Stopped(clean=True)]


def test_stop_while_a_denial_is_written_or_read(world: World) -> None:
    world.deadline_ms[State.REFUSED] = 20_000
    world.card = Refused(CardRefusal.REVOKED)
    world.log.slow = lambda record: 0.2 if isinstance(record, Decided) else 0.0
    world.passage()
    world.at(Screen.REFUSED)
    world.stop()
    assert world.trace.records() == [denied(DenyReason.CARD_REVOKED), Stopped(clean=True)]


def test_stop_ends_a_lane_whose_log_is_full(world: World) -> None:
    world.verifiers.says = [said(Kind.CAMERA_ON)]
    world.tap()
    world.at(Screen.LOOK)
    world.trace.wait(TEMPLATE_KEY)
    world.log.full = True
    world.stop()
    assert world.trace.records() == [TEMPLATE_KEY]
    assert world.pulses == 0


# ---- a second look right before a grant -----------------------------------------------------


@pytest.mark.parametrize("lane", ["face", "pin"])
@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (CardRefusal.REVOKED, DenyReason.CARD_REVOKED),
        (CardRefusal.EXPIRED, DenyReason.CARD_EXPIRED),
        (CardRefusal.STATUS_STALE, DenyReason.STATUS_UNKNOWN),
        (RuntimeError("defect"), DenyReason.INTERNAL_FAULT),
    ],
)
def test_a_card_that_ended_since_the_tap_opens_nothing(
    world: World, lane: str, refusal: CardRefusal | Exception, reason: DenyReason
) -> None:
    world.verifiers.missing = lane == "pin"
    world.kiosk.pins = [PIN]
    world.stands = refusal
    report = world.passage()
    assert report.decisions == [Deny(reason, Which.FACE if lane == "face" else Which.PIN)]
    assert world.pulses == 0


def test_a_consent_withdrawn_since_the_tap_leaves_the_pin(world: World) -> None:
    world.stands = Consent.WITHDRAWN
    world.kiosk.pins = [PIN]
    report = world.passage()
    assert report.decisions == [Deny(DenyReason.CONSENT_WITHDRAWN, Which.FACE), Grant(Which.PIN)]


def test_inputs_of_a_line_that_is_not_up_are_nobodys_alarm(world: World) -> None:
    world.turnstile.now = TurnstileStatus(Link.OFFLINE, tamper=True, fire=True)
    world.start()
    world.trace.wait(Faulted(FaultCode.TURNSTILE_OFFLINE))
    world.turnstile.now = TurnstileStatus(Link.ONLINE, ready=True)
    world.at(Screen.IDLE)
    assert Faulted(FaultCode.TAMPER) not in world.trace.all
    assert Faulted(FaultCode.FIRE) not in world.trace.all


# ---- what stands in the log beside the decisions ----------------------------------------------


def test_the_key_stands_before_the_decision_it_served(world: World) -> None:
    world.passage()
    world.card = replace(CARD, sealed_template=None)
    world.kiosk.pins = [PIN]
    world.passage()
    found = [r for r in world.trace.records() if isinstance(r, KeyUsed | Decided)]
    assert found == [TEMPLATE_KEY, FACE_GRANTED, PIN_KEY, PIN_GRANTED]


def test_the_key_is_recorded_while_the_verifier_looks(world: World) -> None:
    world.verifiers.says = [said(Kind.CAMERA_ON)]  # and then nothing: it looks
    world.tap()
    world.trace.wait(TEMPLATE_KEY)
    assert world.decisions == []
    assert world.verifiers.looks[0].job is not None, "the job was handed over first"


def test_the_key_of_a_pin_is_asked_once_for_all_tries_of_a_session(world: World) -> None:
    world.rules.face = FaceMode(FaceReason.NOT_IN_POLICY)
    world.kiosk.pins = ["0000", PIN]
    assert world.passage().let_in
    found = [r for r in world.trace.records() if isinstance(r, KeyUsed | Decided)]
    assert found == [PIN_KEY, denied(DenyReason.WRONG_PIN, Which.PIN, 1), PIN_GRANTED]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (KeyAgentFault("no answer"), KeyOutcome.FAILED),
        (KeyAgentFault("too many", outcome=KeyOutcome.RATE_LIMITED), KeyOutcome.RATE_LIMITED),
        (KeyAgentFault("again", outcome=KeyOutcome.SECOND), KeyOutcome.SECOND),
        (TemplateRejected("does not open"), KeyOutcome.REFUSED),
        (RuntimeError("a defect"), KeyOutcome.FAILED),
    ],
)
def test_every_answer_of_the_key_agent_is_recorded(
    world: World, error: Exception, outcome: KeyOutcome
) -> None:
    world.keys.error = error
    world.kiosk.pins = [PIN]
    assert not world.passage().granted
    used = [r for r in world.trace.records() if isinstance(r, KeyUsed)]
    assert used == [KeyUsed(KeyPurpose.TEMPLATE, outcome), KeyUsed(KeyPurpose.PIN, outcome)]


@pytest.mark.parametrize("lane", ["face", "pin"])
def test_a_key_that_cannot_be_recorded_opens_nothing(world: World, lane: str) -> None:
    if lane == "pin":
        world.card = replace(CARD, sealed_template=None)
        world.kiosk.pins = [PIN]
    world.start()
    world.at(Screen.IDLE)
    world.log.fails_at = KeyUsed
    report = world.passage()
    assert report.unrecorded
    assert report.decisions == []
    assert world.pulses == 0
    world.log.fails_at = None
    world.at(Screen.IDLE, times=2)
    world.kiosk.pins = [PIN]
    assert world.passage().let_in, "the next one passes when the log is well again"


def test_a_denial_waits_for_the_answer_that_is_under_way(world: World) -> None:
    asked, answer = threading.Event(), threading.Event()

    class Slow(Keys):
        def _check(self) -> None:
            asked.set()
            answer.wait(WAIT_S)

    world.keys = Slow()
    world.tap()
    assert asked.wait(WAIT_S)
    world.runner.stop()
    time.sleep(0.1)
    assert world.decisions == []
    answer.set()
    world.joined()
    found = [r for r in world.trace.records() if isinstance(r, KeyUsed | Decided)]
    assert found == [TEMPLATE_KEY, denied(DenyReason.SHUTTING_DOWN, Which.FACE, 1)]


def test_who_walks_away_after_a_key_was_used_leaves_a_decision(world: World) -> None:
    world.verifiers.says = [said(Kind.CAMERA_ON)]
    for _ in range(3):  # the auditor of these tests refuses a second key without a decision
        before = world.trace.all.count(TEMPLATE_KEY)
        world.tap()
        world.trace.wait(TEMPLATE_KEY, times=before + 1)
        world.runner.leave()
        left = Deny(DenyReason.TIMED_OUT, Which.FACE)
        assert world.reports.get(timeout=WAIT_S).decisions == [left]


def test_who_walks_away_from_the_pin_leaves_none_without_a_key(world: World) -> None:
    world.rules.face = FaceMode(FaceReason.NOT_IN_POLICY)
    world.tap()
    world.at(Screen.PIN)
    world.runner.leave()
    assert world.reports.get(timeout=WAIT_S).decisions == []
    assert world.decisions == []


def test_a_template_that_does_not_open_is_no_incident_of_the_verifier(world: World) -> None:
    world.card = replace(CARD, consent_record=b"another consent")
    world.kiosk.pins = [PIN]
    world.passage()
    world.trace.wait("verifier gone")
    world.stop()
    assert not [r for r in world.trace.records() if isinstance(r, Faulted)]


def guest() -> VerifiedCard:
    """A card that is authenticated and denied."""
    return make_card(groups=("guests",))


def test_denied_cards_are_numbered_through_the_day_and_nobody_else(world: World) -> None:
    first = guest()
    for card in (first, CARD, guest(), Refused(CardRefusal.REVOKED), first, CARD, guest()):
        world.card = card
        world.passage()
    assert [record.card for record in world.decisions] == [1, 0, 2, 0, 1, 0, 3]
    world.stop()
    assert world.trace.records()[-2:] == [CardKeyDestroyed(3), Stopped(clean=True)]


def test_a_number_of_a_decision_that_was_not_recorded_is_given_again(world: World) -> None:
    world.card = guest()
    world.passage()
    world.card = guest()
    world.log.fails_at = Decided
    assert world.passage().unrecorded
    world.log.fails_at = None
    world.at(Screen.IDLE, times=3)
    world.card = guest()
    world.passage()
    assert [record.card for record in world.decisions] == [1, 2]


def test_at_midnight_the_key_is_destroyed_while_the_lane_is_idle(world: World) -> None:
    world.now = NOW.replace(hour=23, minute=59)
    world.card = guest()
    world.passage()
    world.at(Screen.IDLE, times=2)
    assert CardKeyDestroyed(1) not in world.trace.all
    world.now = NOW + timedelta(hours=15, seconds=1)
    world.trace.wait(CardKeyDestroyed(1))
    world.card = guest()
    world.passage()
    assert world.decisions[-1].card == 1


def test_midnight_in_the_middle_of_a_passage(world: World) -> None:
    world.now = NOW.replace(hour=23, minute=59)
    world.rules.face = FaceMode(FaceReason.NOT_IN_POLICY)
    world.card = guest()
    world.passage()
    world.card, world.kiosk.pins = CARD, ["0000"]
    world.tap()
    world.at(Screen.PIN_AGAIN)
    world.now = NOW + timedelta(hours=15)
    token = world.kiosk.views[-1].pin_token
    assert token is not None
    world.kiosk.type(token, PIN)
    assert world.reports.get(timeout=WAIT_S).let_in
    found = [r for r in world.trace.records() if isinstance(r, CardKeyDestroyed | Decided)]
    early = denied(DenyReason.NOT_ALLOWED_HERE, card=1)
    wrong = denied(DenyReason.WRONG_PIN, Which.PIN, 2)
    assert found == [early, wrong, CardKeyDestroyed(2), PIN_GRANTED]


def test_a_key_whose_end_cannot_be_recorded_names_nobody_any_more(world: World) -> None:
    world.now = NOW.replace(hour=23, minute=59)
    world.card = guest()
    world.passage()
    world.at(Screen.IDLE, times=2)
    world.card = CARD
    world.log.fails_at = CardKeyDestroyed
    world.now = NOW + timedelta(hours=15)
    world.trace.wait(("refused", CardKeyDestroyed(1)))
    assert not world.passage().granted, "no decision of the new day before that record"
    assert world.pulses == 0
    world.log.fails_at = None
    world.trace.wait(CardKeyDestroyed(1))
    world.at(Screen.IDLE, times=3)
    assert world.passage().let_in


# ---- rules and alarms -------------------------------------------------------------------------


def test_another_policy_rules_from_the_next_passage_on(world: World) -> None:
    world.passage()
    document = POLICY.document.model_copy(update={"access_groups": ("guests",)})
    newer = Policy(document, "cd" * 32)
    world.rules.next.append((PolicyChanged(newer.sha256), newer))
    assert world.passage().decisions == [Deny(DenyReason.NOT_ALLOWED_HERE)]
    records = world.trace.records()
    place = records.index(PolicyChanged(newer.sha256))
    assert records.index(FACE_GRANTED) < place
    assert records.index(denied(DenyReason.NOT_ALLOWED_HERE, card=1)) > place


def test_a_policy_that_cannot_be_recorded_does_not_rule(world: World) -> None:
    document = POLICY.document.model_copy(update={"access_groups": ("guests",)})
    newer = Policy(document, "cd" * 32)
    world.start()
    world.at(Screen.IDLE)
    world.log.fails_at = PolicyChanged
    world.rules.next.append((PolicyChanged(newer.sha256), newer))
    world.trace.wait(("refused", PolicyChanged(newer.sha256)))
    assert world.rules.policy is POLICY
    world.log.fails_at = None
    world.trace.wait(PolicyChanged(newer.sha256))


def test_the_pin_tries_follow_the_policy(world: World) -> None:
    strict = Policy(POLICY.document.model_copy(update={"pin_max_tries": 1}), "cd" * 32)
    world.rules.face = FaceMode(FaceReason.NOT_IN_POLICY)
    world.start()
    world.rules.next.append((PolicyChanged(strict.sha256), strict))
    world.kiosk.pins = ["0000", PIN]
    assert world.passage().decisions == [Deny(DenyReason.WRONG_PIN, Which.PIN)]


def test_rules_that_break_keep_the_lane_and_the_old_rules(world: World) -> None:
    def broken(now: datetime, append: Callable[[Record], bool]) -> None:  # noqa: ARG001 - a port
        raise RuntimeError("a defect")

    world.rules.renew = broken  # type: ignore[method-assign]  # this rules object misbehaves
    assert world.passage().let_in
    assert Faulted(FaultCode.INTERNAL) in world.trace.records()


@pytest.mark.parametrize(
    ("begin", "code"),
    [
        (lambda w: setattr(w.rules, "fresh", False), FaultCode.STATUS_LIST_STALE),
        (
            lambda w: setattr(w.rules, "face", FaceMode(FaceReason.POLICY_EXPIRED)),
            FaultCode.POLICY_EXPIRED,
        ),
        (
            lambda w: setattr(w.rules, "face", FaceMode(FaceReason.DEPLOYMENT_EXPIRED)),
            FaultCode.DEPLOYMENT_EXPIRED,
        ),
        (
            lambda w: setattr(
                w.turnstile, "now", TurnstileStatus(Link.ONLINE, ready=True, fire=True)
            ),
            FaultCode.FIRE,
        ),
        (
            lambda w: setattr(w.turnstile, "now", TurnstileStatus(Link.OFFLINE)),
            FaultCode.TURNSTILE_OFFLINE,
        ),
        (lambda w: setattr(w.keys, "dead", True), FaultCode.KEY_AGENT_DEAD),
    ],
)
def test_an_alarm_is_recorded_when_it_begins_and_when_it_ends(
    world: World, begin: Callable[[World], None], code: FaultCode
) -> None:
    world.start()
    world.at(Screen.IDLE)
    begin(world)
    world.trace.wait(Faulted(code))
    time.sleep(0.6)  # asked again a few times meanwhile
    world.rules.fresh, world.rules.face = True, FACE_ON
    world.turnstile.now = TurnstileStatus(Link.ONLINE, ready=True)
    world.keys.dead = False
    world.trace.wait(Cleared(code))
    assert world.trace.records() == [Faulted(code), Cleared(code)]


def test_no_verifier_for_half_a_minute_is_a_fault(world: World) -> None:
    seconds = [0.0]
    world.now_s = lambda: seconds[0]
    world.verifiers.missing = True
    world.start()
    world.at(Screen.CARD_ONLY)
    assert Faulted(FaultCode.VERIFIER_SPAWN) not in world.trace.all
    seconds[0] = 31.0
    world.trace.wait(Faulted(FaultCode.VERIFIER_SPAWN))
    world.verifiers.missing = False
    world.trace.wait(Cleared(FaultCode.VERIFIER_SPAWN))


def test_a_host_that_begins_to_swap_is_recorded_and_shown(world: World) -> None:
    seconds = [0.0]
    world.now_s = lambda: seconds[0]
    world.start()
    world.at(Screen.IDLE)
    world.host = replace(HOST, swap_off=False)
    time.sleep(0.6)
    assert world.trace.records() == [], "asked about once a minute"
    seconds[0] = 61.0
    world.trace.wait(HostSeen(True, False, True, True))
    (line,) = [line for line in world.runner.health() if line.part.startswith("host")]
    assert not line.ok
    assert "swapoff" in line.advice
    world.host = HOST
    seconds[0] = 130.0
    world.trace.wait(HostSeen(True, True, True, True))
    assert world.trace.records() == [HostSeen(True, False, True, True), HostSeen(*[True] * 4)]
