"""The demo's stage: a site, cards, a lens, a simulated turnstile, and the real gate in between."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from enrollment import issue
from enrollment.capture import LiveCamera, ModelPack, Photographs, capture
from enrollment.capture_wire import Progress
from enrollment.gate_config import Devices
from enrollment.mdoc_issuer import issue_mdoc
from enrollment.notice import Language
from enrollment.site import Site, create_site
from enrollment.wallet import Wallet
from firmware_bridge.antenna import serve_card
from firmware_bridge.osdp_key import load_key
from firmware_bridge.ports import Link
from firmware_bridge.sim.card import SimCard
from firmware_bridge.sim.turnstile import SimTurnstile
from gate.card import mdoc, session
from gate.console.deps import Screen
from gate.demo.scenarios import Card, Pin, Scenario, View
from gate.errors import ConfigError, GateError
from gate.passage.report import PassageReport
from gate.passage.session import DEADLINE_MS, State
from gate.settings import load_settings
from gate.wiring import Assembly, assemble

SITE_AGE = timedelta(days=40)
"""The demo site was founded a while ago, so that a card of its first days can be expired."""
EXPIRED_AFTER_DAYS = 7
DEMO_PIN = "4071"
WRONG_PIN = "9999"
DEMO_DEADLINE_MS = {**DEADLINE_MS, State.REFUSED: 150, State.CROSSING: 4_000}
"""The demo reads faster than a person at a kiosk."""


@dataclass(frozen=True)
class Cast:
    """What plays in front of the camera, and which models look."""

    pack: str
    pack_folder: Path
    photos: Path | None
    """Folder of the sample photographs; None with a camera."""
    camera: str | None


class Lens:
    """What the simulated camera sees: a link that is moved from picture to picture."""

    def __init__(self, folder: Path, photos: Path) -> None:
        self._folder = folder.resolve()
        photos = photos.resolve()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = [sys.executable, "-I", "-m", "gate.demo.compose"]
        command += [str(photos / "owner-2.jpg"), str(photos / "other-1.jpg"), str(folder)]
        if subprocess.run(command, check=False, capture_output=True).returncode != 0:  # noqa: S603
            raise ConfigError("the demo pictures cannot be made", "free some disk space")
        self._views = {
            View.OWNER: photos / "owner-2.jpg",
            View.OTHER: photos / "other-1.jpg",
            View.TWO_FACES: folder / "two_faces.png",
            View.NOBODY: folder / "nobody.png",
        }
        self.show(View.NOBODY)

    @property
    def source(self) -> str:
        """The camera source for the configuration."""
        return f"sim:{self._folder / 'view'}?fps=30"

    def picture(self, view: View) -> Path:
        """Return the picture of a view."""
        return self._views[view]

    def show(self, view: View) -> None:
        """Put another picture in front of the lens."""
        link, fresh = self._folder / "view", self._folder / "view.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(self._views[view])
        fresh.replace(link)


def utc_now() -> datetime:
    """Return the time of the demo: the real one."""
    return datetime.now(UTC)


def found_site(folder: Path, cast: Cast, camera: str) -> Site:
    """Make the demo site anew in an empty `folder`."""
    if folder.exists():
        shutil.rmtree(folder)
    devices = Devices(
        pack=cast.pack,
        pack_folder=cast.pack_folder.resolve(),
        camera=camera,
        turnstile_port=folder.resolve() / "turnstile",
    )
    return create_site(
        folder,
        demo=True,
        gate_id="demo-gate",
        now=utc_now() - SITE_AGE,
        random_bytes=os.urandom,
        devices=devices,
    )


def enrol_owner(
    site: Site, cast: Cast, progress: Callable[[Progress], None], pin: str = DEMO_PIN
) -> Wallet:
    """Enrol one person who said yes: consent, capture in a process of its own, card."""
    now = utc_now()
    application = issue.apply(site, now=now, random_bytes=os.urandom)
    notice = site.notice(Language.KO, application.expiry)
    consent = issue.give_consent(site, application, notice, os.urandom)
    source: Photographs | LiveCamera
    if cast.camera is not None:
        source = LiveCamera(cast.camera)
    else:
        assert cast.photos is not None
        source = Photographs((cast.photos / "owner-1.jpg",))
    face = capture(
        source,
        ModelPack(cast.pack, cast.pack_folder),
        site.template_public_key,
        credential_id=application.credential_id,
        consent_record=consent.signed,
        expiry=application.expiry,
        now=now,
        progress=progress,
    )
    return issue.issue(site, application, pin, face, random_bytes=os.urandom, clock=utc_now)


def issue_pin_card(
    site: Site, now: datetime | None = None, valid_days: int = 365, pin: str = DEMO_PIN
) -> Wallet:
    """Issue the card of a person who said no: the same card, with PIN."""
    application = issue.apply(
        site, now=now or utc_now(), random_bytes=os.urandom, valid_days=valid_days
    )
    return issue.issue(site, application, pin, None, random_bytes=os.urandom, clock=utc_now)


def issue_cards(
    site: Site, owner: Wallet, owner_again: Callable[[], Wallet], pin: str = DEMO_PIN
) -> dict[Card, Wallet]:
    """Issue every card of the demo.

    Args:
        site: the issuer.
        owner: the card of the person who consented.
        owner_again: enrols the same person once more, for the withdrawal.
        pin: of every card.
    """
    revoked = issue_pin_card(site, pin=pin)
    issue.revoke(site, site.registry.find(issue.credential_id_of(revoked)), now=utc_now())
    withdrawn = owner_again()
    withdrawal = issue.withdraw(site, withdrawn, pin, random_bytes=os.urandom, clock=utc_now)
    return {
        Card.OWNER: owner,
        Card.PIN_ONLY: issue_pin_card(site, pin=pin),
        Card.CLONED: owner.clone_without_key(),
        Card.REVOKED: revoked,
        Card.EXPIRED: issue_pin_card(site, utc_now() - SITE_AGE, EXPIRED_AFTER_DAYS, pin),
        Card.WITHDRAWN: withdrawn,
        Card.WITHDRAWN_STALE: _keep_old_template(site, withdrawn, withdrawal.record.signed),
    }


def _keep_old_template(site: Site, withdrawn: Wallet, withdrawal_record: bytes) -> Wallet:
    """Issue what nobody should: a card with a live status, the old template, and the withdrawal.

    It shows that the signature of an issuer alone does not open a template: the consent that the
    template was sealed to is gone.
    """
    elements = {name: withdrawn.elements[name] for name in mdoc.ALL_ELEMENTS}
    elements[mdoc.CONSENT_RECORD] = withdrawal_record
    expiry = site.registry.find(issue.credential_id_of(withdrawn)).expires
    device_key = session.new_key(os.urandom)
    index = site.registry.add(os.urandom(16), expiry, os.urandom, None)
    issuer_signed = issue_mdoc(
        elements | {mdoc.EXPIRY_DATE: expiry},
        device_key.public_key(),
        site.document_signer,
        index,
        site.status_uri,
        utc_now().replace(microsecond=0),
        expiry,
        os.urandom,
    )
    site.publish_status(utc_now())
    return Wallet(device_key, issuer_signed, site.reader_roots, utc_now, os.urandom)


@dataclass
class Stage:
    """The gate at work, and hands to walk people through it."""

    gate: Assembly
    turnstile: SimTurnstile
    lens: Lens | None
    cards: dict[Card, Wallet]
    antenna: Path
    reports: queue.SimpleQueue[PassageReport] = field(default_factory=queue.SimpleQueue)
    screens: list[Screen] = field(default_factory=list)
    deadline_ms: dict[State, int | None] = field(default_factory=dict)
    """Of the lane; may be changed while it runs."""

    def keep_the_pace_of_people(self) -> None:
        """Give a person at the kiosk the time that a real gate gives."""
        self.deadline_ms.update(DEADLINE_MS)

    def walk(self, scenario: Scenario) -> PassageReport:
        """Let one person come with a card and do what the scenario says.

        Raises:
            GateError: the gate did not finish the passage.
        """
        if self.lens is not None and scenario.view is not View.LIVE:
            self.lens.show(scenario.view)
        if scenario.unplugged:
            self.turnstile.unplug()
            self._wait_link(online=False)
        self._wait_screen(closed=scenario.unplugged)
        self.gate.verifiers.wait_ready(timeout_s=30.0)
        self.screens.clear()
        done = threading.Event()
        hand = threading.Thread(target=self._hand, args=(scenario, done), daemon=True)
        hand.start()
        try:
            self._tap(scenario.card)
            return self.reports.get(timeout=30.0)
        except queue.Empty:
            raise GateError("the gate did not finish the passage") from None
        finally:
            done.set()
            hand.join(timeout=2.0)
            if scenario.unplugged:
                self.turnstile.replug()
                self._wait_link(online=True)

    def _tap(self, card: Card) -> None:
        phone = SimCard(self.cards[card])
        threading.Thread(
            target=serve_card, args=(self.antenna, phone), name="phone", daemon=True
        ).start()

    def _hand(self, scenario: Scenario, done: threading.Event) -> None:
        """Watch the screen as a person does: type the PIN, or walk away from the PIN pad."""
        answered = ""
        while not done.wait(0.01):
            view = self.gate.live.kiosk()
            if not self.screens or self.screens[-1] is not view.screen:
                self.screens.append(view.screen)
            if view.pin_token is None or view.pin_token == answered:
                continue
            if scenario.pin is Pin.NONE or answered:
                self.gate.live.leave()
                done.wait(0.1)
            else:
                pin = DEMO_PIN if scenario.pin is Pin.RIGHT else WRONG_PIN
                self.gate.live.enter_pin(view.pin_token, pin)
                answered = view.pin_token

    def _wait_screen(self, *, closed: bool) -> None:
        wanted = Screen.OUT_OF_ORDER if closed else Screen.IDLE
        end_s = time.monotonic() + 30.0
        while self.gate.live.kiosk().screen is not wanted:
            if time.monotonic() > end_s:
                raise GateError("the gate does not get ready", "see the health lines of the admin")
            time.sleep(0.01)

    def _wait_link(self, *, online: bool) -> None:
        end_s = time.monotonic() + 10.0
        while (self.gate.turnstile.status().link is Link.ONLINE) != online:
            if time.monotonic() > end_s:
                raise GateError("the turnstile's line did not change", "see [turnstile] port")
            time.sleep(0.02)


@contextlib.contextmanager
def open_stage(site: Site, lens: Lens | None, cards: dict[Card, Wallet]) -> Iterator[Stage]:
    """Start the turnstile and the gate; stop both at the end, the gate first."""
    settings = load_settings(site.config_path, environ={})
    reports: queue.SimpleQueue[PassageReport] = queue.SimpleQueue()
    key = load_key(settings.turnstile.key_file)
    deadline_ms = dict(DEMO_DEADLINE_MS)
    with (
        SimTurnstile(key, link=settings.turnstile.port, auto_walk_after_ms=300) as turnstile,
        assemble(settings, deadline_ms=deadline_ms, on_passage=reports.put) as gate,
    ):
        antenna = Path(settings.card.reader.removeprefix("socket:"))
        stage = Stage(gate, turnstile, lens, cards, antenna, reports, deadline_ms=deadline_ms)
        lane = threading.Thread(target=gate.runner.run, name="lane", daemon=True)
        lane.start()
        stage._wait_link(online=True)
        try:
            yield stage
        finally:
            gate.runner.stop()
            lane.join(timeout=20.0)
