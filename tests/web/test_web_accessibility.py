"""Everybody can use the pages: size, contrast, calm, roles (WCAG 2.2 AA)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page

from gate.console.deps import KioskView, Screen

if TYPE_CHECKING:
    from tests.web.conftest import Door

pytestmark = pytest.mark.web

AXE = Path(__file__).parent / "node_modules/axe-core/axe.min.js"
SIZES = ((1280, 800), (800, 1280), (1920, 1080), (1080, 1920), (1024, 768))

CONTRAST = """
() => {
  const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const channel = (c) => linear(c / 255);
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const colour = numbers(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    const words = [...e.childNodes].filter((n) => n.nodeType === 3 && n.data.trim());
    if (!words.length || !e.checkVisibility({ visibilityProperty: true })) continue;
    if (e.closest(':disabled, noscript, .away')) continue;
    const [a, b] = [light(numbers(getComputedStyle(e).color)), light(ground(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    found.push([Math.round(ratio * 100) / 100, words[0].data.trim()]);
  }
  return found;
}
"""


def test_every_screen_fits_without_scrolling(door: Door, page: Page) -> None:
    door.open_kiosk(page, KioskView(Screen.IDLE))
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        for view in door.every_view:
            door.live.show(view)
            door.shows(page, view.screen.value)
            page.wait_for_function(
                "(wanted) => one('#pad').hidden === !wanted", arg=view.pin_token is not None
            )
            beyond = page.evaluate(
                "[document.documentElement.scrollWidth - innerWidth,"
                " document.documentElement.scrollHeight - innerHeight]"
            )
            assert max(beyond) <= 0, (width, height, view)
            for button in page.get_by_role("button").all():
                box = button.bounding_box()
                assert box is not None
                assert min(box["width"], box["height"]) >= 44  # WCAG 2.5.5, above AA's 24


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_has_contrast(door: Door, page: Page, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1, computed from what the browser paints."""
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    door.open_kiosk(page, KioskView(Screen.IDLE))
    measured = 0
    for view in door.every_view:
        door.live.show(view)
        door.shows(page, view.screen.value)
        for ratio, said in page.evaluate(CONTRAST):
            assert ratio >= 4.5, (view.screen, said)
            measured += 1
    for path in ("/admin?lang=ko", "/audit?lang=en"):
        page.goto(door.pages.url + path)
        for ratio, said in page.evaluate(CONTRAST):
            assert ratio >= 4.5, (path, said)
            measured += 1
    assert measured > 150


def test_calm_for_those_who_ask_for_less_motion(door: Door, page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    door.open_kiosk(page, KioskView(Screen.LOOK, deadline_ms=30_000))
    easings = page.evaluate("document.getAnimations().map((a) => a.effect.getTiming().easing)")
    assert easings == ["steps(8)"]


@pytest.mark.skipif(not AXE.exists(), reason="needs axe-core: npm ci --prefix tests/web")
def test_axe_finds_nothing(door: Door, page: Page) -> None:
    axe = AXE.read_text()
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

    def check(what: object) -> None:
        found = page.evaluate(
            "(tags) => axe.run(document, {runOnly: {type: 'tag', values: tags}})", rules
        )
        said = [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found["violations"]]
        assert said == [], what
        assert len(found["passes"]) > 10

    door.open_kiosk(page, KioskView(Screen.IDLE))
    page.evaluate(axe)
    for view in door.every_view[-4:]:  # the others differ in words only
        door.live.show(view)
        door.shows(page, view.screen.value)
        check(view)
    for path in ("/admin?lang=ko", "/audit?lang=en"):
        page.goto(door.pages.url + path)
        page.evaluate(axe)
        check(path)
    page.get_by_role("button", name="Verify now").click()
    page.wait_for_selector(".verdict")
    page.evaluate(axe)
    check("the report")
