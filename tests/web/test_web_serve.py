"""The pages on a real port: streams to several listeners, an end in time, refusals to start."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from firmware_bridge.ports import Link, TurnstileStatus
from gate.console.app import create_app
from gate.console.deps import ConsoleDeps, KioskView, Screen
from gate.console.live import LiveView
from gate.console.serve import CONNECTIONS_MAX, SILENT_S, Serving, serve
from gate.errors import ConfigError


def make() -> LiveView:
    return LiveView(
        gate_id="east-1",
        purpose=("출입", "entry"),
        turnstile=lambda: TurnstileStatus(Link.OFFLINE),
        health=list,
        on_pin_lane=lambda: None,
        on_leave=lambda: None,
    )


@pytest.fixture
def live() -> LiveView:
    return make()


@pytest.fixture
def serving(live: LiveView, tmp_path: Path) -> Iterator[Serving]:
    with serve(create_app(ConsoleDeps(tmp_path / "none", "", live, demo=True))) as pages:
        yield pages


def views(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if line.startswith("data: {"):
            yield json.loads(line[6:])["screen"]


def test_several_listeners_follow_and_the_end_ends_them(live: LiveView, tmp_path: Path) -> None:
    seen: list[list[str]] = [[], [], []]
    started = threading.Barrier(4)
    arrived = threading.Barrier(4)

    def listen(url: str, mine: list[str]) -> None:
        with httpx2.stream("GET", f"{url}/kiosk/events", timeout=20) as answer:
            following = views(answer.iter_lines())
            mine.append(next(following))
            started.wait(20)
            mine.append(next(following))
            arrived.wait(20)
            mine.extend(following)  # until the server ends the stream

    with serve(create_app(ConsoleDeps(tmp_path / "none", "", live, demo=True))) as pages:
        threads = [threading.Thread(target=listen, args=(pages.url, mine)) for mine in seen]
        for thread in threads:
            thread.start()
        started.wait(20)
        live.show(KioskView(Screen.IDLE))
        arrived.wait(20)
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert seen == [["out_of_order", "idle"]] * 3


def test_a_silent_gate_still_beats(serving: Serving) -> None:
    with httpx2.stream("GET", f"{serving.url}/kiosk/events", timeout=20) as answer:
        beats = 0
        for line in answer.iter_lines():
            beats += line == "event: beat"
            if beats == 2:
                break


def test_only_this_machines_names_reach_it(serving: Serving) -> None:
    """An attacker's name that resolves to 127.0.0.1 (DNS rebinding) gets nothing."""
    assert httpx2.get(f"{serving.url}/kiosk").status_code == 200
    assert httpx2.get(f"{serving.url}/kiosk", headers={"host": "localhost"}).status_code == 200
    for host in ("evil.example", f"evil.example:{serving.port}", "127.0.0.1.evil.example", ""):
        assert httpx2.get(f"{serving.url}/kiosk", headers={"host": host}).status_code == 400


def test_no_access_is_logged(serving: Serving, capfd: pytest.CaptureFixture[str]) -> None:
    for path in ("/kiosk", "/admin", "/nope"):
        httpx2.get(f"{serving.url}{path}")
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_closing_twice_is_fine_and_frees_the_port(live: LiveView, tmp_path: Path) -> None:
    app = create_app(ConsoleDeps(tmp_path / "none", "", live, demo=True))
    pages = serve(app)
    assert pages.alive
    assert pages.port > 0
    pages.close()
    pages.close()
    assert not pages.alive
    app = create_app(ConsoleDeps(tmp_path / "none", "", live, demo=True))
    with serve(app, port=pages.port) as again:
        assert again.port == pages.port


def test_a_busy_port_is_one_clear_line(live: LiveView, tmp_path: Path) -> None:
    app = create_app(ConsoleDeps(tmp_path / "none", "", live, demo=True))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}") as refusal:
            serve(app, port=port)
    assert "choose another port" in refusal.value.diagnostics()
    assert "\n" not in refusal.value.diagnostics()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gate.example", ""])
def test_the_kiosk_stays_on_this_machine(live: LiveView, tmp_path: Path, host: str) -> None:
    app = create_app(ConsoleDeps(tmp_path / "none", "", live, demo=True))
    with pytest.raises(ConfigError, match="reachable from other machines"):
        serve(app, host)


def test_it_may_leave_when_explicitly_allowed_or_without_a_gate(
    live: LiveView, tmp_path: Path
) -> None:
    with_kiosk = create_app(ConsoleDeps(tmp_path / "none", "", live, demo=True))
    with serve(with_kiosk, "0.0.0.0", allow_remote_kiosk=True) as pages:
        assert httpx2.get(f"http://127.0.0.1:{pages.port}/kiosk").status_code == 200
    apart = create_app(ConsoleDeps(tmp_path / "none", "", None, demo=True))
    with serve(apart, "0.0.0.0") as pages:
        assert httpx2.get(f"http://127.0.0.1:{pages.port}/audit").status_code == 200


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "not a host"])
def test_a_host_that_is_not_ours_is_one_clear_line(tmp_path: Path, host: str) -> None:
    app = create_app(ConsoleDeps(tmp_path / "none", "", None, demo=True))
    with pytest.raises(ConfigError) as refusal:
        serve(app, host)
    assert "\n" not in refusal.value.diagnostics()


def test_the_ipv6_loopback_works_where_there_is_one(live: LiveView, tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    app = create_app(ConsoleDeps(tmp_path / "none", "", live, demo=True))
    with serve(app, "::1") as pages:
        assert httpx2.get(f"{pages.url}/kiosk").status_code == 200


def test_connections_that_ask_nothing_do_not_use_up_the_gate(serving: Serving) -> None:
    idle = []
    try:
        for _ in range(CONNECTIONS_MAX + 20):
            line = socket.create_connection((serving.host, serving.port), timeout=20)
            idle.append(line)
        closed = 0
        for line in idle:  # the surplus at once, the others when their time to ask is over
            try:
                closed += line.recv(1) == b""
            except ConnectionError:
                closed += 1
        assert closed == len(idle)
    finally:
        for line in idle:
            line.close()
    assert httpx2.get(f"{serving.url}/kiosk", timeout=20).status_code == 200


def test_a_second_request_that_never_ends_does(serving: Serving) -> None:
    with socket.create_connection((serving.host, serving.port)) as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nX: ")
        line.settimeout(1)
        for _ in range(8 * int(SILENT_S)):
            try:
                line.sendall(b"x")  # a byte now and then is no request
                if not line.recv(4096):
                    return
            except TimeoutError:
                continue
            except OSError:
                return
    pytest.fail("held open by a byte now and then")
