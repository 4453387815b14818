"""The kiosk in a real browser: it follows the gate, and never guesses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

from gate.console.deps import KioskView, Screen
from gate.console.kiosk import words
from models.types import Advice

if TYPE_CHECKING:
    from tests.web.conftest import Door

pytestmark = pytest.mark.web

NO_LINK = "no_link"
SIZES = ((1280, 800), (800, 1280))


def test_the_kiosk_follows_every_screen(door: Door, page: Page) -> None:
    door.open_kiosk(page, KioskView(Screen.OUT_OF_ORDER))
    expect(page.get_by_text("동관 출입 확인")).to_be_visible()
    expect(page.get_by_text("East wing entry")).to_be_visible()
    for screen, said in words.SCREENS.items():
        door.live.show(KioskView(screen))
        heading = page.get_by_role("heading", level=1)
        expect(heading).to_have_count(1)
        expect(heading).to_contain_text(said.ko)
        expect(heading).to_contain_text(said.en)
        expect(page.locator("#spoken")).to_contain_text(said.ko)


def test_guidance_is_shown_and_spoken_politely(door: Door, page: Page) -> None:
    door.open_kiosk(page, KioskView(Screen.LOOK, camera_on=True, deadline_ms=8000))
    expect(page.get_by_text("No picture is kept.")).to_be_visible()
    for advice, said in words.ADVICE.items():
        door.live.show(KioskView(Screen.LOOK, advice, camera_on=True, deadline_ms=8000))
        expect(page.locator(".advice:visible")).to_have_count(1)
        expect(page.locator(".advice:visible")).to_contain_text(said.ko)
        expect(page.locator("#spoken[aria-live=polite] [lang=ko]")).to_have_text(said.ko)
        expect(page.locator("#spoken [lang=en]")).to_have_text(said.en)


def test_the_camera_indicator_never_guesses(door: Door, page: Page) -> None:
    door.open_kiosk(page, KioskView(Screen.IDLE))
    expect(page.get_by_text("Camera off")).to_be_visible()
    door.live.show(KioskView(Screen.LOOK, camera_on=True))
    expect(page.get_by_text("Camera on now")).to_be_visible()
    expect(page.get_by_text("Camera off")).to_be_hidden()
    door.pages.close()
    expect(page.get_by_text("Camera state unknown")).to_be_visible()
    expect(page.get_by_text("Camera on now")).to_be_hidden()


def test_without_connection_it_says_so_and_comes_back(door: Door, page: Page) -> None:
    door.open_kiosk(page, KioskView(Screen.IDLE))
    door.pages.close()
    door.shows(page, NO_LINK)
    expect(page.get_by_role("heading", level=1)).to_contain_text("No connection")
    door.pages = door.serve(door.pages.port)
    door.shows(page, "idle")


def test_a_gate_that_falls_silent_is_no_connection(door: Door, page: Page) -> None:
    """The line stands, but nothing comes: a frozen gate must not leave an old screen up."""
    page.clock.install()
    door.open_kiosk(page, KioskView(Screen.IDLE))
    page.route("**/kiosk/events", lambda route: route.abort())
    page.evaluate("source.onmessage = null; source.removeEventListener('beat', heard)")
    page.clock.run_for(7000)
    door.shows(page, NO_LINK)


def test_the_time_bar_shrinks_and_counts(door: Door, page: Page) -> None:
    door.open_kiosk(page, KioskView(Screen.LOOK, deadline_ms=30_000))
    bar = page.locator("#bar")

    def width() -> float:
        box = bar.bounding_box()
        assert box is not None
        return box["width"]

    first, seconds = width(), page.locator(".seconds")
    expect(seconds).to_have_text("28")
    assert 0 < width() < first
    door.live.show(KioskView(Screen.LOOK, Advice.STEP_BACK, deadline_ms=30_000))
    expect(page.locator(".advice:visible")).to_have_count(1)
    assert width() < first
    door.live.show(KioskView(Screen.IDLE))
    expect(page.locator(".time")).to_be_hidden()


def test_the_pin_lane_is_as_prominent_as_the_face_lane(door: Door, page: Page) -> None:
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        door.open_kiosk(page, KioskView(Screen.LOOK, camera_on=True, deadline_ms=8000))
        face = page.locator('.screen[data-screen="look"]').bounding_box()
        pin = page.locator("#pin-lane").bounding_box()
        assert face is not None
        assert pin is not None
        assert (pin["width"], pin["height"]) == pytest.approx(
            (face["width"], face["height"]), abs=1
        )
        size = "e => getComputedStyle(e).fontSize"
        title = page.locator('.screen[data-screen="look"] h1 .ko').evaluate(size)
        assert page.locator("#pin-lane .title .ko").evaluate(size) == title
    with page.expect_response("**/kiosk/pin-lane"):
        page.get_by_role("button", name="Use PIN instead").click()
    expect(page.locator("#pin-lane")).to_be_disabled()
    assert door.called == ["pin lane"]


def test_leaving_works_by_keyboard_and_a_late_press_is_answered(door: Door, page: Page) -> None:
    door.open_kiosk(page, KioskView(Screen.LOOK))
    with page.expect_response("**/kiosk/leave"):
        page.get_by_role("button", name="Cancel").press("Enter")
    assert door.called == ["leave"]
    door.live.show(KioskView(Screen.IDLE))
    expect(page.get_by_role("button")).to_have_count(0)
    # The passage went on just before the press arrived.
    page.route("**/kiosk/pin-lane", lambda route: route.fulfill(status=409))
    door.live.show(KioskView(Screen.LOOK))
    page.get_by_role("button", name="Use PIN instead").click()
    expect(page.get_by_text("Not possible right now")).to_be_visible()
    page.unroute("**/kiosk/pin-lane")
