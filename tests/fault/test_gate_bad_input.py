"""One real gate, and everything that goes wrong around it while people come."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.x509 import Certificate

from enrollment import pki
from enrollment.mdoc_issuer import issue_mdoc
from enrollment.wallet import Wallet
from firmware_bridge.ports import Crossing, Link, OpenResult
from firmware_bridge.sim.card import CardApplication, CardFault, FaultKind, SimCard
from firmware_bridge.sim.mechanics import Walk
from gate.card import mdoc, session
from gate.console.deps import Screen
from gate.demo.scenarios import Card, View
from gate.demo.stage import DEMO_PIN, Stage, open_stage
from gate.passage.decision import Deny, DenyReason, Grant, Lane
from gate.passage.report import PassageReport

if TYPE_CHECKING:
    from tests.fault.conftest import Door, Home

CAMERA_FAULT = Deny(DenyReason.CAMERA_FAULT, Lane.FACE)
UNREADABLE = Deny(DenyReason.CARD_UNREADABLE)


@pytest.fixture(scope="module")
def stage(home: Home) -> Iterator[Stage]:
    with open_stage(home.site, home.lens, home.cards) as running:
        yield running
    home.audit()


@pytest.fixture
def door(stage: Stage, home: Home, make_door: Callable[[Stage], Door]) -> Iterator[Door]:
    """The gate, ready; afterwards its log must verify, with it running, and people can leave."""
    door = make_door(stage)
    door.ready()
    yield door
    stage.turnstile.set_auto_walk(300)
    stage.turnstile.replug()
    seen = len(stage.turnstile.persons)
    stage.turnstile.person_leaves()
    door.wait(lambda: len(stage.turnstile.persons) > seen, "a person walked out")
    assert stage.turnstile.persons[-1].walk is Walk.PASSED_OUT
    home.audit()


def count(home: Home, name: str) -> int:
    return home.audit().counts.get(name, 0)


def refused(report: PassageReport, *reasons: Deny) -> None:
    """The passage was refused for these reasons, on record, and the relay did not move."""
    assert report.decisions == list(reasons)
    assert not report.unrecorded
    assert report.opened is None


@pytest.fixture
def still(door: Door) -> Iterator[None]:
    """No relay edge in this test."""
    edges = len(door.turnstile.edges)
    yield
    assert len(door.turnstile.edges) == edges


# ---- the camera -------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["missing", "unreadable"])
def test_a_camera_that_gives_nothing(
    door: Door, home: Home, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    before = count(home, "fault.camera"), door.turnstile.openings
    view = Path(home.lens.source.removeprefix("sim:").partition("?")[0])

    def spoil() -> None:
        view.unlink()
        if what == "unreadable":
            view.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500))

    with caplog.at_level(logging.WARNING):
        refused(door.visit(Card.OWNER, at={Screen.READING_CARD: spoil}), CAMERA_FAULT)
    assert door.turnstile.openings == before[1]
    said = [r.message for r in caplog.records if "camera" in r.message]
    assert said == ["the camera gives no usable picture; check its cable and [camera] source"]
    door.ready()
    report = door.visit(Card.OWNER, pin=DEMO_PIN, at={Screen.READING_CARD: spoil})
    assert report.decisions == [CAMERA_FAULT, Grant(Lane.PIN)], "the other lane is open"
    assert count(home, "fault.camera") == before[0] + 1, "one fault, told once"
    door.ready()
    assert door.visit(Card.OWNER).decisions == [Grant(Lane.FACE)]


# ---- the card ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [FaultKind.TRUNCATE, FaultKind.DUPLICATE, FaultKind.TRAILING, FaultKind.LEAVE_FIELD]
)
@pytest.mark.usefixtures("still")
def test_a_torn_doubled_or_longer_answer(door: Door, home: Home, kind: FaultKind) -> None:
    wallet = home.cards[Card.PIN_ONLY]
    whole = SimCard(wallet)
    door.visit(whole)
    for at in (2, whole.apdus - 1):  # the first read, and the end of the answer
        door.ready()
        refused(door.visit(SimCard(wallet, CardFault(kind, at))), UNREADABLE)


class SaysMore:
    """A phone whose session message is changed before it is sent."""

    def __init__(self, wallet: CardApplication, change: Callable[[bytes], bytes]) -> None:
        self._wallet = wallet
        self._change = change

    def engage(self) -> bytes:
        return self._wallet.engage()

    def handle(self, message: bytes) -> bytes:
        return self._change(self._wallet.handle(message))


def doubled_key(message: bytes) -> bytes:
    data, status = session.decode_data(message)
    assert status is not None
    single = session.encode_data(None, status)
    pair = session.encode_data(data)[1:] + single[1:] + single[1:]
    return b"\xa3" + pair


@pytest.mark.parametrize(
    "change", [lambda m: m + b"\x00", doubled_key, lambda m: m[:-1], lambda _m: b""]
)
@pytest.mark.usefixtures("still")
def test_cbor_with_trailing_bytes_or_doubled_keys(
    door: Door, home: Home, change: Callable[[bytes], bytes]
) -> None:
    phone = SimCard(SaysMore(home.cards[Card.OWNER], change))
    refused(door.visit(phone), UNREADABLE)


def issued_by(
    home: Home,
    signer: pki.DocumentSigner,
    now: datetime,
    reader_roots: Sequence[Certificate] | None = None,
) -> Wallet:
    """Issue a card with another signer, or at another time."""
    site = home.site
    now = now.replace(microsecond=0)
    elements: dict[str, object] = {
        mdoc.CREDENTIAL_ID: os.urandom(16),
        mdoc.ACCESS_GROUPS: ("staff",),
        mdoc.EXPIRY_DATE: now + timedelta(days=30),
    }
    key = session.new_key(os.urandom)
    signed = issue_mdoc(
        elements, key.public_key(), signer, 0, site.status_uri, now, now + timedelta(days=30),
        os.urandom,
    )  # fmt: skip
    return Wallet(
        key, signed, reader_roots or site.reader_roots, lambda: datetime.now(UTC), os.urandom
    )


@pytest.mark.usefixtures("still")
def test_a_card_signed_with_a_certificate_for_something_else(door: Door, home: Home) -> None:
    status = home.site.status_signer
    signer = pki.DocumentSigner(status.key, status.certificate)
    wallet = issued_by(home, signer, datetime.now(UTC))
    refused(door.visit(SimCard(wallet)), Deny(DenyReason.CARD_UNTRUSTED))


@pytest.mark.usefixtures("still")
def test_a_clock_before_the_cards_date(door: Door, home: Home) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    wallet = issued_by(home, home.site.document_signer, tomorrow)
    refused(door.visit(SimCard(wallet)), Deny(DenyReason.CARD_NOT_YET_VALID))


@pytest.mark.usefixtures("still")
def test_a_card_of_another_site_says_nothing_to_this_gate(door: Door, home: Home) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    stranger = pki.create_reader_authority(pki.Site("Another house"), yesterday, os.urandom)
    roots = (stranger.certificate,)
    wallet = issued_by(home, home.site.document_signer, yesterday, roots)
    refused(door.visit(SimCard(wallet)), UNREADABLE)
    assert wallet.last_refusal is not None, "it did not know this reader, and gave nothing"


# ---- processes --------------------------------------------------------------------------------


def workers() -> list[int]:
    """Return the verifiers of this process."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"gate.verifier.worker" in command:
                found.append(int(child))
    return found


