"""A demo site on the bootstrap pack, and real gates to break: in this process, or as processes."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from enrollment.site import Site
from enrollment.wallet import Wallet
from firmware_bridge.antenna import serve_card
from firmware_bridge.ports import ApduChannel
from firmware_bridge.sim.card import SimCard
from gate.console.deps import Screen
from gate.demo.scenarios import Card, View
from gate.demo.stage import Cast, Lens, Stage, enrol_owner, found_site, issue_pin_card
from gate.ledger.verify import Report, verify_store
from gate.passage.report import PassageReport
from models.errors import ModelFault
from models.fetch import Progress, fetch_pack, fetch_sample_photos

CACHE = Path(os.environ.get("GATE_CACHE_DIR", Path(__file__).parents[2] / ".cache/consentgate"))
WAIT_S = 60.0
QUIET_ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("GATE_")}


@pytest.fixture(scope="session")
def cast() -> Cast:
    """The bootstrap pack and the sample photographs, fetched when this machine has none yet."""

    def quiet(_step: Progress) -> None:
        """Nobody watches."""

    try:
        photos = fetch_sample_photos(CACHE, quiet)
        return Cast("bootstrap", fetch_pack("bootstrap", CACHE, None, quiet), photos, None)
    except ModelFault as fault:
        pytest.skip(f"the models cannot be had here: {fault.diagnostics()}")


@dataclass
class Home:
    """A founded demo site with its cards, before any gate runs."""

    site: Site
    lens: Lens
    cards: dict[Card, Wallet]
    files: dict[Card, Path]
    cast: Cast

    @property
    def ledger(self) -> Path:
        return self.site.layout.gate / "data" / "ledger.db"

    @property
    def antenna(self) -> Path:
        return self.site.layout.gate / "antenna.sock"

    @property
    def vkey(self) -> str:
        from gate.ledger.keys import load

        return load(self.site.layout.ledger_key).vkey

    def audit(self) -> Report:
        """Verify the log with code that the writer does not share."""
        report = verify_store(self.ledger, self.vkey)
        assert report.ok, report.problems
        return report


@pytest.fixture(scope="session")
def home(cast: Cast, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """One enrolment for all these tests: it takes the longest."""
    folder = tmp_path_factory.mktemp("home")
    assert cast.photos is not None
    lens = Lens(folder / "lens", cast.photos)
    site = found_site(folder / "site", cast, lens.source)
    cards = {
        Card.OWNER: enrol_owner(site, cast, lambda _step: None),
        Card.PIN_ONLY: issue_pin_card(site),
    }
    files = {card: folder / f"{card.value}.card" for card in cards}
    for card, wallet in cards.items():
        wallet.save(files[card])
    return Home(site, lens, cards, files, cast)


class Door:
    """A running stage, and hands to break it."""

    def __init__(self, stage: Stage, home: Home) -> None:
        self.stage = stage
        self.home = home
        self.live = stage.gate.live
        self.turnstile = stage.turnstile

    def wait(self, truth: Callable[[], object], what: str) -> None:
        end_s = time.monotonic() + WAIT_S
        while not truth():
            assert time.monotonic() < end_s, f"{what} did not happen; {self.live.kiosk()}"
            time.sleep(0.005)

    def ready(self) -> None:
        """Wait until the gate is idle with a spare verifier."""
        self.wait(
            # The screen alone promises a spare that may still be coming.
            lambda: self.live.kiosk().screen is Screen.IDLE and self.stage.gate.verifiers.ready(),
            "ready",
        )

    def visit(
        self,
        card: Card | ApduChannel,
        view: View = View.OWNER,
        *,
        pin: str | None = None,
        at: Mapping[Screen, Callable[[], None]] | None = None,
    ) -> PassageReport:
        """One person comes. `at` says what happens when a screen is first seen.

        Who is asked for a PIN and has none walks away.
        """
        self.home.lens.show(view)
        phone = SimCard(self.home.cards[card]) if isinstance(card, Card) else card
        hand = threading.Thread(target=serve_card, args=(self.stage.antenna, phone), daemon=True)
        hand.start()
        todo, answered = dict(at or {}), ""
        end_s = time.monotonic() + WAIT_S
        while True:
            with contextlib.suppress(queue.Empty):
                report = self.stage.reports.get(timeout=0.005)
                hand.join(WAIT_S)
                return report
            assert time.monotonic() < end_s, f"no end of the passage: {self.live.kiosk()}"
            now = self.live.kiosk()
            if now.screen in todo and (now.screen is not Screen.LOOK or now.camera_on):
                todo.pop(now.screen)()
            if now.pin_token is not None and now.pin_token != answered:
                answered = now.pin_token
                if pin is None:
                    self.live.leave()
                else:
                    self.live.enter_pin(now.pin_token, pin)


@pytest.fixture
def make_door(home: Home) -> Callable[[Stage], Door]:
    """Put hands on a stage."""
    return lambda stage: Door(stage, home)


# ---- as processes -------------------------------------------------------------------------------


class Program:
    """One of our commands as a process of its own, its lines kept in files."""

    def __init__(self, folder: Path, name: str, *command: object, **environment: str) -> None:
        self._out, self._err = folder / f"{name}.out", folder / f"{name}.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *map(str, command)],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                env=QUIET_ENVIRONMENT | environment,
            )

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def wait_line(self, part: str) -> str:
        """Return the first whole line that holds `part`."""
        end_s = time.monotonic() + WAIT_S
        while True:
            for line in (self.out + self.err).splitlines(keepends=True):
                if part in line and line.endswith("\n"):
                    return line.strip()
            assert self.process.poll() is None, (self.process.returncode, self.out, self.err)
            assert time.monotonic() < end_s, (part, self.out, self.err)
            time.sleep(0.02)

    def ended(self) -> int:
        return self.process.wait(WAIT_S)

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.ended()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        return code


class GateProcess(Program):
    """`gate run` of a home."""

    def __init__(self, folder: Path, home: Home, name: str = "gate", **environment: str) -> None:
        settings = {"GATE_KIOSK_PORT": "0"} | environment
        config = home.site.config_path
        super().__init__(folder, name, "gate", "run", "--config", config, **settings)

    def url(self) -> str:
        """Where its pages are, once it runs."""
        return self.wait_line(" runs; kiosk ").split()[-1].removesuffix("/kiosk")

    def view(self) -> dict[str, Any]:
        """Return what the kiosk shows now."""
        with urllib.request.urlopen(f"{self.url()}/kiosk/events", timeout=10) as stream:
            for line in stream:
                if line.startswith(b"data: {"):
                    found: dict[str, Any] = json.loads(line[6:])
                    return found
        raise AssertionError("the kiosk said nothing")

    def wait_screen(self, *screens: Screen) -> dict[str, Any]:
        end_s = time.monotonic() + WAIT_S
        while (now := self.view())["screen"] not in {screen.value for screen in screens}:
            assert time.monotonic() < end_s, (now, self.err)
            time.sleep(0.02)
        return now

    def say(self, path: str, body: object = None) -> int:
        """Send what a person at the kiosk says."""
        request = urllib.request.Request(
            f"{self.url()}/kiosk/{path}",
            data=json.dumps(body).encode(),
            headers={"Origin": self.url(), "Content-Type": "application/json"},
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)


@pytest.fixture
def programs() -> Iterator[list[Program]]:
    """Programs put in here are ended, whatever happens."""
    started: list[Program] = []
    yield started
    for program in reversed(started):
        program.stop(signal.SIGKILL)


@pytest.fixture
def start_gate(tmp_path: Path, home: Home, programs: list[Program]) -> Callable[..., GateProcess]:
    """Start `gate run`; variables replace settings."""

    def start(**environment: str) -> GateProcess:
        gate = GateProcess(tmp_path, home, f"gate{len(programs)}", **environment)
        programs.append(gate)
        return gate

    return start


@pytest.fixture
def start_turnstile(tmp_path: Path, home: Home, programs: list[Program]) -> Callable[..., Program]:
    """Start the simulated turnstile as a program; people walk through by themselves."""

    def start(*options: object) -> Program:
        layout = home.site.layout
        link, key = layout.folder / "turnstile", layout.door_key
        options = options or ("--auto-walk-after-ms", 200)
        command = ("firmware_bridge.sim.turnstile", "--link", link, "--key-file", key, *options)
        turnstile = Program(tmp_path, f"turnstile{len(programs)}", *command)
        programs.append(turnstile)
        turnstile.wait_line("turnstile ready")
        return turnstile

    return start


@pytest.fixture
def tap(tmp_path: Path, home: Home, programs: list[Program]) -> Callable[..., Program]:
    """Hold a card to the gate with `enroll tap`."""

    def hold(card: Card) -> Program:
        command = ("enrollment.cli", "tap", "--card", home.files[card], "--to", home.antenna)
        phone = Program(tmp_path, f"phone{len(programs)}", *command)
        programs.append(phone)
        return phone

    return hold


@pytest.fixture
def fresh_log(home: Home) -> None:
    """Begin a new log, so that its counts are this test's own."""
    shutil.rmtree(home.ledger.parent, ignore_errors=True)


def utc_now() -> datetime:
    return datetime.now(UTC)
