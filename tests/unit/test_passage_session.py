from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.ports import Crossing, OpenResult
from gate.passage import events as ev
from gate.passage.decision import Deny, DenyReason, Grant, Lane
from gate.passage.session import DEADLINE_MS, ROWS, Session, State
from models.types import Advice

reasons = st.sampled_from(DenyReason)
any_event: st.SearchStrategy[ev.Event] = st.one_of(
    st.builds(ev.Healthy),
    st.builds(ev.Unhealthy, reasons),
    st.builds(ev.Tapped),
    st.builds(ev.FaceOffered, st.booleans()),
    st.builds(ev.PinOffered),
    st.builds(ev.CardRejected, reasons),
    st.builds(ev.CameraOn),
    st.builds(ev.Guided, st.sampled_from(Advice)),
    st.builds(ev.FaceMatched),
    st.builds(ev.FaceFailed, reasons),
    st.builds(ev.PinChosen),
    st.builds(ev.PinMatched),
    st.builds(ev.PinFailed, reasons, st.booleans()),
    st.builds(ev.Recorded),
    st.builds(ev.RecordFailed),
    st.builds(ev.Opened, st.sampled_from(OpenResult)),
    st.builds(ev.Crossed, st.sampled_from(Crossing)),
    st.builds(ev.Left),
    st.builds(ev.TimedOut),
    st.builds(ev.Stop),
)


def feed(*events: ev.Event) -> tuple[Session, list[ev.Effect]]:
    session, effects = Session(), []
    for event in events:
        effects += session.handle(event)
    return session, effects


TO_LOOK = (ev.Healthy(), ev.Tapped(), ev.FaceOffered(pin_possible=True))


def test_the_owner_passes() -> None:
    session, effects = feed(
        *TO_LOOK,
        ev.CameraOn(),
        ev.FaceMatched(),
        ev.Recorded(),
        ev.Opened(OpenResult.OPENED),
        ev.Crossed(Crossing.ONE),
    )
    assert session.state is State.CLOSED
    assert effects == [
        ev.ReadCard(),
        ev.Look(),
        ev.EndLook(),
        ev.Record(Grant(Lane.FACE)),
        ev.Pulse(),
        ev.Watch(),
        ev.RecordMove(OpenResult.OPENED, Crossing.ONE),
        ev.Forget(),
    ]


def test_a_failed_face_is_recorded_and_then_offered_the_other_lane() -> None:
    session, effects = feed(*TO_LOOK, ev.FaceFailed(DenyReason.NO_FACE), ev.Recorded())
    assert session.state is State.PIN
    assert effects[-2:] == [ev.Record(Deny(DenyReason.NO_FACE, Lane.FACE)), ev.AskPin(again=False)]


def test_choosing_the_pin_leaves_no_record() -> None:
    session, effects = feed(*TO_LOOK, ev.PinChosen())
    assert session.state is State.PIN
    assert not [effect for effect in effects if isinstance(effect, ev.Record)]


def test_a_wrong_pin_may_be_tried_again_until_locked() -> None:
    wrong = ev.PinFailed(DenyReason.WRONG_PIN, may_retry=True)
    locked = ev.PinFailed(DenyReason.PIN_LOCKED, may_retry=False)
    start = (ev.Healthy(), ev.Tapped(), ev.PinOffered())
    session, effects = feed(*start, wrong, ev.Recorded())
    assert session.state is State.PIN
    assert effects[-1] == ev.AskPin(again=True)
    session, _ = feed(*start, wrong, ev.Recorded(), locked, ev.Recorded())
    assert session.state is State.REFUSED


def test_no_record_no_entry() -> None:
    session, effects = feed(*TO_LOOK, ev.FaceMatched(), ev.RecordFailed())
    assert session.state is State.REFUSED
    assert ev.Pulse() not in effects


def test_a_record_that_came_too_late_opens_nothing() -> None:
    session, effects = feed(*TO_LOOK, ev.FaceMatched(), ev.TimedOut(), ev.Recorded())
    assert session.state is State.REFUSED
    assert ev.Pulse() not in effects
    assert ev.RecordMove(OpenResult.NOT_DELIVERED, Crossing.UNOBSERVED) in effects


def test_a_tap_at_a_closed_lane_is_a_recorded_denial() -> None:
    _, effects = feed(ev.Unhealthy(DenyReason.TURNSTILE_OFFLINE), ev.Tapped())
    assert effects == [ev.Record(Deny(DenyReason.TURNSTILE_OFFLINE))]


def test_stopping_denies_a_passage_under_way_but_finishes_a_granted_one() -> None:
    session, effects = feed(*TO_LOOK, ev.Stop(), ev.Recorded())
    assert session.state is State.STOPPED
    assert ev.Record(Deny(DenyReason.SHUTTING_DOWN, Lane.FACE)) in effects
    session, effects = feed(
        *TO_LOOK,
        ev.FaceMatched(),
        ev.Stop(),
        ev.Recorded(),
        ev.Opened(OpenResult.OPENED),
        ev.Crossed(Crossing.ONE),
    )
    assert session.state is State.STOPPED
    assert ev.RecordMove(OpenResult.OPENED, Crossing.ONE) in effects


def test_every_state_that_waits_for_a_device_or_a_person_has_a_deadline() -> None:
    for state in State:
        waits_for_outside = state in (State.CLOSED, State.IDLE, State.STOPPED)
        assert (DEADLINE_MS[state] is None) == waits_for_outside
        if not waits_for_outside:
            assert any(row.state is state and row.event is ev.TimedOut for row in ROWS), state


def test_stop_ends_every_state() -> None:
    for state in State:
        if state is not State.STOPPED:
            assert any(row.state is state and row.event is ev.Stop for row in ROWS), state


@given(st.lists(any_event, max_size=60))
@settings(max_examples=600, deadline=None)
def test_no_order_of_events_opens_without_a_durable_grant(events: list[ev.Event]) -> None:
    session = Session()
    granted = False
    looking = prompting = False
    for event in events:
        state = session.state
        effects = session.handle(event)
        for effect in effects:
            match effect:
                case ev.Record(decision):
                    assert isinstance(decision, Grant) == (session.state is State.GRANTING)
                    if isinstance(decision, Grant):
                        assert isinstance(event, ev.FaceMatched | ev.PinMatched)
                        granted = True
                case ev.Pulse():
                    assert granted, "a pulse needs a grant"
                    assert state is State.GRANTING
                    assert isinstance(event, ev.Recorded)
                    granted = False
                case ev.Look():
                    assert not looking
                    looking = True
                case ev.EndLook():
                    looking = False
                case ev.AskPin():
                    assert not looking, "one factor at a time"
                    prompting = True
                case ev.EndPin() | ev.Forget():
                    prompting = False
        if session.state in (State.GRANTING, State.OPENING, State.IDLE, State.CLOSED):
            assert not looking
            assert not prompting
        if session.state not in (State.GRANTING,):
            granted = granted and session.state is State.GRANTING


@given(st.lists(any_event, max_size=40))
@settings(max_examples=200, deadline=None)
def test_time_and_records_always_lead_back_to_rest(events: list[ev.Event]) -> None:
    session = Session()
    for event in events:
        session.handle(event)
    answers: dict[State, Any] = {State.GRANTING: ev.RecordFailed(), State.DENYING: ev.Recorded()}
    for _ in range(8):
        session.handle(answers.get(session.state, ev.TimedOut()))
    assert session.state in (State.CLOSED, State.IDLE, State.STOPPED)
