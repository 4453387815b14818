"""The pages, asked directly: what they say, refuse and never carry."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from firmware_bridge.ports import Crossing, Link, OpenResult, TurnstileStatus
from gate.console.app import create_app
from gate.console.deps import ConsoleDeps, GateView, Health, KioskView, Screen
from gate.console.guard import MAX_BODY_BYTES
from gate.ledger.checkpoint import generate
from gate.ledger.record import Decided, Mode, Moved, Pack, Started
from gate.ledger.store import Ledger
from gate.ledger.verify import verify_export
from gate.passage.decision import Deny, DenyReason, Grant, Lane
from models.types import Advice

NOW = datetime(2026, 3, 4, 9, 20, tzinfo=UTC)
ORIGIN = "http://testserver"
OURS = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}
VIEWS = (
    KioskView(Screen.IDLE),
    KioskView(Screen.LOOK, Advice.STEP_CLOSER, camera_on=True, deadline_ms=8000),
    KioskView(Screen.PIN, deadline_ms=30000, pin_token="the-token"),
)


class PlainGate:
    """A gate that shows three views and remembers what people said."""

    gate_id = "east-1"
    purpose = ("동관 <출입> 확인", "East & entry")

    def __init__(self) -> None:
        self.said: list[str] = []
        self.status = TurnstileStatus(Link.ONLINE, ready=True, passages_a=17, passages_b=4)

    def kiosk(self) -> KioskView:
        return VIEWS[0]

    async def kiosk_changes(self) -> AsyncIterator[KioskView]:
        for view in VIEWS:
            yield view

    def enter_pin(self, token: str, pin: str) -> bool:
        if token == "the-token":
            self.said.append(pin)
        return token == "the-token"

    def choose_pin_lane(self) -> bool:
        self.said.append("pin lane")
        return len(self.said) == 1

    def leave(self) -> None:
        self.said.append("leave")

    def turnstile(self) -> TurnstileStatus:
        return self.status

    def health(self) -> list[Health]:
        return [
            Health("camera", True, "closed"),
            Health("status list", False, "is stale", "copy a new one"),
        ]


class Site:
    """A gate, its log and a client."""

    def __init__(self, folder: Path, with_gate: bool = True) -> None:
        signer = generate("example/gate", os.urandom)
        self.path = folder / "log.sqlite"
        self.vkey = signer.vkey
        self.ledger = Ledger.open(self.path, signer, signer.name)
        started = Started(Mode.DEMO, Pack.EDGE, "ab" * 32, sandbox_ok=True, key_agent_ok=True)
        self.ledger.append(started, NOW)
        self.gate = PlainGate()
        view: GateView | None = self.gate if with_gate else None
        app = create_app(ConsoleDeps(self.path, self.vkey, view, demo=True), lambda: NOW)
        self.client = TestClient(app, follow_redirects=False)

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.client.get(path, headers=named)
        return answer.status_code, unescape(answer.text)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.ledger.close()


@pytest.mark.parametrize("path", ["/kiosk", "/admin", "/audit", "/kiosk/static/kiosk.js", "/nope"])
def test_every_answer_is_locked_down(site: Site, path: str) -> None:
    headers = site.client.get(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert "camera=()" in headers["permissions-policy"]
    assert headers["cache-control"] == ("no-cache" if "static" in path else "no-store")
    assert "set-cookie" not in headers
    assert "server" not in headers


@pytest.mark.parametrize("path", ["/kiosk", "/admin?lang=ko", "/audit?lang=en"])
def test_pages_hold_no_inline_script_or_style_and_nothing_from_elsewhere(
    site: Site, path: str
) -> None:
    html = site.client.get(path).text
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|javascript:", html)
    for link in re.findall(r'(?:src|href|action)="([^"]+)"', html):
        assert link.startswith(("/", "#", "?")), link
    assert not link.startswith("//")
    for name in re.findall(r'(?:src|href)="(/[^"]*static/[^"]+)"', html):
        assert site.client.get(name).status_code == 200


def test_there_is_no_api_documentation_to_browse(site: Site) -> None:
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert site.client.get(path).status_code == 404


def test_the_kiosk_says_who_asks_in_both_languages_and_escapes_it(site: Site) -> None:
    html = site.client.get("/kiosk").text
    assert "동관 &lt;출입&gt; 확인" in html
    assert "East &amp; entry" in html
    assert 'data-screen="no_link" data-camera="unknown"' in html


def test_the_stream_tells_five_things_of_each_view_and_no_other(site: Site) -> None:
    answer = site.client.get("/kiosk/events", headers={"sec-fetch-site": "same-origin"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    assert told == [
        {
            "screen": view.screen.value,
            "advice": int(view.advice),
            "camera_on": view.camera_on,
            "deadline_ms": view.deadline_ms,
            "pin_token": view.pin_token,
        }
        for view in VIEWS
    ]


def post(site: Site, path: str, body: object = None, **headers: str) -> int:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()} or OURS
    return site.client.post(path, content=content, headers=named).status_code


def test_a_pin_reaches_the_prompt_that_asked(site: Site) -> None:
    assert post(site, "/kiosk/pin", {"token": "the-token", "pin": "038261"}) == 204
    assert post(site, "/kiosk/pin", {"token": "another", "pin": "038261"}) == 409
    assert site.gate.said == ["038261"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 900,
        b"null",
        b"[]",
        b'"the-token"',
        b"{}",
        b'{"token":"the-token"}',
        b'{"token":"the-token","pin":1234}',
        b'{"token":"the-token","pin":""}',
        b'{"token":"the-token","pin":"12a4"}',
        b'{"token":"the-token","pin":"-123"}',
        '{"token":"the-token","pin":"१२३४"}'.encode(),
        b'{"token":"the-token","pin":"1234567890123"}',
        b'{"token":["the-token"],"pin":"1234"}',
    ],
)
def test_a_malformed_pin_is_refused_and_not_repeated(site: Site, body: bytes) -> None:
    answer = site.client.post("/kiosk/pin", content=body, headers=OURS)
    assert answer.status_code == 400
    assert answer.content == b""
    assert site.gate.said == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.binary(max_size=300) | st.text(max_size=60).map(lambda t: json.dumps(t).encode()))
def test_any_bytes_get_a_refusal_not_a_crash(site: Site, body: bytes) -> None:
    assert post(site, "/kiosk/pin", body) == 400


def test_a_large_body_is_not_read(site: Site) -> None:
    large = json.dumps({"token": "the-token", "pin": "1234", "x": "y" * MAX_BODY_BYTES}).encode()
    for path in ("/kiosk/pin", "/kiosk/leave", "/audit/verify"):
        status = post(site, path, large)
        assert status == 413 or path != "/kiosk/pin"
    assert "1234" not in site.gate.said


def test_the_pin_lane_and_leaving(site: Site) -> None:
    assert post(site, "/kiosk/pin-lane") == 204
    assert post(site, "/kiosk/pin-lane") == 409
    assert post(site, "/kiosk/leave") == 204
    assert site.gate.said == ["pin lane", "pin lane", "leave"]


@pytest.mark.parametrize("path", ["/kiosk/pin", "/kiosk/pin-lane", "/kiosk/leave", "/audit/verify"])
def test_no_other_site_can_act(site: Site, path: str) -> None:
    body = {"token": "the-token", "pin": "1234"}
    assert post(site, path, body, origin="http://evil.example") == 403
    assert post(site, path, body, sec_fetch_site="cross-site", origin=ORIGIN) == 403
    assert post(site, path, body, origin="null") == 403
    assert post(site, path, body, accept="*/*") == 403
    assert site.gate.said == []


def test_no_other_site_can_read_the_kiosk(site: Site) -> None:
    for path in ("/kiosk", "/kiosk/events"):
        assert site.get(path, sec_fetch_site="cross-site")[0] == 403
        assert site.get(path, origin="http://evil.example")[0] == 403


def test_actions_are_not_reachable_by_a_link(site: Site) -> None:
    for path in ("/kiosk/pin", "/kiosk/pin-lane", "/kiosk/leave", "/audit/verify"):
        assert site.client.get(path).status_code == 405
    assert site.gate.said == []


def test_without_a_gate_there_is_no_kiosk_and_admin_says_so(tmp_path: Path) -> None:
    site = Site(tmp_path, with_gate=False)
    for path in ("/kiosk", "/kiosk/events", "/kiosk/static/kiosk.js"):
        assert site.client.get(path).status_code == 404
    assert "No gate runs here" in site.get("/admin?lang=en")[1]
    assert "출입문이 돌고 있지 않습니다" in site.get("/admin?lang=ko")[1]
    assert site.client.get("/").headers["location"] == "/audit"
    site.ledger.close()


def test_admin_shows_the_turnstile_and_what_to_do(site: Site) -> None:
    text = site.get("/admin?lang=en")[1]
    for said in ("east-1", "connected", "ready", ">17<", ">4<", "is stale", "copy a new one"):
        assert said in text
    site.gate.status = TurnstileStatus(Link.WRONG_KEY, ready=True, tamper=True)
    text = site.get("/admin/panels?lang=en")[1]
    assert "another key" in text
    # What was read before the line broke says nothing about now.
    assert "ready" not in text
    site.gate.status = TurnstileStatus(Link.ONLINE, tamper=True, fire=True, power_fault=True)
    assert site.get("/admin/panels?lang=en")[1].count('state bad"') >= 4


def test_admin_counts_reasons_but_never_a_few_people(site: Site) -> None:
    for _ in range(9):
        site.ledger.append(Decided.of(Deny(DenyReason.CARD_EXPIRED)), NOW)
    for _ in range(3):
        site.ledger.append(Decided.of(Deny(DenyReason.CONSENT_WITHDRAWN, Lane.FACE)), NOW)
    text = site.get("/admin?lang=en")[1]
    assert re.search(r"card expired.*?number\">9<", text, re.DOTALL)
    assert re.search(r"consent withdrawn.*?number\">fewer than 5<", text, re.DOTALL)
    assert 'class="deny" x="' in text
    assert "09:15" in text


def test_languages(site: Site) -> None:
    for path in ("/admin", "/audit"):
        assert '<html lang="ko">' in site.get(path)[1]
        assert '<html lang="en">' in site.get(path, accept_language="en")[1]
        assert '<html lang="ko">' in site.get(path + "?lang=ko", accept_language="en")[1]


def test_audit_shows_the_log_in_words(site: Site) -> None:
    site.ledger.append(Decided.of(Grant(Lane.PIN)), NOW)
    site.ledger.append(Moved(OpenResult.OPENED, Crossing.TAILGATING), NOW)
    text = site.get("/audit?lang=en")[1]
    for said in ("PIN lane", "more than one person crossed", "2026-03-04 09:15", site.vkey):
        assert said in text
    assert site.ledger.checkpoint_note().splitlines()[2] in text
    assert "두 사람 이상이 지나감" in site.get("/audit?lang=ko")[1]


def test_verify_now_tells_every_step(site: Site) -> None:
    site.ledger.append(Decided.of(Deny(DenyReason.NO_FACE, Lane.FACE)), NOW)
    answer = site.client.post("/audit/verify?lang=en", headers=OURS)
    assert answer.status_code == 200
    assert "All 2 records fit" in answer.text
    assert answer.text.count('state good"') == 10
    assert answer.text.count("not done here") == 1


def test_verify_now_finds_a_changed_record(site: Site) -> None:
    site.ledger.append(Decided.of(Deny(DenyReason.NO_FACE, Lane.FACE)), NOW)
    site.ledger.close()
    raw = site.path.read_bytes()
    assert raw.count(b"no_face") >= 1
    site.path.write_bytes(raw.replace(b'"no_face"', b'"no_fake"'))
    answer = site.client.post("/audit/verify?lang=en", headers=OURS)
    assert "Something does not fit" in answer.text
    assert "does not fit</td>" in answer.text
    assert "step 5:" in answer.text


def test_verify_now_with_another_key_does_not_fit(site: Site) -> None:
    other = generate("example/gate", os.urandom).vkey
    app = create_app(ConsoleDeps(site.path, other, None, demo=False), lambda: NOW)
    answer = TestClient(app).post("/audit/verify?lang=en", headers=OURS)
    assert "Something does not fit" in answer.text
    assert "step 1:" in answer.text
    for vkey in ("", "nonsense"):
        app = create_app(ConsoleDeps(site.path, vkey, None, demo=False), lambda: NOW)
        answer = TestClient(app).post("/audit/verify?lang=en", headers=OURS)
        assert answer.status_code == 200
        assert "cannot be verified" in answer.text


def test_without_a_log_every_page_says_what_to_do(tmp_path: Path) -> None:
    deps = ConsoleDeps(tmp_path / "absent.sqlite", "x", PlainGate(), demo=False)
    client = TestClient(create_app(deps, lambda: NOW))
    for path in ("/admin?lang=en", "/audit?lang=en"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "there is no log yet; start the gate" in answer.text
    assert client.get("/audit/export.tar").status_code == 503
    assert "cannot be verified" in client.post("/audit/verify?lang=en", headers=OURS).text
    assert list(tmp_path.iterdir()) == []


def test_the_download_verifies_offline_and_is_the_same_each_time(
    site: Site, tmp_path: Path
) -> None:
    for reason in (DenyReason.NO_FACE, DenyReason.WRONG_PIN):
        site.ledger.append(Decided.of(Deny(reason, Lane.PIN)), NOW)
    answer = site.client.get("/audit/export.tar")
    assert answer.headers["content-disposition"] == 'attachment; filename="gate-log.tar"'
    assert site.client.get("/audit/export.tar").content == answer.content
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        assert all(item.name.startswith("gate-log/") and item.isreg() for item in tar)
        assert {(item.uid, item.gid, item.mtime) for item in tar} == {(0, 0, 0)}
        folder = tmp_path / "far away" / "gate-log"
        for item in tar:  # by hand: the safe `filter` came only with Python 3.11.4
            content = tar.extractfile(item)
            assert content is not None
            place = folder.parent / item.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.read())
    report = verify_export(folder, site.vkey)
    assert (report.ok, report.size) == (True, 3)
    assert f"gate ledger verify gate-log --vkey {site.vkey}" in site.get("/audit")[1]
