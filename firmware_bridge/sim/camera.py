"""A simulated camera: still pictures played as a stream, misbehaving on command.

`sim:PATH?fps=15&stall_after=3&vanish_after=5&hang_after=7&black=1`, PATH a folder or one image.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np

from firmware_bridge.camera import FOLDER_FPS, Pace, decode_image, read_images
from firmware_bridge.errors import DeviceFault
from firmware_bridge.ports import Bgr8, Camera

FRAMES_MAX = 64
_HANG_S = 3600.0


@dataclass(frozen=True)
class Misbehaviour:
    """How the simulated camera fails. Counts are frames given before it starts, None is never."""

    stall_after: int | None = None
    """Reads return None from then on."""
    vanish_after: int | None = None
    """Reads raise DeviceFault from then on, as if unplugged."""
    hang_after: int | None = None
    """The next read does not return."""
    black: bool = False
    """Every frame is black: lens covered."""


def open_sim(rest: str) -> Camera:
    """Open the camera that `PATH?options` describes (the source without `sim:`).

    Raises:
        DeviceFault: the pictures cannot be read, or an option is unknown.
    """
    path, _, query = rest.partition("?")
    device = f"camera sim:{path}"
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
        fps = float(options.pop("fps", FOLDER_FPS))
        black = options.pop("black", "0") == "1"
        counts = {name: int(value) for name, value in options.items()}
        misbehaviour = Misbehaviour(black=black, **counts)
        if not 0.1 <= fps <= 1000 or any(count < 0 for count in counts.values()):
            raise ValueError("out of range")
    except (ValueError, TypeError):
        raise DeviceFault(
            device,
            "has an option that does not exist or is out of range",
            "options are fps, stall_after, vanish_after, hang_after and black",
        ) from None
    return SimCamera(Path(path), misbehaviour, fps=fps)


class SimCamera:
    """Pictures decoded at open and looped, so that playing them needs nothing but memory."""

    def __init__(
        self,
        path: Path,
        misbehaviour: Misbehaviour,
        *,
        fps: float = FOLDER_FPS,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._device = f"camera sim:{path}"
        images = read_images(path, folder=False)
        if len(images) > FRAMES_MAX:
            raise DeviceFault(self._device, "holds too many images", f"use {FRAMES_MAX} at most")
        self._frames = [
            decode_image(np.frombuffer(data, dtype=np.uint8), self._device) for data in images
        ]
        if misbehaviour.black:
            self._frames = [np.zeros_like(frame) for frame in self._frames]
        self._how = misbehaviour
        self._sleep = sleep
        self._pace = Pace(fps, now_s, sleep)
        self._given = 0
        self._open = True

    def read(self) -> Bgr8 | None:
        """See `Camera.read`."""
        if not self._open:
            return None
        self._pace.wait()
        if _reached(self._how.vanish_after, self._given):
            raise DeviceFault(self._device, "the camera went away", "plug it in again")
        if _reached(self._how.hang_after, self._given):
            self._sleep(_HANG_S)
        if _reached(self._how.stall_after, self._given):
            return None
        frame = self._frames[self._given % len(self._frames)]
        self._given += 1
        return frame.copy()

    def close(self) -> None:
        """See `Camera.close`."""
        self._open = False
        self._frames = []


def _reached(limit: int | None, given: int) -> bool:
    return limit is not None and given >= limit
