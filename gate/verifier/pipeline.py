"""From sightings to one verdict. Pure: frames are already scores here, and time is passed in."""

from __future__ import annotations

from dataclasses import dataclass

from gate.verifier.wire import Verdict
from models.types import Advice

GUIDANCE_EVERY_MS = 300
GUIDANCE_MAX = 64
"""No verifier may send more guidance records than this; the pool enforces it."""
CERTAIN_ATTACK_SHARE = 0.5
"""A live score under this share of the pack's `live_min` is an attack beyond doubt."""


@dataclass(frozen=True)
class LookRules:
    """When to stop looking."""

    match_min_cos: float
    live_min: float | None
    """None: the pack has no presentation attack detection."""
    agreeing: int = 2
    """Matching sightings in a row for a MATCH."""
    against: int = 5
    """Sightings that do not match for a NO_MATCH."""
    crowd: int = 8
    """Frames in a row with a second face for a MULTIPLE_FACES."""


@dataclass(frozen=True)
class Seen:
    """One usable face in one frame, already compared with the one reference."""

    score_cos: float
    live_score: float | None


class Look:
    """What one passage has seen so far.

    Args:
        rules: thresholds and counts.
        deadline_ms: on the same clock as `see`.
    """

    def __init__(self, rules: LookRules, deadline_ms: float) -> None:
        self._rules = rules
        self._deadline_ms = deadline_ms
        self._agreeing = 0
        self._against = 0
        self._crowd = 0
        self._doubtful = 0
        self._poor = 0

    def see(self, now_ms: float, what: Advice | Seen) -> Verdict | None:
        """Take in one frame; return the verdict once there is one.

        A frame that ends after the deadline can deny but no longer match.
        """
        verdict = self._advice(what) if isinstance(what, Advice) else self._seen(what)
        if now_ms < self._deadline_ms:
            return verdict
        return verdict if verdict not in (None, Verdict.MATCH) else self.end()

    def end(self) -> Verdict:
        """Return the verdict when there is no more time."""
        if self._crowd:
            return Verdict.MULTIPLE_FACES
        if self._doubtful:
            return Verdict.PRESENTATION_ATTACK
        if self._against:
            return Verdict.NO_MATCH
        if self._poor or self._agreeing:
            return Verdict.LOW_QUALITY
        return Verdict.NO_FACE

    def _advice(self, advice: Advice) -> Verdict | None:
        if advice is Advice.MULTIPLE_FACES:
            # Sightings before a second face came in may be of somebody else.
            self._agreeing = 0
            self._crowd += 1
            return Verdict.MULTIPLE_FACES if self._crowd >= self._rules.crowd else None
        self._crowd = 0
        if advice is Advice.NO_FACE:
            self._agreeing = 0
        else:
            self._poor += 1
        return None

    def _seen(self, seen: Seen) -> Verdict | None:
        self._crowd = 0
        live_min = self._rules.live_min
        if live_min is not None:
            # A pack that promises liveness and gives none, or a NaN, is an attack too.
            live = seen.live_score if seen.live_score is not None else 0.0
            if not live >= live_min * CERTAIN_ATTACK_SHARE:
                return Verdict.PRESENTATION_ATTACK
            if not live >= live_min:
                self._agreeing = 0
                self._doubtful += 1
                return None
        if seen.score_cos >= self._rules.match_min_cos:
            self._agreeing += 1
            return Verdict.MATCH if self._agreeing >= self._rules.agreeing else None
        self._agreeing = 0
        self._against += 1
        return Verdict.NO_MATCH if self._against >= self._rules.against else None


class Guide:
    """Says at most every 300 ms what the person should do, and only when that changed."""

    def __init__(self) -> None:
        self._last = Advice.NONE
        self._last_ms: float | None = None
        self._sent = 0

    def say(self, now_ms: float, advice: Advice) -> Advice | None:
        """Return the advice to send now, or None. NONE takes earlier advice back."""
        if advice is self._last or self._sent >= GUIDANCE_MAX:
            return None
        if self._last_ms is not None and now_ms - self._last_ms < GUIDANCE_EVERY_MS:
            return None
        self._last, self._last_ms = advice, now_ms
        self._sent += 1
        return advice
