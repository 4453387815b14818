"""LiveView: what a synchronous runner writes, asynchronous pages read."""

from __future__ import annotations

import asyncio
import threading

import pytest

from firmware_bridge.ports import Link, TurnstileStatus
from gate.console.deps import GateView, Health, KioskView, Screen
from gate.console.live import LiveView
from models.types import Advice


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def make(clock: Clock | None = None, called: list[str] | None = None) -> LiveView:
    said = [] if called is None else called
    return LiveView(
        gate_id="east-1",
        purpose=("한국어", "English"),
        turnstile=lambda: TurnstileStatus(Link.ONLINE, ready=True),
        health=lambda: [Health("camera", True, "closed")],
        on_pin_lane=lambda: said.append("pin lane"),
        on_leave=lambda: said.append("leave"),
        clock_s=clock or Clock(),
    )


def test_it_is_a_gate_view_that_is_out_of_order_until_the_runner_speaks() -> None:
    live = make()
    gate: GateView = live
    assert gate.kiosk() == KioskView(Screen.OUT_OF_ORDER)
    assert (gate.gate_id, gate.purpose) == ("east-1", ("한국어", "English"))
    assert gate.turnstile().ready
    assert [line.part for line in gate.health()] == ["camera"]


def test_the_time_bar_runs_on_while_only_guidance_changes() -> None:
    clock = Clock()
    live = make(clock)
    live.show(KioskView(Screen.LOOK, deadline_ms=8000))
    clock.now_s += 3
    live.show(KioskView(Screen.LOOK, Advice.STEP_CLOSER, camera_on=True, deadline_ms=8000))
    assert live.kiosk().deadline_ms == 5000
    clock.now_s += 60
    assert live.kiosk().deadline_ms == 0


@pytest.mark.parametrize(
    "second",
    [
        KioskView(Screen.PIN, deadline_ms=8000),
        KioskView(Screen.LOOK, deadline_ms=9000),
        KioskView(Screen.LOOK, deadline_ms=8000, pin_token="another"),
    ],
)
def test_another_moment_starts_the_time_bar_anew(second: KioskView) -> None:
    clock = Clock()
    live = make(clock)
    live.show(KioskView(Screen.LOOK, deadline_ms=8000))
    clock.now_s += 3
    live.show(second)
    assert live.kiosk() == second


def test_a_screen_without_an_end_has_no_time_bar() -> None:
    live = make()
    live.show(KioskView(Screen.LOOK, deadline_ms=8000))
    live.show(KioskView(Screen.IDLE))
    assert live.kiosk() == KioskView(Screen.IDLE)


def test_a_pin_is_handed_over_once_and_not_kept() -> None:
    live = make()
    token = live.open_prompt()
    assert live.enter_pin(token, "493817")
    assert live.wait_pin(token, 1) == "493817"
    assert live.wait_pin(token, 0.01) is None
    assert not live.enter_pin(token, "493817")
    assert "493817" not in repr(vars(live)) + repr(vars(vars(live)["_prompt"]))


def test_only_the_open_prompts_token_is_accepted() -> None:
    live = make()
    assert not live.enter_pin("", "1234")
    first = live.open_prompt()
    second = live.open_prompt()
    assert first != second
    assert not live.enter_pin(first, "1234")
    assert not live.enter_pin(second[:-1], "1234")
    assert not live.enter_pin("비밀", "1234")
    assert live.wait_pin(first, 0.01) is None
    assert live.enter_pin(second, "1234")
    live.close_prompt(first)
    assert live.wait_pin(second, 1) == "1234"


def test_a_second_pin_does_not_replace_the_first() -> None:
    live = make()
    token = live.open_prompt()
    assert live.enter_pin(token, "1111")
    assert not live.enter_pin(token, "2222")
    assert live.wait_pin(token, 1) == "1111"


def test_a_closed_prompt_wakes_the_waiting_runner_and_forgets_the_pin() -> None:
    live = make()
    token = live.open_prompt()
    got: list[str | None] = []
    waiter = threading.Thread(target=lambda: got.append(live.wait_pin(token, 60)))
    waiter.start()
    live.close_prompt(token)
    waiter.join(timeout=10)
    assert got == [None]
    assert not live.enter_pin(token, "1234")
    live.close_prompt(token)

    token = live.open_prompt()
    assert live.enter_pin(token, "1234")
    prompt = vars(live)["_prompt"]
    live.close_prompt(token)
    assert prompt.pin is None
    assert live.wait_pin(token, 0.01) is None


def test_the_pin_lane_can_be_chosen_only_where_it_is_offered() -> None:
    called: list[str] = []
    live = make(called=called)
    live.show(KioskView(Screen.CHECKING))
    assert not live.choose_pin_lane()
    live.show(KioskView(Screen.LOOK))
    assert live.choose_pin_lane()
    live.leave()
    assert called == ["pin lane", "leave"]


def test_every_page_gets_the_view_now_and_each_newest_view() -> None:
    live = make()
    live.show(KioskView(Screen.IDLE))

    async def follow(started: asyncio.Event) -> list[Screen]:
        seen: list[Screen] = []
        async for view in live.kiosk_changes():
            seen.append(view.screen)
            started.set()
            if view.screen is Screen.OPEN:
                break
        return seen

    async def scenario() -> list[list[Screen]]:
        ready = [asyncio.Event() for _ in range(3)]
        pages = [asyncio.create_task(follow(event)) for event in ready]
        for event in ready:
            await event.wait()

        def runner() -> None:
            for _ in range(200):
                live.show(KioskView(Screen.LOOK, Advice.STEP_BACK))
            live.show(KioskView(Screen.OPEN))

        thread = threading.Thread(target=runner)
        thread.start()
        async with asyncio.timeout(10):
            seen = await asyncio.gather(*pages)
        thread.join()
        return list(seen)

    for seen in asyncio.run(scenario()):
        assert seen[0] is Screen.IDLE
        assert seen[-1] is Screen.OPEN


def test_a_page_that_went_away_does_not_stop_the_runner() -> None:
    live = make()

    async def one_look() -> object:
        changes = live.kiosk_changes()
        await anext(changes)
        return changes  # left open: its loop ends here

    leftover = asyncio.run(one_look())
    live.show(KioskView(Screen.IDLE))
    assert live.kiosk().screen is Screen.IDLE
    del leftover


def test_a_token_that_is_no_text_is_only_wrong() -> None:
    live = make()
    live.open_prompt()
    assert live.enter_pin("\ud800", "1234") is False
