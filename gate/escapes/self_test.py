"""Ask a helper process to attack the sandbox, and judge what it reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence

from firmware_bridge.camera_source import Means
from gate import sandbox
from gate.errors import VerifierFault
from gate.escapes.attempts import ATTEMPTS
from gate.escapes.helper import ANSWER
from gate.escapes.layers import Layer
from gate.escapes.report import NOT_RUN, OPEN_FIELD, THROUGH, Finding, SelfTest, Walls

HELPER_S = 60.0
"""How long all attempts may take on a busy machine; usually they take a second."""
CAMERAS = (Means.MEMORY, Means.DEVICE, Means.NETWORK)
"""Cameras whose walls differ. A video file has those of MEMORY."""
LAYERS = (Layer.LIMITS, Layer.LANDLOCK, Layer.STAGE_1, Layer.STAGE_2)


def self_test(
    cameras: Sequence[Means] = CAMERAS, layers: Sequence[Layer] = (), *, timeout_s: float = HELPER_S
) -> SelfTest:
    """Attack the sandbox of a verifier with each of these cameras.

    Args:
        cameras: what the cameras need; each has its own walls.
        layers: walls to attack alone as well, with the first camera.
        timeout_s: for all of it.

    Returns:
        A finding for every attempt against every wall. What was not reported did not run.

    Raises:
        ConfigError: this host cannot sandbox at all.
        VerifierFault: the helper did not start or did not end.
    """
    sandbox.check_available()
    asked = [Walls(layer, cameras[0]) for layer in layers]
    asked += [Walls(Layer.ALL, camera) for camera in cameras]
    reported, abi = _ask([OPEN_FIELD, *asked], timeout_s)
    findings = [
        Finding(
            attempt.name,
            walls,
            reported.get((walls, attempt.name), NOT_RUN),
            reported.get((OPEN_FIELD, attempt.name), NOT_RUN),
        )
        for walls in asked
        for attempt in ATTEMPTS
    ]
    answers = {walls: reported.get((walls, ANSWER)) == THROUGH for walls in asked}
    return SelfTest(findings, answers, abi)


def _ask(asked: Sequence[Walls], timeout_s: float) -> tuple[dict[tuple[Walls, str], str], int]:
    """Return what the helper says about each attempt, and the Landlock ABI it met."""
    command = [sys.executable, "-I", "-B", "-m", "gate.escapes.helper", str(os.getpid())]
    command += [f"{walls.layer.value}:{walls.camera.value}" for walls in asked]
    try:
        helper = subprocess.run(  # noqa: S603 - our own module, fixed arguments
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            env={"LANG": "C.UTF-8"},
        )
    except (OSError, subprocess.TimeoutExpired):
        raise VerifierFault(
            "the self-test of the sandbox did not end", "run: gate self-test"
        ) from None
    reported: dict[tuple[Walls, str], str] = {}
    abi = 0
    for line in helper.stdout.splitlines():
        try:
            found = json.loads(line)
            layer, camera = found["walls"]
            walls = Walls(Layer(layer), Means(camera))
            reported[walls, str(found["attempt"])] = str(found["how"])
            if walls.layer is Layer.ALL:
                abi = max(abi, int(found["landlock_abi"]))
        except (ValueError, KeyError, TypeError):
            continue  # whatever it was about counts as not run
    return reported, abi
