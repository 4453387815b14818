"""What each kind of camera leaves a locked process, for verifier and enrolment alike."""

from __future__ import annotations

import sys
from pathlib import Path

from firmware_bridge.camera_source import Means
from gate import landlock, sandbox
from gate.sandbox import Allow
from gate.verifier.wire import RECORD_BYTES

OPEN_FILES = 64
"""RLIMIT_NOFILE of a process that still opens models and a camera."""
FILTERS = 3
"""How many seccomp filters are on once locked: of `sandbox.harden`, `narrow` and `sandbox.lock`."""


TO_REACH_A_CAMERA = tuple(
    map(
        Path,
        (
            *("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/null", "/dev/urandom"),
            *("/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf"),
            *("/etc/gai.conf", "/etc/services", "/etc/ssl", "/etc/pki", "/run/systemd/resolve"),
            *(sys.prefix, sys.base_prefix),
        ),
    )
)
"""What finding a network camera by its name and trusting it may read: nothing of a site."""


def camera_devices() -> list[Path]:
    """Return the files of this machine's local cameras, for `sandbox.harden`."""
    return sorted(Path("/dev").glob("video*"))


def narrow(camera: Means) -> None:
    """Take the network from a process whose camera is none. Before the camera opens.

    With it, whatever a local camera, a video file or a photograph makes a decoder do cannot
    leave over a socket, even before the lock. Where the network has to stay, the files of the
    gate's user go instead, its keys among them (best effort, see gate.landlock).

    Raises:
        ConfigError: see `sandbox.deny`.
    """
    if camera is Means.NETWORK:
        landlock.keep_from_reading_but(TO_REACH_A_CAMERA)
    sandbox.deny(sandbox.SERVING if camera is Means.NETWORK else sandbox.NETWORK)


def camera_rules(camera: Means) -> tuple[tuple[Allow, ...], int]:
    """Return what reading an opened camera needs: rules on top of COMPUTE, and RLIMIT_NOFILE."""
    match camera:
        case Means.MEMORY | Means.FILE:
            return (), 0
        case Means.DEVICE:
            return sandbox.V4L2, 0
        case Means.NETWORK:
            # poll() counts its descriptors against the limit; with 0 it fails with EINVAL.
            return sandbox.OPEN_SOCKETS, OPEN_FILES


def verifier_rules(result_fd: int, camera: Means) -> tuple[tuple[Allow, ...], int]:
    """Return what a verifier may do behind its lock, and its RLIMIT_NOFILE.

    Compute, read what is open, and write records of 16 bytes into one pipe. The self-test runs
    under the same rules (gate.escapes).
    """
    rules, open_files = camera_rules(camera)
    answer = sandbox.write_only(result_fd, RECORD_BYTES)
    return (*sandbox.COMPUTE, *rules, *answer), open_files
