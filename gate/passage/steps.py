"""What one passage does in threads of its own: card, look, PIN, relay and sensor.

Each step answers with an event. An object of this module lives for one tap; the runner drops it
with everything in it that belongs to the card.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from firmware_bridge.ports import Crossing, OpenResult
from gate.card.verified import Refused, VerifiedCard
from gate.errors import VerifierFault
from gate.ledger.record import VerifierDied
from gate.passage import events as ev
from gate.passage.decision import DenyReason
from gate.passage.face_leg import FaceLeg
from gate.passage.key_uses import KeyUses
from gate.passage.lane import Lane
from gate.passage.lane_log import LaneLog
from gate.passage.lanes import may_look, offer, second_look
from gate.passage.pin_leg import PinLeg
from gate.passage.pin_tries import PinTries
from gate.passage.ports import CardChannel
from gate.passage.report import PassageReport
from gate.passage.session import State

REFILL_S = 2.0
"""How long a passage waits for a spare before it goes on in the card + PIN lane."""


@dataclass(frozen=True)
class Around:
    """What the passages of one lane share."""

    lane: Lane
    log: LaneLog
    tries: PinTries
    utc_now: Callable[[], datetime]
    now_s: Callable[[], float]
    random_bytes: Callable[[int], bytes]


class Steps:
    """The steps of one passage. The runner calls, threads work, `post` takes their answers.

    Args:
        around: the lane.
        channel: the card in the field, closed when its answer was read.
        post: takes the events of this passage, from any thread.
    """

    def __init__(
        self, around: Around, channel: CardChannel | None, post: Callable[[ev.Event], None]
    ) -> None:
        self._around = around
        self._lane = around.lane
        self._log = around.log
        self._channel = channel
        self._post = post
        self._policy = around.lane.rules.policy
        self._began_s = around.now_s()
        self._face_leg: FaceLeg | None = None
        self._pin_leg: PinLeg | None = None
        self._threads: list[threading.Thread] = []
        self.report = PassageReport()
        self.uses = KeyUses()
        self.card: VerifiedCard | None = None
        """Set once all card checks have passed."""
        self.pin_token: str | None = None

    @property
    def verdict_given(self) -> bool:
        """Whether the verifier gave its verdict and ends by itself."""
        return "look" in self.report.steps_ms

    def took(self, name: str, took_ms: float) -> None:
        """Keep the time of one step for the report."""
        self.report.steps_ms[name] = took_ms

    def read_card(self) -> None:
        """Run the card session and all card checks."""
        self._start(self._read_card, ev.CardRejected(DenyReason.INTERNAL_FAULT))

    def look(self) -> None:
        """Release the key to a verifier and let it look."""
        assert self.card is not None
        nonce = self._around.random_bytes(8)
        self._face_leg = FaceLeg(self.card, self._lane.view, nonce, self.uses)
        self._start(
            partial(self._look, self._face_leg, self.card),
            ev.FaceFailed(DenyReason.INTERNAL_FAULT),
        )

    def end_look(self) -> None:
        """End the verifier now, unless it ends by itself."""
        if self._face_leg is not None and not self.verdict_given:
            self._face_leg.stop()

    def ask_pin(self) -> None:
        """Open one PIN prompt and wait for what is typed."""
        assert self.card is not None
        self.pin_token = self._lane.kiosk.open_prompt()
        self._pin_leg = self._pin_leg or PinLeg(self.card, self.uses, self._post)
        self._start(
            partial(self._ask_pin, self.card, self._pin_leg, self.pin_token),
            ev.PinFailed(DenyReason.INTERNAL_FAULT, may_retry=False),
        )

    def end_pin(self) -> None:
        """Close the PIN prompt. Idempotent."""
        if self.pin_token is not None:
            self._lane.kiosk.close_prompt(self.pin_token)
            self.pin_token = None

    def pulse(self, granted_s: float) -> None:
        """Pulse the relay once, if the grant of `granted_s` is still young enough."""
        self._start(partial(self._pulse, granted_s), ev.Opened(OpenResult.UNKNOWN))

    def watch_crossing(self) -> None:
        """Watch the passage sensors."""
        self._start(self._watch_crossing, ev.Crossed(Crossing.UNOBSERVED))

    def end(self) -> None:
        """Let go of the card, allow no key any more, and wait until the verifier is gone."""
        self.uses.end()
        self.end_pin()
        self.end_look()
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=2.0)
        self._threads.clear()
        self.card = None
        self._face_leg = None
        self._pin_leg = None

    # ---- in threads -------------------------------------------------------------------------

    def _start(self, step: Callable[[], None], failed: ev.Event) -> None:
        """Run one step in a thread of its own; `failed` is its answer when it breaks."""

        def guarded() -> None:
            try:
                step()
            except Exception as error:  # any doubt is a denial with a record
                self._log.internal(error)
                self._post(failed)

        thread = threading.Thread(target=guarded, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _read_card(self) -> None:
        began_s = self._around.now_s()
        channel = self._channel
        assert channel is not None
        now = self._around.utc_now()
        card = self._lane.card_checks(channel, now)
        channel.close()  # nothing more is asked of the phone; it may leave the field
        self.took("card", (self._around.now_s() - began_s) * 1000)
        locked = False
        if not isinstance(card, Refused):
            self.card = card
            locked = self._around.tries.left(card.credential_id) == 0
        face = self._lane.rules.face_mode(now)
        look = may_look(card, self._policy, face) and self._verifier_ready()
        self._post(offer(card, self._policy, look=look, pin_locked=locked))

    def _verifier_ready(self) -> bool:
        """Whether a spare waits, or comes while a person would not notice."""
        try:
            self._lane.verifiers.wait_ready(REFILL_S)
        except VerifierFault:
            return False
        return True

    def _look(self, leg: FaceLeg, card: VerifiedCard) -> None:
        certificate, incident = leg.run(
            self._lane.verifiers,
            self._lane.keys,
            lambda event: self._post(self._confirmed(card, event)),
            self.took,
        )
        self.report.certificate = certificate
        if certificate is not None:
            self._log.append(VerifierDied.of(certificate))
        if incident is not None:
            self._log.fault(incident)

    def _ask_pin(self, card: VerifiedCard, leg: PinLeg, token: str) -> None:
        deadline_ms = self._lane.deadline_ms[State.PIN]
        assert deadline_ms is not None
        pin = self._lane.kiosk.wait_pin(token, deadline_ms / 1000)
        if pin is not None:
            began_s = self._around.now_s()
            answer = leg.check(pin, self._around.tries, self._lane.keys)
            self.took("pin", (self._around.now_s() - began_s) * 1000)
            self._post(self._confirmed(card, answer))

    def _confirmed(self, card: VerifiedCard, event: ev.Event) -> ev.Event:
        """Return the event, or what a match becomes when the card or lane changed since the tap."""
        if not isinstance(event, ev.FaceMatched | ev.PinMatched):
            return event
        try:
            now = self._around.utc_now()
            stands = self._lane.card_stands(card, now)
            status = self._lane.turnstile.status()
            return second_look(event, stands, self._lane.rules.face_mode(now), status)
        except Exception as error:  # any doubt is a denial with a record
            self._log.internal(error)
            return ev.CardRejected(DenyReason.INTERNAL_FAULT)

    def _pulse(self, granted_s: float) -> None:
        began_s = self._around.now_s()
        limit_ms = self._lane.deadline_ms[State.OPENING]
        if limit_ms is not None and began_s - granted_s > limit_ms / 1000:
            self._post(ev.Opened(OpenResult.NOT_DELIVERED))  # this host stood still
            return
        result = self._lane.turnstile.open(self._lane.pulse_ms)
        self.took("open", (self._around.now_s() - began_s) * 1000)
        self.took("tap_to_open", (self._around.now_s() - self._began_s) * 1000)
        self._post(ev.Opened(result))

    def _watch_crossing(self) -> None:
        deadline_ms = self._lane.deadline_ms[State.CROSSING]
        assert deadline_ms is not None
        window_ms = max(100, deadline_ms - 500)
        self._post(ev.Crossed(self._lane.turnstile.watch_crossing(window_ms)))
