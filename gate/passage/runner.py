"""Owns devices, threads and time; lets the state machine decide. One runner per lane.

The loop thread handles events one by one and appends decisions itself, so that nothing can move
before a record is durable. Card, face, PIN, relay and sensor run in threads of one passage each
and answer with events; an event of an earlier passage is dropped.
"""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from firmware_bridge.ports import Crossing, Link, OpenResult, Turnstile
from gate.card.verified import Refused, VerifiedCard
from gate.console.deps import Health, KioskView
from gate.errors import VerifierFault
from gate.ledger.record import Decided, FaultCode, Moved, Stopped, VerifierDied
from gate.passage import events as ev
from gate.passage.card_field import CardField
from gate.passage.decision import Decision, DenyReason
from gate.passage.face_leg import FaceLeg, View
from gate.passage.health import health
from gate.passage.lane_log import LaneLog
from gate.passage.lanes import may_look, offer, second_look
from gate.passage.pin_leg import PinLeg
from gate.passage.pin_tries import PinTries
from gate.passage.ports import (
    CardChannel,
    CardChecks,
    CardReader,
    CardStands,
    KeyReleases,
    Kiosk,
    Log,
    Verifiers,
)
from gate.passage.report import PassageReport
from gate.passage.screens import view
from gate.passage.session import DEADLINE_MS, Session, State
from gate.policy import FaceMode, Policy
from models.types import Advice

HEALTH_EVERY_S = 0.25
FAULT_OF = {
    DenyReason.VERIFIER_FAULT: FaultCode.VERIFIER_KILLED,
    DenyReason.INTERNAL_FAULT: FaultCode.INTERNAL,
}
BEFORE_OPENING = (State.CARD, State.LOOK, State.PIN, State.GRANTING)
AT_REST = (State.IDLE, State.CLOSED)
"""Only here a card is waited for, so a passage never meets a second one."""
REFILL_S = 2.0
"""How long a passage waits for a spare before it goes on in the card + PIN lane."""


@dataclass(frozen=True)
class Lane:
    """Everything one lane works with. Built in gate.wiring, real or simulated."""

    reader: CardReader
    card_checks: CardChecks
    card_stands: CardStands
    verifiers: Verifiers
    keys: KeyReleases
    turnstile: Turnstile
    log: Log
    kiosk: Kiosk
    policy: Policy
    face_mode: Callable[[datetime], FaceMode]
    view: View
    pulse_ms: int
    pin_lock_s: float = 900.0
    deadline_ms: Mapping[State, int | None] = field(default_factory=lambda: DEADLINE_MS)


