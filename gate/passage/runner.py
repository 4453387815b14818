"""Owns devices, threads and time; lets the state machine decide. One runner per lane.

The loop thread handles events one by one and appends decisions itself, so that nothing can move
before a record is durable. Card, face, PIN, relay and sensor run in threads of one passage each
and answer with events; an event of an earlier passage is dropped.
"""

from __future__ import annotations

import queue
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from functools import partial

from gate.console.deps import Health, KioskView
from gate.ledger.record import FaultCode, KeyPurpose, KeyUsed, Moved, Stopped
from gate.passage import events as ev
from gate.passage.card_field import CardField
from gate.passage.day_cards import DayCards, fill_random
from gate.passage.decision import Decision, DenyReason, Grant
from gate.passage.decision_log import DecisionLog
from gate.passage.lane import Lane
from gate.passage.lane_log import LaneLog
from gate.passage.pin_tries import PinTries
from gate.passage.ports import CardChannel
from gate.passage.report import PassageReport
from gate.passage.screens import view
from gate.passage.session import Session, State
from gate.passage.steps import Around, Steps
from gate.passage.watching import LaneWatch
from gate.template.outcome import KeyOutcome
from models.types import Advice

HEALTH_EVERY_S = 0.25
KEY_SETTLE_S = 1.0
"""How long a decision waits for the record of its key: longer than the agent's own limit."""
BEFORE_OPENING = (State.CARD, State.LOOK, State.PIN, State.GRANTING)
AT_REST = (State.IDLE, State.CLOSED)
"""Only here a card is waited for, so a passage never meets a second one."""


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
        zone: tzinfo | None = None,
    ) -> None:
        self._lane = lane
        self._on_passage = on_passage
        self._now_s = monotonic_s
        self._session = Session(lane.deadline_ms)
        self._events: queue.SimpleQueue[tuple[int, ev.Event]] = queue.SimpleQueue()
        self._tries = PinTries(
            lane.rules.policy.pin_max_tries, lane.pin_lock_s, random_bytes(32), monotonic_s
        )
        # Of the passage under way; `_number` tells its events from those of an earlier one.
        self._number = 0
        self._channel: CardChannel | None = None
        self._steps: Steps | None = None
        self._keys_recorded = True
        self._state_since_s = 0.0
        self._advice = Advice.NONE
        self._camera_on = False
        # Of the lane.
        self._shown: KioskView | None = None
        self._log = LaneLog(lane.log, utc_now, monotonic_s)
        cards = DayCards(fill_random, monotonic_s, zone)
        self._decisions = DecisionLog(self._log, cards, utc_now)
        self._watch = LaneWatch(lane, self._log, self._decisions, utc_now, monotonic_s)
        self._field = CardField(lane.reader, self._log, self._tapped)
        self._around = Around(lane, self._log, self._tries, utc_now, monotonic_s, random_bytes)

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
            self._decisions.end()
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
        on_way = self._session.state in BEFORE_OPENING
        if isinstance(event, ev.Left) and on_way and self._steps is not None:
            # From here on no key is asked for; what was asked for must not end without a decision.
            return [ev.Left(owed=self._steps.uses.end())]
        return [event]

    def _handle(self, event: ev.Event) -> None:
        before = self._session.state
        effects = self._session.handle(event)
        if self._session.state is not before:
            self._state_since_s = self._now_s()
        if isinstance(event, ev.CameraOn):
            self._camera_on = True
        looked = self._steps is not None and self._steps.verdict_given
        if isinstance(event, ev.FaceMatched | ev.FaceFailed) and looked:
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
        steps = self._steps
        if isinstance(effect, ev.Forget):
            self._forget()
            return
        assert steps is not None  # every other effect belongs to a passage
        match effect:
            case ev.ReadCard():
                steps.read_card()
            case ev.Look():
                steps.look()
            case ev.EndLook():
                self._camera_on = False
                steps.end_look()
            case ev.Guide(advice):
                self._advice = advice
            case ev.AskPin():
                steps.ask_pin()
            case ev.EndPin():
                steps.end_pin()
            case ev.RecordKeys():
                self._record_keys(steps.uses.take())
            case ev.Record(decision):
                self._record(steps, decision)
            case ev.Pulse():
                steps.pulse(self._state_since_s)
            case ev.Watch():
                steps.watch_crossing()
            case ev.RecordMove(result, crossing):
                steps.report.opened, steps.report.crossing = result, crossing
                self._log.append(Moved(result, crossing))

    # ---- one passage ------------------------------------------------------------------------

    def _begin_passage(self) -> None:
        self._number += 1
        self._advice = Advice.NONE
        self._log.once(FaultCode.INTERNAL, present=False)
        self._watch.renew(at_once=True)
        self._tries.max_tries = self._lane.rules.policy.pin_max_tries
        self._keys_recorded = True
        channel, self._channel = self._channel, None
        self._steps = Steps(self._around, channel, partial(self._post, self._number))

    def _post(self, number: int, event: ev.Event) -> None:
        self._events.put((number, event))

    def _record_keys(self, used: list[KeyUsed]) -> None:
        self._keys_recorded = self._decisions.keys_used(used) and self._keys_recorded

    def _record(self, steps: Steps, decision: Decision) -> None:
        began_s = self._now_s()
        try:
            durable = self._append(steps, decision)
        except Exception as error:  # nobody enters on a decision in doubt
            self._log.internal(error)
            durable = False
        took_ms = (self._now_s() - began_s) * 1000
        steps.took("record", took_ms)
        limit_ms = self._session.deadline_ms
        if not durable:
            steps.report.unrecorded = True
            self._post(self._number, ev.RecordFailed())
            return
        steps.report.decisions.append(decision)
        late = limit_ms is not None and took_ms > limit_ms
        self._post(self._number, ev.TimedOut() if late else ev.Recorded())

    def _append(self, steps: Steps, decision: Decision) -> bool:
        """Append a decision behind the keys of its passage. No grant without their records."""
        self._record_keys(steps.uses.settle(KEY_SETTLE_S))
        if isinstance(decision, Grant) and not self._keys_recorded:
            return False
        if not self._decisions.decided(decision, steps.card):
            return False
        steps.uses.decided()
        return True

    def _forget(self) -> None:
        """Drop all that belongs to this card, and wait until its verifier is gone."""
        steps, self._steps = self._steps, None
        if steps is not None:
            steps.end()
        self._number += 1  # whatever still comes of this passage is of an earlier one
        self._camera_on = False
        self._advice = Advice.NONE
        if steps is not None:
            self._on_passage(steps.report)

    def _tapped(self, channel: CardChannel) -> None:
        self._channel = channel
        self._post(-1, ev.Tapped())

    # ---- health -----------------------------------------------------------------------------

    def _health(self) -> ev.Event:
        try:
            found = self._watch.ask()
            self._show()
        except Exception as error:  # a part that cannot say how it is, is not well
            self._log.internal(error)
            return ev.Unhealthy(DenyReason.INTERNAL_FAULT)
        self._log.once(FaultCode.INTERNAL, present=False)
        return found

    def health(self) -> list[Health]:
        """Return what the admin page shows, with advice where something is wrong."""
        return self._watch.lines()

    @property
    def keys_recorded(self) -> Mapping[tuple[KeyPurpose, KeyOutcome], int]:
        """How many uses of a key the log holds since this start."""
        return dict(self._decisions.keys_recorded)

    def _show(self) -> None:
        looking = self._session.state is State.LOOK
        shown = view(
            self._session.state,
            self._session.memory,
            advice=self._advice,
            camera_on=self._camera_on,
            deadline_ms=self._lane.view.look_ms if looking else self._session.deadline_ms,
            pin_token=None if self._steps is None else self._steps.pin_token,
            card_only=self._watch.card_only,
        )
        if shown != self._shown:
            self._shown = shown
            self._lane.kiosk.show(shown)
