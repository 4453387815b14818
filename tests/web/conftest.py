"""One gate with its pages, and a real browser."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from firmware_bridge.ports import Crossing, Link, OpenResult, TurnstileStatus
from gate.console.app import create_app
from gate.console.deps import ConsoleDeps, Health, KioskView, Screen
from gate.console.live import LiveView
from gate.console.serve import Serving, serve
from gate.ledger.checkpoint import generate
from gate.ledger.record import (
    Decided,
    KeyPurpose,
    KeyUsed,
    Mode,
    Moved,
    Pack,
    Record,
    Started,
)
from gate.ledger.store import Ledger
from gate.passage.decision import Deny, DenyReason, Grant, Lane
from gate.template.outcome import KeyOutcome
from models.types import Advice

CHROMIUM = Path(shutil.which("chromium") or "/usr/bin/chromium")
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NOW = datetime(2026, 3, 4, 9, 20, tzinfo=UTC)
EXPECTED_COMPLAINTS = re.compile(
    "ERR_(CONNECTION_REFUSED|INCOMPLETE_CHUNKED_ENCODING|EMPTY_RESPONSE|FAILED)|409 .Conflict"
)
"""What a browser says of a server that a test took away, or of an answer "not now"."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One a module: its event loop must not outlive the module in this thread."""
    if not CHROMIUM.exists():
        pytest.skip("needs a browser: apt-get install chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield launched
        launched.close()


class Door:
    """One gate with its pages on a real port."""

    every_view = (
        *[KioskView(screen) for screen in Screen if screen not in (Screen.LOOK, Screen.PIN)],
        KioskView(Screen.LOOK, Advice.LESS_LIGHT, camera_on=True, deadline_ms=30_000),
        KioskView(Screen.PIN, deadline_ms=30_000, pin_token="x"),
        KioskView(Screen.OTHER_LANE, deadline_ms=30_000, pin_token="y"),
    )

    def __init__(self, folder: Path) -> None:
        self.called: list[str] = []
        self.live = LiveView(
            gate_id="east-1",
            purpose=("동관 출입 확인", "East wing entry"),
            turnstile=lambda: TurnstileStatus(Link.ONLINE, ready=True, passages_a=17),
            health=lambda: [Health("camera", False, "is gone", "plug it in again")],
            on_pin_lane=lambda: self.called.append("pin lane"),
            on_leave=lambda: self.called.append("leave"),
        )
        signer = generate("example/gate", os.urandom)
        self.ledger = Ledger.open(folder / "log.sqlite", signer, signer.name)
        self.append(
            Started(Mode.DEMO, Pack.EDGE, "ab" * 32, sandbox_ok=True, key_agent_ok=True),
            KeyUsed(KeyPurpose.TEMPLATE, KeyOutcome.RELEASED),
            Decided.of(Grant(Lane.FACE)),
            Moved(OpenResult.OPENED, Crossing.ONE),
            *[Decided.of(Deny(DenyReason.CARD_EXPIRED))] * 6,
        )
        self.deps = ConsoleDeps(folder / "log.sqlite", signer.vkey, self.live, demo=False)
        self.pages = self.serve()

    def append(self, *records: Record) -> None:
        for record in records:
            self.ledger.append(record, NOW)

    def serve(self, port: int = 0) -> Serving:
        return serve(create_app(self.deps, lambda: NOW), port=port)

    def shows(self, page: Page, screen: str) -> None:
        expect(page.locator("body")).to_have_attribute("data-screen", screen)

    def open_kiosk(self, page: Page, view: KioskView) -> None:
        self.live.show(view)
        page.goto(f"{self.pages.url}/kiosk")
        self.shows(page, view.screen.value)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    made = Door(tmp_path)
    yield made
    made.pages.close()
    made.ledger.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails its test when the browser complains or a cookie was set."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="ko-KR")
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda said: complaints.append(said.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    yield opened
    cookies = context.cookies()
    context.close()
    assert [said for said in complaints if not EXPECTED_COMPLAINTS.search(said)] == []
    assert cookies == []