class Runner:
    """Runs one lane until `stop`."""

    def __init__(
        self,
        lane: Lane,
        *,
        on_passage: Callable[[PassageReport], None] = lambda _report: None,
        utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic_s: Callable[[], float] = time.monotonic,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._lane = lane
        self._on_passage = on_passage
        self._utc_now = utc_now
        self._now_s = monotonic_s
        self._random = random_bytes
        self._session = Session(lane.deadline_ms)
        self._events: queue.SimpleQueue[tuple[int, ev.Event]] = queue.SimpleQueue()
        self._tries = PinTries(
            lane.policy.pin_max_tries, lane.pin_lock_s, random_bytes(32), monotonic_s
        )
        # Of the passage under way; `_number` tells its events from those of an earlier one.
        self._number = 0
        self._under_way = False
        self._report = PassageReport()
        self._began_s = 0.0
        self._state_since_s = 0.0
        self._channel: CardChannel | None = None
        self._card: VerifiedCard | None = None
        self._face_leg: FaceLeg | None = None
        self._pin_leg: PinLeg | None = None
        self._threads: list[threading.Thread] = []
        self._pin_token: str | None = None
        self._advice = Advice.NONE
        self._camera_on = False
        # Of the lane.
        self._shown: KioskView | None = None
        self._card_only = False
        self._spare_seen_s = float("-inf")
        self._log = LaneLog(lane.log, utc_now, monotonic_s)
        self._field = CardField(lane.reader, self._log, self._tapped)
        self._agent_alive = True

    # ---- for other threads ------------------------------------------------------------------

    def stop(self) -> None:
        """Ask for a shutdown: a passage under way is denied, or finished when already granted."""
        self._events.put((self._number, ev.Stop()))

    def choose_pin_lane(self) -> None:
        """The person at the kiosk prefers the PIN."""
        self._events.put((self._number, ev.PinChosen()))

    def leave(self) -> None:
        """The person at the kiosk walks away."""
        self._events.put((self._number, ev.Left()))

    # ---- the loop ---------------------------------------------------------------------------

    def run(self) -> None:
        """Run until stopped. Every exception of one step is a denial, never the end of the lane."""
        self._state_since_s = self._now_s()
        self._field.start()
        try:
            while self._session.state is not State.STOPPED:
                try:
                    for event in self._next_events():
                        self._handle(event)
                except Exception as error:  # what is undone ends with its state's deadline
                    self._log.internal(error)
                    time.sleep(HEALTH_EVERY_S)
        finally:
            self._field.end()
            self._forget()
            self._log.append(Stopped(clean=self._session.state is State.STOPPED))

    def _next_events(self) -> list[ev.Event]:
        deadline_ms = self._session.deadline_ms
        wait_s = HEALTH_EVERY_S
        if deadline_ms is not None:
            left_s = self._state_since_s + deadline_ms / 1000 - self._now_s()
            # What comes too late opens nothing; what moved already is still heard.
            if left_s <= 0 and (self._session.state in BEFORE_OPENING or self._events.empty()):
                return [ev.TimedOut()]
            wait_s = max(0.0, min(wait_s, left_s))
        elif self._session.state is State.CLOSED:
            # Ask at once after a passage, so that the screen does not flicker.
            health = self._health()
            if isinstance(health, ev.Healthy):
                return [health]
            self._handle(health)
        try:
            number, event = self._events.get(timeout=wait_s)
        except queue.Empty:
            return [self._health()] if self._session.state is State.IDLE else []
        if isinstance(event, ev.Tapped):
            self._begin_passage()
        elif number != self._number and not isinstance(event, ev.Stop):
            return []
        return [event]

    def _handle(self, event: ev.Event) -> None:
        before = self._session.state
        effects = self._session.handle(event)
        if self._session.state is not before:
            self._state_since_s = self._now_s()
        if isinstance(event, ev.CameraOn):
            self._camera_on = True
        if isinstance(event, ev.FaceMatched | ev.FaceFailed) and self._verdict_given():
            lost = isinstance(event, ev.FaceFailed) and event.reason is DenyReason.CAMERA_FAULT
            self._log.once(FaultCode.CAMERA, present=lost)
        try:
            for effect in effects:
                self._carry_out(effect)
            self._show()
        finally:
            if before not in AT_REST and self._session.state in AT_REST:
                self._field.free()

    def _carry_out(self, effect: ev.Effect) -> None:
        match effect:
            case ev.ReadCard():
                self._start(self._read_card, ev.CardRejected(DenyReason.INTERNAL_FAULT))
            case ev.Look():
                assert self._card is not None
                leg = FaceLeg(self._card, self._lane.view, self._random(8))
                self._face_leg = leg
                self._start(
                    partial(self._look, leg, self._card, self._report),
                    ev.FaceFailed(DenyReason.INTERNAL_FAULT),
                )
            case ev.EndLook():
                self._camera_on = False
                if self._face_leg is not None and not self._verdict_given():
                    self._face_leg.stop()
            case ev.Guide(advice):
                self._advice = advice
            case ev.AskPin():
                assert self._card is not None
                token = self._pin_token = self._lane.kiosk.open_prompt()
                self._pin_leg = self._pin_leg or PinLeg(self._card)
                self._start(
                    partial(self._ask_pin, self._card, self._pin_leg, token),
                    ev.PinFailed(DenyReason.INTERNAL_FAULT, may_retry=False),
                )
            case ev.EndPin():
                self._end_pin()
            case ev.Record(decision):
                self._record(decision)
            case ev.Pulse():
                self._start(
                    partial(self._pulse, self._state_since_s), ev.Opened(OpenResult.UNKNOWN)
                )
            case ev.Watch():
                self._start(self._watch_crossing, ev.Crossed(Crossing.UNOBSERVED))
            case ev.RecordMove(result, crossing):
                self._report.opened, self._report.crossing = result, crossing
                self._log.append(Moved(result, crossing))
            case ev.Forget():
                self._forget()

    # ---- steps of one passage ---------------------------------------------------------------

    def _begin_passage(self) -> None:
        self._number += 1
        self._under_way = True
        self._report = PassageReport()
        self._began_s = self._now_s()
        self._advice = Advice.NONE
        self._log.once(FaultCode.INTERNAL, present=False)

    def _post(self, number: int, event: ev.Event) -> None:
        self._events.put((number, event))

    def _start(self, step: Callable[[int], None], failed: ev.Event) -> None:
        """Run one step in a thread of its own; `failed` is its answer when it breaks."""
        number = self._number

        def guarded() -> None:
            try:
                step(number)
            except Exception as error:  # any doubt is a denial with a record
                self._log.internal(error)
                self._post(number, failed)

        thread = threading.Thread(target=guarded, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _step(self, name: str, took_ms: float) -> None:
        self._report.steps_ms[name] = took_ms

    def _read_card(self, number: int) -> None:
        began_s = self._now_s()
        channel = self._channel
        assert channel is not None
        now = self._utc_now()
        card = self._lane.card_checks(channel, now)
        channel.close()  # nothing more is asked of the phone; it may leave the field
        self._step("card", (self._now_s() - began_s) * 1000)
        if not isinstance(card, Refused) and number == self._number:
            self._card = card
        policy = self._lane.policy
        look = may_look(card, policy, self._lane.face_mode(now)) and self._verifier_ready()
        locked = not isinstance(card, Refused) and self._tries.left(card.credential_id) == 0
        self._post(number, offer(card, policy, look=look, pin_locked=locked))

    def _verifier_ready(self) -> bool:
        """Whether a spare waits, or comes while a person would not notice."""
        try:
            self._lane.verifiers.wait_ready(REFILL_S)
        except VerifierFault:
            return False
        return True

    def _look(self, leg: FaceLeg, card: VerifiedCard, report: PassageReport, number: int) -> None:
        certificate, fault = leg.run(
            self._lane.verifiers,
            self._lane.keys,
            lambda event: self._post(number, self._confirmed(card, event)),
            self._step,
        )
        report.certificate = certificate
        if certificate is not None:
            self._log.append(VerifierDied.of(certificate))
        if fault in FAULT_OF:
            self._log.fault(FAULT_OF[fault])

    def _verdict_given(self) -> bool:
        return "look" in self._report.steps_ms

    def _ask_pin(self, card: VerifiedCard, leg: PinLeg, token: str, number: int) -> None:
        deadline_ms = self._lane.deadline_ms[State.PIN]
        assert deadline_ms is not None
        pin = self._lane.kiosk.wait_pin(token, deadline_ms / 1000)
        if pin is not None:
            began_s = self._now_s()
            answer = leg.check(pin, self._tries, self._lane.keys)
            self._step("pin", (self._now_s() - began_s) * 1000)
            self._post(number, self._confirmed(card, answer))

    def _confirmed(self, card: VerifiedCard, event: ev.Event) -> ev.Event:
        """Return the event, or what a match becomes when the card or lane changed since the tap."""
        if not isinstance(event, ev.FaceMatched | ev.PinMatched):
            return event
        try:
            now = self._utc_now()
            stands = self._lane.card_stands(card, now)
            status = self._lane.turnstile.status()
            return second_look(event, stands, self._lane.face_mode(now), status)
        except Exception as error:  # any doubt is a denial with a record
            self._log.internal(error)
            return ev.CardRejected(DenyReason.INTERNAL_FAULT)

    def _end_pin(self) -> None:
        if self._pin_token is not None:
            self._lane.kiosk.close_prompt(self._pin_token)
            self._pin_token = None

    def _record(self, decision: Decision) -> None:
        began_s = self._now_s()
        durable = self._log.append(Decided.of(decision))
        took_ms = (self._now_s() - began_s) * 1000
        self._step("record", took_ms)
        limit_ms = self._session.deadline_ms
        if not durable:
            self._report.unrecorded = True
            self._post(self._number, ev.RecordFailed())
            return
        self._report.decisions.append(decision)
        late = limit_ms is not None and took_ms > limit_ms
        self._post(self._number, ev.TimedOut() if late else ev.Recorded())

    def _pulse(self, granted_s: float, number: int) -> None:
        began_s = self._now_s()
        limit_ms = self._lane.deadline_ms[State.OPENING]
        if limit_ms is not None and began_s - granted_s > limit_ms / 1000:
            self._post(number, ev.Opened(OpenResult.NOT_DELIVERED))  # this host stood still
            return
        result = self._lane.turnstile.open(self._lane.pulse_ms)
        self._step("open", (self._now_s() - began_s) * 1000)
        self._step("tap_to_open", (self._now_s() - self._began_s) * 1000)
        self._post(number, ev.Opened(result))

    def _watch_crossing(self, number: int) -> None:
        deadline_ms = self._lane.deadline_ms[State.CROSSING]
        assert deadline_ms is not None
        window_ms = max(100, deadline_ms - 500)
        self._post(number, ev.Crossed(self._lane.turnstile.watch_crossing(window_ms)))

    def _forget(self) -> None:
        """Drop all that belongs to this card, and wait until its verifier is gone."""
        self._end_pin()
        if self._face_leg is not None and not self._verdict_given():
            self._face_leg.stop()
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=2.0)
        self._threads.clear()
        self._number += 1  # whatever still comes of this passage is of an earlier one
        self._card = None
        self._face_leg = None
        self._pin_leg = None
        self._camera_on = False
        self._advice = Advice.NONE
        if self._under_way:
            self._under_way = False
            self._on_passage(self._report)

    def _tapped(self, channel: CardChannel) -> None:
        self._channel = channel
        self._post(-1, ev.Tapped())

    # ---- health -----------------------------------------------------------------------------

    def _health(self) -> ev.Event:
        try:
            health = self._ask_health()
        except Exception as error:  # a part that cannot say how it is, is not well
            self._log.internal(error)
            return ev.Unhealthy(DenyReason.INTERNAL_FAULT)
        self._log.once(FaultCode.INTERNAL, present=False)
        return health

    def _ask_health(self) -> ev.Event:
        status = self._lane.turnstile.status()
        self._agent_alive = self._lane.keys.alive()
        self._log.retry()
        self._log.once(FaultCode.TURNSTILE_OFFLINE, present=status.link is Link.OFFLINE)
        self._log.once(FaultCode.TURNSTILE_WRONG_KEY, present=status.link is Link.WRONG_KEY)
        if status.link is Link.ONLINE:  # otherwise nobody knows what the inputs say
            self._log.once(FaultCode.TAMPER, present=status.tamper)
            self._log.once(FaultCode.FIRE, present=status.fire)
        self._log.once(FaultCode.KEY_AGENT_DEAD, present=not self._agent_alive)
        face = self._lane.face_mode(self._utc_now())
        if self._lane.verifiers.ready():
            self._spare_seen_s = self._now_s()
        # A spare that comes while somebody taps still serves them: see REFILL_S.
        waiting = self._now_s() - self._spare_seen_s <= REFILL_S
        self._card_only = not (face.on and waiting)
        self._show()
        if not self._log.ok:
            return ev.Unhealthy(DenyReason.LEDGER_UNAVAILABLE)
        if status.link is not Link.ONLINE or status.tamper:
            return ev.Unhealthy(DenyReason.TURNSTILE_OFFLINE)
        if not self._agent_alive:
            return ev.Unhealthy(DenyReason.KEY_UNAVAILABLE)
        return ev.Healthy()

    def health(self) -> list[Health]:
        """Return what the admin page shows, with advice where something is wrong."""
        return health(
            self._lane.turnstile.status(),
            self._lane.face_mode(self._utc_now()),
            agent_alive=self._agent_alive,  # as the lane saw it: asking again could hide a death
            verifier_ready=self._lane.verifiers.ready(),
            ledger_ok=self._log.ok,
        )

    def _show(self) -> None:
        looking = self._session.state is State.LOOK
        shown = view(
            self._session.state,
            self._session.memory,
            advice=self._advice,
            camera_on=self._camera_on,
            deadline_ms=self._lane.view.look_ms if looking else self._session.deadline_ms,
            pin_token=self._pin_token,
            card_only=self._card_only,
        )
        if shown != self._shown:
            self._shown = shown
            self._lane.kiosk.show(shown)
