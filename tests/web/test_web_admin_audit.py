"""Admin and audit in a real browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

from gate.ledger.record import Decided
from gate.passage.decision import Deny, DenyReason, Lane

if TYPE_CHECKING:
    from tests.web.conftest import Door

pytestmark = pytest.mark.web


def test_admin_renews_itself_and_can_be_paused(door: Door, page: Page) -> None:
    page.clock.install()
    page.goto(f"{door.pages.url}/admin?lang=en")
    expect(page.get_by_role("heading", level=1)).to_have_text("Gate")
    expect(page.get_by_text("plug it in again")).to_be_visible()
    expect(page.locator("#reasons + table")).to_contain_text("card expired")
    expect(page.get_by_text("PIN locked")).to_be_hidden()
    door.append(*[Decided.of(Deny(DenyReason.PIN_LOCKED, Lane.PIN))] * 6)
    page.clock.run_for(4000)
    expect(page.get_by_text("PIN locked")).to_be_visible()
    pause = page.get_by_role("button", name="Pause refreshing")
    pause.click()
    expect(pause).to_have_attribute("aria-pressed", "true")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.run_for(10_000)
    assert asked == []
    pause.click()
    door.pages.close()
    page.clock.run_for(4000)
    expect(page.get_by_text("No connection")).to_be_visible()


def test_the_language_can_be_changed_everywhere(door: Door, page: Page) -> None:
    page.goto(f"{door.pages.url}/audit")
    expect(page.get_by_role("heading", level=1)).to_have_text("기록 감사")
    page.get_by_role("button", name="지금 확인하기").click()
    page.get_by_role("link", name="English").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Audit of the log")
    page.get_by_role("link", name="Admin").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Gate")


def test_verify_now_and_download_work(door: Door, page: Page) -> None:
    page.goto(f"{door.pages.url}/audit?lang=en")
    page.get_by_role("button", name="Verify now").click()
    expect(page.get_by_role("status")).to_contain_text("All 10 records fit")
    expect(page.locator("td.state.good")).to_have_text(["fits"] * 10)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the log").click()
    assert download.value.suggested_filename == "gate-log.tar"
    assert download.value.path().stat().st_size > 1000
