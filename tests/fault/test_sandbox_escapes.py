"""The self-test of the sandbox: it holds everything here, and it notices when a wall is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from firmware_bridge.camera_source import Means
from gate import sandbox
from gate.escapes.attempts import ATTEMPTS
from gate.escapes.layers import Layer
from gate.escapes.report import NOT_RUN, THROUGH, SelfTest, Walls
from gate.escapes.self_test import CAMERAS, LAYERS, self_test

pytestmark = pytest.mark.skipif(
    sandbox.libseccomp is None, reason="needs the Debian package libseccomp2"
)

MAY_BE_FORBIDDEN = {
    "create a file in /dev/shm",
    "hide bytes in an attribute of a file",
    "make a netlink socket",
    "leave a key in the kernel",
    "handle page faults itself",
    "make a POSIX message queue",
    "trace another process",
    "read another process's memory",
    "write another process's memory",
    "take another process's descriptor",
    "unshare the user namespace",
    "use io_uring",
    "load a BPF map",
    "use the 32-bit system calls",
}
"""What kernels and containers take away from everybody."""

ISSUE = {
    "open a file for writing",
    "create a file in /dev/shm",
    "make a file in memory",
    "write to another descriptor",
    "map a file shared",
    "map executable memory",
    "make memory executable",
    "connect over TCP",
    "send over UDP",
    "connect to a Unix socket",
    "execute a program",
    "fork",
    "use io_uring",
    "trace another process",
    "read another process's memory",
    "signal another process",
    "make a System V segment",
    "raise a limit",
    "answer more than 16 bytes",
}
"""The ways out that the design names."""


@pytest.fixture(scope="module")
def tested() -> SelfTest:
    return self_test(CAMERAS, LAYERS)


def test_every_way_out_is_tried_and_held_with_every_kind_of_camera(tested: SelfTest) -> None:
    names = {attempt.name for attempt in ATTEMPTS}
    assert len(names) == len(ATTEMPTS), "names are unique"
    assert names >= ISSUE
    assert tested.escaped() == []
    assert tested.ok
    assert tested.tried == tested.held == len(CAMERAS) * len(ATTEMPTS)
    assert {f.walls.camera for f in tested.findings if f.walls.layer is Layer.ALL} == set(CAMERAS)


def test_every_attempt_works_without_walls_unless_the_host_forbids_it(tested: SelfTest) -> None:
    forbidden = {f.attempt: f.without for f in tested.findings if f.without != THROUGH}
    assert set(forbidden) <= MAY_BE_FORBIDDEN, forbidden
    assert NOT_RUN not in forbidden.values()


def test_the_allowed_answer_passes_every_wall(tested: SelfTest) -> None:
    assert all(tested.answers.values())
    assert len(tested.answers) == len(CAMERAS) + len(LAYERS)


def test_one_wall_alone_lets_something_through_and_the_lock_alone_nothing(
    tested: SelfTest,
) -> None:
    held = {
        layer: {f.attempt for f in tested.against(Walls(layer, CAMERAS[0])) if f.held}
        for layer in LAYERS
    }
    assert held[Layer.STAGE_2] == {attempt.name for attempt in ATTEMPTS}
    assert {"fork", "execute a program", "make a System V segment"} <= held[Layer.STAGE_1]
    assert "write to a file opened before" in held[Layer.LIMITS]
    for layer in (Layer.LIMITS, Layer.LANDLOCK, Layer.STAGE_1):
        assert "answer more than 16 bytes" not in held[layer], layer
    if tested.landlock_abi >= 1:
        assert {"create a file", "open another file for reading"} <= held[Layer.LANDLOCK]
    if tested.landlock_abi >= 6:
        assert "signal another process" in held[Layer.LANDLOCK]


def test_it_leaves_nothing_behind(tmp_path: Path) -> None:
    helper = subprocess.Popen(
        [sys.executable, "-I", "-m", "gate.escapes.helper", str(os.getpid()), "none:memory"],
        stdout=subprocess.DEVNULL,
        env={"TMPDIR": str(tmp_path)},
    )
    assert helper.wait(60) == 0
    assert list(tmp_path.iterdir()) == []
    assert not Path(f"/dev/shm/consentgate-{helper.pid}").exists()


PRELUDE = """
import os, sys
from gate import sandbox
from gate.escapes.attempts import Attempt, number
from gate.escapes.helper import main
from gate.escapes.scene import call
walls = [str(os.getppid()), *sys.argv[1:]]
def close_in(*more):
    def careless(_layer, fd, _camera):
        sandbox.allow_only((*sandbox.COMPUTE, *more, *sandbox.write_only(fd, 16)))
        return 0
    return careless
"""


def run_helper(body: str, walls: str) -> dict[str, str]:
    """Run the helper with other walls or attempts; return how each ended."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", PRELUDE + body, walls], capture_output=True, check=False
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["attempt"]: line["how"] for line in lines}


CARELESS = {
    "sandbox.Allow('memfd_create')": {"make a file in memory"},
    "sandbox.Allow('mprotect')": {"make memory executable"},
    "sandbox.Allow('write', ((0, 5, 3),))": {
        "answer more than 16 bytes",
        "answer less than 16 bytes",
        "write to another descriptor",
        "write to a file opened before",
    },
    "sandbox.Allow('connect')": {
        "connect over TCP",
        "connect to a Unix socket",
        "connect to an abstract Unix socket",
    },
    "sandbox.Allow('clone')": {"fork", "start a thread"},
}


@pytest.mark.parametrize(("rule", "escapes"), CARELESS.items(), ids=CARELESS.keys())
def test_one_rule_too_many_is_found_out(rule: str, escapes: set[str]) -> None:
    found = run_helper(f"main(walls, close_in=close_in({rule}))", "stage 2:memory")
    assert {name for name, how in found.items() if how == THROUGH} == {"answer"} | escapes


def test_walls_that_swallow_the_answer_are_no_success() -> None:
    body = """
def mute(_layer, _fd, _camera):
    sandbox.allow_only(sandbox.COMPUTE)
    return 0
main(walls, close_in=mute)
"""
    found = run_helper(body, "all:memory")
    assert len(found) == len(ATTEMPTS) + 1
    assert set(found.values()) == {NOT_RUN}


def test_an_attempt_that_cannot_be_prepared_did_not_run() -> None:
    body = """
def broken(_scene):
    raise RuntimeError
main(walls, attempts=[Attempt("broken", broken)])
"""
    assert run_helper(body, "all:memory") == {"answer": THROUGH, "broken": NOT_RUN}


def test_an_attempt_that_hangs_is_killed_and_no_success() -> None:
    body = """
def hangs(_scene):
    ppoll = number("ppoll")
    return lambda: call(ppoll, None, 0, None, None, 0)
main(walls, attempts=[Attempt("hangs", hangs)], attempt_s=0.5)
"""
    assert run_helper(body, "all:memory")["hangs"] == "hung"


def test_only_the_walls_of_one_camera() -> None:
    tested = self_test([Means.NETWORK])
    assert tested.ok
    assert tested.tried == len(ATTEMPTS)