def test_a_verifier_killed_in_the_middle_of_a_look(
    door: Door, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    edges, killed = len(door.turnstile.edges), count(home, "fault.verifier_killed")

    def kill() -> None:
        for pid in workers():
            os.kill(pid, signal.SIGKILL)

    with caplog.at_level(logging.WARNING):
        report = door.visit(Card.OWNER, View.NOBODY, at={Screen.LOOK: kill})
    refused(report, Deny(DenyReason.VERIFIER_FAULT, Lane.FACE))
    assert len(door.turnstile.edges) == edges
    assert report.certificate is not None
    assert report.certificate.exit_code == -signal.SIGKILL
    assert any("a verifier ended without a verdict" in r.message for r in caplog.records)
    assert count(home, "fault.verifier_killed") == killed + 1
    door.ready()
    assert door.visit(Card.OWNER).decisions == [Grant(Lane.FACE)]


def test_a_killed_key_agent(door: Door, home: Home, caplog: pytest.LogCaptureFixture) -> None:
    keys, dead = door.stage.gate.keys, count(home, "fault.key_agent_dead")
    edges, old = len(door.turnstile.edges), keys.pid
    with caplog.at_level(logging.WARNING):
        os.kill(old, signal.SIGKILL)
        door.wait(lambda: count(home, "fault.key_agent_dead") > dead, "its death is recorded")
    assert any("the key agent ended" in record.message for record in caplog.records)
    door.wait(lambda: keys.pid != old, "another key agent")
    assert len(door.turnstile.edges) == edges
    door.ready()
    assert door.visit(Card.OWNER).decisions == [Grant(Lane.FACE)]
    assert count(home, "fault.key_agent_dead") == dead + 1


@pytest.mark.usefixtures("still")
def test_a_key_agent_that_hangs(door: Door) -> None:
    pid = door.stage.gate.keys.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        report = door.visit(Card.OWNER, pin=DEMO_PIN)
    finally:
        os.kill(pid, signal.SIGCONT)
    refused(
        report,
        Deny(DenyReason.KEY_UNAVAILABLE, Lane.FACE),
        Deny(DenyReason.KEY_UNAVAILABLE, Lane.PIN),
    )


# ---- the turnstile ----------------------------------------------------------------------------


def test_a_cable_pulled_in_the_middle_of_a_pulse(
    door: Door, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    turnstile = door.turnstile
    turnstile.set_auto_walk(None)
    openings, offline = turnstile.openings, count(home, "fault.turnstile_offline")

    def pull() -> None:
        while not turnstile.relay_active:
            time.sleep(0.0005)
        turnstile.unplug()

    hand = threading.Thread(target=pull, daemon=True)
    hand.start()
    with caplog.at_level(logging.WARNING):
        report = door.visit(Card.OWNER)
        hand.join()
        door.wait(lambda: door.live.kiosk().screen is Screen.OUT_OF_ORDER, "the lane closes")
        door.wait(lambda: count(home, "fault.turnstile_offline") > offline, "it is recorded")
    assert report.decisions == [Grant(Lane.FACE)]
    assert report.opened in (OpenResult.OPENED, OpenResult.UNKNOWN)
    assert report.crossing is Crossing.UNOBSERVED
    assert any("plug it in" in record.message for record in caplog.records)
    # The device times the pulse itself: it ends although nobody can tell it to.
    door.wait(lambda: not turnstile.relay_active, "the relay falls")
    assert turnstile.openings == openings + 1
    refused(door.visit(Card.OWNER), Deny(DenyReason.TURNSTILE_OFFLINE))

    turnstile.replug()
    turnstile.set_auto_walk(300)
    door.ready()
    assert turnstile.openings == openings + 1, "no late opening after the cable is back"
    assert door.visit(Card.OWNER).let_in


def test_a_turnstile_that_answers_no_more_while_it_opens(door: Door) -> None:
    turnstile, openings = door.turnstile, door.turnstile.openings

    def stall() -> None:
        turnstile.faults.stall = True

    try:
        report = door.visit(Card.OWNER, at={Screen.LOOK: stall})
    finally:
        turnstile.faults.stall = False
    # The line is asked once more right before a grant; the stall may come just before or after.
    offline = Deny(DenyReason.TURNSTILE_OFFLINE, Lane.FACE)
    assert report.decisions in ([Grant(Lane.FACE)], [offline])
    assert not report.let_in
    door.ready()
    assert door.stage.gate.turnstile.status().link is Link.ONLINE
    assert turnstile.openings <= openings + 1


@pytest.mark.usefixtures("still")
def test_a_turnstile_that_refuses(door: Door) -> None:
    door.turnstile.refuse(True)
    try:
        report = door.visit(Card.OWNER)
    finally:
        door.turnstile.refuse(False)
    assert (report.decisions, report.opened) == ([Grant(Lane.FACE)], OpenResult.REFUSED)


def test_a_second_person_close_behind_is_recorded(door: Door, home: Home) -> None:
    seen = count(home, "crossing.tailgating")
    door.turnstile.set_auto_walk(300, persons=2)
    assert door.visit(Card.OWNER).crossing is Crossing.TAILGATING
    assert count(home, "crossing.tailgating") == seen + 1


@pytest.mark.usefixtures("still")
def test_an_open_housing_closes_the_lane(door: Door) -> None:
    door.turnstile.tamper(True)
    try:
        door.wait(lambda: door.live.kiosk().screen is Screen.OUT_OF_ORDER, "the lane closes")
        refused(door.visit(Card.OWNER), Deny(DenyReason.TURNSTILE_OFFLINE))
    finally:
        door.turnstile.tamper(False)
    door.ready()
