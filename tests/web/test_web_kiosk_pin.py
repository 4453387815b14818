"""The PIN pad in a real browser: shuffled, silent, and usable without a mouse."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

from gate.console.deps import KioskView, Screen

if TYPE_CHECKING:
    from tests.web.conftest import Door

pytestmark = pytest.mark.web


def ask_pin(door: Door, got: list[str | None]) -> threading.Thread:
    """Ask as the runner does: prompt, screen, wait, close."""

    def ask() -> None:
        token = door.live.open_prompt()
        door.live.show(KioskView(Screen.PIN, deadline_ms=30_000, pin_token=token))
        got.append(door.live.wait_pin(token, 30))
        door.live.close_prompt(token)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def test_a_pin_typed_on_the_shuffled_pad_arrives(door: Door, page: Page) -> None:
    door.open_kiosk(page, KioskView(Screen.IDLE))
    orders: set[tuple[str, ...]] = set()
    for pin in ("038261", "5577"):
        got: list[str | None] = []
        runner = ask_pin(door, got)
        door.shows(page, "pin")
        digits = page.locator(".digit")
        orders.add(tuple(digits.all_inner_texts()))
        for digit in pin:
            page.get_by_role("button", name=digit, exact=True).click()
        expect(page.locator("#dots")).to_have_text("●" * len(pin))
        assert pin not in page.content()
        page.get_by_role("button", name="확인").click()
        runner.join(20)
        assert got == [pin]
        expect(page.locator("#dots")).to_have_text("")
        door.live.show(KioskView(Screen.CHECKING))
        door.shows(page, "checking")
        expect(page.locator("#pad")).to_be_hidden()
        assert digits.all_inner_texts() == [""] * 10
    assert all(sorted(order) == list("0123456789") for order in orders)
    assert len(orders) == 2 or orders != {tuple("1234567890")}


def test_the_digits_take_every_place_about_equally_often(door: Door, page: Page) -> None:
    door.open_kiosk(page, KioskView(Screen.IDLE))
    deals = page.evaluate("Array.from({length: 4000}, () => shuffledDigits().join(''))")
    for place in range(10):
        for digit in "0123456789":
            times = sum(deal[place] == digit for deal in deals)
            # Expected 400, standard deviation 19: beyond seven of them is no chance.
            assert 267 < times < 533


def test_a_pin_can_be_corrected_and_entered_by_keyboard_alone(door: Door, page: Page) -> None:
    door.open_kiosk(page, KioskView(Screen.IDLE))
    got: list[str | None] = []
    runner = ask_pin(door, got)
    door.shows(page, "pin")
    page.keyboard.type("99")
    page.keyboard.press("Backspace")
    expect(page.locator("#dots")).to_have_text("")
    page.keyboard.type("1470")
    expect(page.get_by_role("img", name="4", exact=True)).to_be_visible()
    page.keyboard.press("Enter")
    runner.join(20)
    assert got == ["1470"]


def test_the_pad_is_reached_by_tab_in_reading_order(door: Door, page: Page) -> None:
    door.open_kiosk(page, KioskView(Screen.IDLE))
    got: list[str | None] = []
    runner = ask_pin(door, got)
    door.shows(page, "pin")
    wanted = {digit: place for place, digit in enumerate(page.locator(".digit").all_inner_texts())}
    order: list[str] = []
    for _ in range(13):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id || document.activeElement.innerText"))
        if order[-1] in wanted and len(order) <= 2:
            page.keyboard.press("Space")
    # The OK key could not be reached before a digit was there, now it can.
    assert order[9] == "clear"
    assert order[11:] == ["enter", "leave"]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    runner.join(20)
    assert got == ["".join(order[:2])]
