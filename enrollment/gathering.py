"""Which frames make one template. No I/O; runs inside the capture worker only.

The frames must show one person. That is checked the way a passage checks it: each live embedding
against ONE running reference, the mean of the frames taken so far. Nothing compares two
references, here or anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from models.types import Advice, Embedding, Reference, Sighting

MIN_GAP_MS = 200
"""Frames of a camera that lie closer together show almost the same picture."""
STRANGE_FRAMES_MAX = 2
"""How many frames of a camera may disagree (blink, blur) before somebody else is assumed."""


class Step(Enum):
    """What became of one frame."""

    TAKEN = "taken"
    SKIPPED = "skipped"
    """Not usable; the advice says why."""
    TOO_SOON = "too_soon"
    TWO_FACES = "two_faces"
    SOMEBODY_ELSE = "somebody_else"
    """It does not agree with the frames before it."""
    NOT_LIVE = "not_live"
    """It looks like a picture of a face."""


class Gathering:
    """Collects the good frames of one person.

    Args:
        wanted: how many frames make a template, 1 or more.
        match_min_cos: the pack's operating point.
        live_min: the pack's presentation attack threshold; None for photographs, which are
            pictures of a face by nature, and for packs that cannot tell.
        live: the frames come from a camera, so time passes between them.
        score_cos: models.compare.score_cos.
    """

    def __init__(
        self,
        wanted: int,
        match_min_cos: float,
        live_min: float | None,
        score_cos: Callable[[Embedding, Reference], float],
        *,
        live: bool,
    ) -> None:
        self._wanted = wanted
        self._match_min_cos = match_min_cos
        self._live_min = live_min
        self._score_cos = score_cos
        self._live = live
        self._sum: NDArray[np.float64] | None = None
        self._last_ms: int | None = None
        self._strange = 0
        self.qualities: list[float] = []

    @property
    def complete(self) -> bool:
        """Whether enough frames were taken."""
        return len(self.qualities) >= self._wanted

    @property
    def somebody_else(self) -> bool:
        """Whether the frames cannot all show one person."""
        return self._strange > (STRANGE_FRAMES_MAX if self._live else 0)

    def take(self, seen: Advice | Sighting, now_ms: int) -> Step:
        """Consider one frame; `now_ms` is a monotonic clock."""
        if isinstance(seen, Advice):
            return Step.TWO_FACES if seen is Advice.MULTIPLE_FACES else Step.SKIPPED
        if self._live and self._last_ms is not None and now_ms - self._last_ms < MIN_GAP_MS:
            return Step.TOO_SOON
        if (
            self._live_min is not None
            and seen.live_score is not None
            and seen.live_score < self._live_min
        ):
            return Step.NOT_LIVE
        values = seen.embedding.values.astype(np.float64)
        if self._sum is None:
            self._sum = values
        elif self._score_cos(seen.embedding, _unit(self._sum)) < self._match_min_cos:
            self._strange += 1
            return Step.SOMEBODY_ELSE
        else:
            self._sum = self._sum + values
        self._last_ms = now_ms
        self.qualities.append(seen.quality)
        return Step.TAKEN

    def mean(self) -> Embedding:
        """Return the mean of the taken frames, unit length. At least one must have been taken."""
        assert self._sum is not None
        return Embedding(_unit(self._sum).values)


def _unit(total: NDArray[np.float64]) -> Reference:
    return Reference((total / np.linalg.norm(total)).astype(np.float32))
