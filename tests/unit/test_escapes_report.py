"""What counts as held. Everything that is not clearly a refusal is an escape."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.camera_source import Means
from gate.escapes.layers import Layer
from gate.escapes.report import HUNG, NOT_RUN, THROUGH, Finding, SelfTest, Walls

WALLS = Walls(Layer.ALL, Means.MEMORY)


def finding(how: str, without: str = THROUGH, name: str = "x") -> Finding:
    return Finding(name, WALLS, how, without)


@pytest.mark.parametrize("how", ["SIGSYS", "EPERM", "EACCES", "EBADF", "ENOSYS", "EMFILE"])
def test_a_refusal_is_held(how: str) -> None:
    assert finding(how).held
    assert finding(how, without="ENOSYS").held


@pytest.mark.parametrize(
    "how", [THROUGH, NOT_RUN, HUNG, "SIGSEGV", "SIGKILL", "ENOENT", "EINVAL", "no sandbox", ""]
)
def test_anything_else_is_an_escape(how: str) -> None:
    assert not finding(how).held


@pytest.mark.parametrize("how", ["SIGSYS", "EPERM"])
@pytest.mark.parametrize("without", [NOT_RUN, HUNG])
def test_a_refusal_shows_nothing_when_the_attempt_itself_is_broken(how: str, without: str) -> None:
    assert not finding(how, without).held


def test_what_the_host_forbids_to_everybody_is_held_in_its_way() -> None:
    assert finding("SIGSEGV", without="SIGSEGV").held
    assert finding("SIGSEGV", without="SIGSEGV").host_forbids
    assert not finding(THROUGH, without="EPERM").held


def test_a_wall_that_swallows_the_allowed_answer_holds_nothing() -> None:
    tested = SelfTest([finding("SIGSYS")], {WALLS: False}, 7)
    assert (tested.tried, tested.held, tested.ok) == (1, 0, False)
    assert tested.escaped() == ["x"]


def test_nothing_tried_is_not_well() -> None:
    assert not SelfTest([], {}, 7).ok


def test_single_walls_do_not_count() -> None:
    alone = Walls(Layer.LIMITS, Means.MEMORY)
    tested = SelfTest(
        [finding("SIGSYS"), Finding("x", alone, THROUGH, THROUGH)], {WALLS: True, alone: True}, 7
    )
    assert tested.ok
    assert tested.tried == 1


HOW = st.sampled_from(["SIGSYS", "EPERM", THROUGH, NOT_RUN, HUNG, "EINVAL"])


@given(st.lists(st.tuples(HOW, HOW), max_size=8))
def test_the_counts_agree(ends: list[tuple[str, str]]) -> None:
    findings = [finding(how, without, f"n{i}") for i, (how, without) in enumerate(ends)]
    tested = SelfTest(findings, {WALLS: True}, 7)
    assert tested.tried - tested.held == len(tested.escaped())
    assert tested.ok is (bool(findings) and not tested.escaped())
