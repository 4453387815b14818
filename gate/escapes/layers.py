"""The walls around a verifier: all of them, as it stands behind them, or one alone."""

from __future__ import annotations

from enum import Enum

from firmware_bridge.camera_source import Means
from gate import landlock, sandbox
from gate.verifier.locking import OPEN_FILES, camera_devices, narrow, verifier_rules


class Layer(Enum):
    """Which walls stand."""

    NONE = "none"
    LIMITS = "limits"
    """Resource limits and no dumps."""
    LANDLOCK = "landlock"
    STAGE_1 = "stage 1"
    """The filter that a spare waits under, and the network taken once the camera is known."""
    STAGE_2 = "stage 2"
    """The filter of the lock."""
    ALL = "all"


def put_on(layer: Layer, result_fd: int, camera: Means) -> int:
    """Close this process in, by the very calls of the worker when `layer` is ALL.

    Args:
        layer: which walls.
        result_fd: where answers go.
        camera: what the camera needs, because the walls differ by it.

    Returns:
        The Landlock ABI in force, 0 when none is.

    Raises:
        ConfigError: the host cannot sandbox.
    """
    rules, open_files = verifier_rules(result_fd, camera)
    if layer is Layer.ALL:
        abi = sandbox.harden(OPEN_FILES, camera_devices())
        narrow(camera)
        sandbox.lock(rules, open_files)
        return abi
    if layer is not Layer.NONE:
        sandbox.gain_no_privileges()
    match layer:
        case Layer.LIMITS:
            sandbox.leave_no_core()
            sandbox.limit(OPEN_FILES)
            sandbox.limit_open_files(open_files)
        case Layer.LANDLOCK:
            landlock.keep_files_unwritten(camera_devices())
            return landlock.keep_from_everything()
        case Layer.STAGE_1:
            sandbox.deny(sandbox.NEVER)
            narrow(camera)
        case Layer.STAGE_2:
            sandbox.allow_only(rules)
    return 0
