"""The bar plot of one day: grants up, denials down, one bar for each quarter of an hour."""

from __future__ import annotations

from dataclasses import dataclass

from gate.console.logbook import MINIMUM_COUNT, Day, Tally

SLOT_PX = 9
HALF_PX = 110
"""Height of the upper and of the lower half."""


@dataclass(frozen=True)
class Bar:
    """One rectangle, in pixels of the plot. `few`: its height says nothing but "a few"."""

    x: int
    y: float
    height: float
    few: bool
    css: str


@dataclass(frozen=True)
class Plot:
    """What the template draws. `top` is the number at the upper end of the scale."""

    width: int
    middle: int
    top: int
    bars: tuple[Bar, ...]
    hours: tuple[tuple[int, str], ...]


def plot(day: Day) -> Plot:
    """Return the rectangles for a day; a small group is drawn as high as the least number."""
    numbers = [t.shown for t in (*day.grants, *day.denials) if t.shown is not None]
    top = max([2 * MINIMUM_COUNT, *numbers])
    middle = HALF_PX + 20
    bars: list[Bar] = []
    for slot, (grant, denial) in enumerate(zip(day.grants, day.denials, strict=True)):
        for tally, css in ((grant, "grant"), (denial, "deny")):
            if (height := _height(tally, top)) > 0:
                y = middle - height if css == "grant" else float(middle)
                bars.append(Bar(slot * SLOT_PX + 1, round(y, 1), height, tally.shown is None, css))
    width = SLOT_PX * len(day.grants)
    hours = tuple((width * hour // 24, f"{hour:02}:00") for hour in range(0, 25, 4))
    return Plot(width, middle, top, tuple(bars), hours)


def _height(tally: Tally, top: int) -> float:
    count = MINIMUM_COUNT - 1 if tally.shown is None else tally.shown
    return round(count / top * HALF_PX, 1)
