"""How a lane is, asked while nobody passes: alarms begin and end in the log, the rest is shown."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from firmware_bridge.ports import Link
from gate.console.deps import Health
from gate.host_conditions import HostConditions
from gate.ledger.record import FaultCode, HostSeen
from gate.passage import events as ev
from gate.passage.decision import DenyReason
from gate.passage.decision_log import DecisionLog
from gate.passage.health import health
from gate.passage.lane import Lane
from gate.passage.lane_log import LaneLog
from gate.passage.steps import REFILL_S
from gate.policy import FaceReason

RENEW_EVERY_S = 1.0
HOST_EVERY_S = 60.0
NO_SPARE_S = 30.0
"""How long no verifier waits until that is a fault of its own and not a slow machine."""


class LaneWatch:
    """Asks every part how it is. The loop of the lane calls `ask` and `renew`, at rest only.

    Args:
        lane: what is watched.
        log: takes the alarms.
        decisions: told when a day is over.
        utc_now: the gate's clock.
        monotonic_s: a clock that never goes back, in seconds.
    """

    def __init__(
        self,
        lane: Lane,
        log: LaneLog,
        decisions: DecisionLog,
        utc_now: Callable[[], datetime],
        monotonic_s: Callable[[], float],
    ) -> None:
        self._lane = lane
        self._log = log
        self._decisions = decisions
        self._utc_now = utc_now
        self._now_s = monotonic_s
        self._spare_seen_s = float("-inf")
        self._began_s = monotonic_s()
        self._renewed_s = float("-inf")
        self._host_asked_s = float("-inf")
        self._host: HostConditions | None = None
        self._agent_alive = True
        self.card_only = False
        """Whether the face lane is off, or has no verifier for longer than a person would wait."""

    def renew(self, *, at_once: bool = False) -> None:
        """Take newer signed documents into force, once the log says so; see ports.Rules."""
        now_s = self._now_s()
        if at_once or now_s - self._renewed_s >= RENEW_EVERY_S:
            self._renewed_s = now_s
            try:
                self._lane.rules.renew(self._utc_now(), self._log.append)
            except Exception as error:  # the rules in force stay; nobody waits for this
                self._log.internal(error)

    def ask(self) -> ev.Healthy | ev.Unhealthy:
        """Return whether somebody may come; record what began or ended since the last time."""
        self._log.retry()
        if self._log.ok:
            self._decisions.turn_day()
            self.renew()
            self._watch_host()
        status = self._lane.turnstile.status()
        self._agent_alive = self._lane.keys.alive()
        self._log.once(FaultCode.TURNSTILE_OFFLINE, present=status.link is Link.OFFLINE)
        self._log.once(FaultCode.TURNSTILE_WRONG_KEY, present=status.link is Link.WRONG_KEY)
        if status.link is Link.ONLINE:  # otherwise nobody knows what the inputs say
            self._log.once(FaultCode.TAMPER, present=status.tamper)
            self._log.once(FaultCode.FIRE, present=status.fire)
        self._log.once(FaultCode.KEY_AGENT_DEAD, present=not self._agent_alive)
        self._watch_rules()
        if not self._log.ok:
            return ev.Unhealthy(DenyReason.LEDGER_UNAVAILABLE)
        if status.link is not Link.ONLINE or status.tamper:
            return ev.Unhealthy(DenyReason.TURNSTILE_OFFLINE)
        if not self._agent_alive:
            return ev.Unhealthy(DenyReason.KEY_UNAVAILABLE)
        return ev.Healthy()

    def lines(self) -> list[Health]:
        """Return what the admin page shows, with advice where something is wrong."""
        now = self._utc_now()
        return health(
            self._lane.turnstile.status(),
            self._lane.rules.face_mode(now),
            agent_alive=self._agent_alive,  # as the lane saw it: asking again could hide a death
            verifier_ready=self._lane.verifiers.ready(),
            ledger_ok=self._log.ok,
            status_fresh=self._lane.rules.status_is_fresh(now),
            host=self._host,
        )

    def _watch_rules(self) -> None:
        now, now_s = self._utc_now(), self._now_s()
        face = self._lane.rules.face_mode(now)
        expired = face.reason
        self._log.once(FaultCode.POLICY_EXPIRED, present=expired is FaceReason.POLICY_EXPIRED)
        self._log.once(
            FaultCode.DEPLOYMENT_EXPIRED, present=expired is FaceReason.DEPLOYMENT_EXPIRED
        )
        stale = not self._lane.rules.status_is_fresh(now)
        self._log.once(FaultCode.STATUS_LIST_STALE, present=stale)
        if self._lane.verifiers.ready():
            self._spare_seen_s = now_s
        without_s = now_s - max(self._spare_seen_s, self._began_s)
        self._log.once(FaultCode.VERIFIER_SPAWN, present=without_s >= NO_SPARE_S)
        # A spare that comes while somebody taps still serves them: see REFILL_S.
        self.card_only = not (face.on and now_s - self._spare_seen_s <= REFILL_S)

    def _watch_host(self) -> None:
        """Record the host's conditions when they are not what the log last said."""
        now_s = self._now_s()
        if now_s - self._host_asked_s < HOST_EVERY_S:
            return
        self._host_asked_s = now_s
        found = self._lane.host()
        # The start record speaks of the first ones.
        news = self._host is not None and found != self._host
        if not news or self._log.append(HostSeen(**vars(found))):
            self._host = found
