"""The `enroll` command from outside: results, one clear line, exit codes; no terminal needed."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from typer.testing import CliRunner, Result

from enrollment.capture import SealedFace
from enrollment.cli import app
from enrollment.issue import apply, give_consent, issue
from enrollment.notice import Language
from enrollment.receipt import verify_receipt
from enrollment.site import create_site, load_site
from firmware_bridge.antenna import AntennaServer
from gate.card.reader import ReaderIdentity, Trust, read_card
from gate.card.verified import VerifiedCard
from gate.settings import load_settings
from gate.template.context import SealContext
from gate.template.seal import seal

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "site"
    create_site(folder, demo=True, gate_id="gate-1", now=NOW, random_bytes=os.urandom)
    return folder


@pytest.fixture
def site(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "site")
    return tmp_path / "site"


def enroll(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)


def fails(result: Result, code: int, says: str) -> None:
    assert result.exit_code == code, result.output
    (line,) = [x for x in result.stderr.splitlines() if x.startswith("enroll: ")]
    assert says in line
    assert "Traceback" not in result.output
    assert result.stdout == ""


def picture(path: Path) -> Path:
    """An image by its first bytes and by nothing else: the station process decodes none."""
    path.write_bytes(b"\xff\xd8\xff\xe0 no picture follows")
    return path


def declined(site: Path, card: Path, *more: object) -> Result:
    options = ["--site", site, "--card", card, "--decline", "--pin-stdin", *more]
    return enroll("new", *options, stdin="2468\n")


def test_help_lists_every_command_and_the_exit_codes() -> None:
    text = enroll("--help").stdout
    for word in ("new", "withdraw", "revoke", "show", "tap", "site", "Exit codes"):
        assert word in text


def test_site_create_prints_its_configuration(tmp_path: Path) -> None:
    result = enroll("site", "create", tmp_path / "s", "--demo", "--json")
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    assert load_settings(Path(facts["config"]), {}).gate.mode == "demo"
    fails(enroll("site", "create", tmp_path / "s"), 2, "not an empty folder")


def test_the_decline_path_issues_a_card_at_once(site: Path, tmp_path: Path) -> None:
    card = tmp_path / "a.card"
    result = declined(site, card, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["lanes"] == ["pin"]
    assert facts["receipt"] is None
    assert stat.S_IMODE(card.stat().st_mode) == 0o600
    shown = json.loads(enroll("show", "--card", card, "--site", site, "--json").stdout)
    assert shown["face"] is None
    assert shown["consent"] is None
    assert shown["pin"] is True
    assert "face     none" in enroll("show", "--card", card).stdout


def test_a_card_is_never_overwritten(site: Path, tmp_path: Path) -> None:
    card = tmp_path / "a.card"
    declined(site, card)
    before = card.read_bytes()
    fails(declined(site, card), 2, "exists")
    assert card.read_bytes() == before


@pytest.mark.parametrize("options", [[], ["--decline", "--photo", "x.jpg"]])
def test_how_the_card_is_used_must_be_said_once(site: Path, options: list[str]) -> None:
    fails(enroll("new", "--site", site, "--card", "c", *options), 2, "how the card is to be used")


def test_without_a_terminal_nobody_consents_by_accident(site: Path, tmp_path: Path) -> None:
    card = tmp_path / "a.card"
    photo = picture(tmp_path / "p.jpg")
    options = ["--site", site, "--card", card, "--photo", photo, "--pin-stdin", "--lang", "en"]
    result = enroll("new", *options, stdin="2468\n")
    fails(result, 3, "nobody is here to answer")
    assert "You may refuse" in result.stderr
    assert not card.exists()


def test_without_models_nothing_is_issued(site: Path, tmp_path: Path) -> None:
    card, photo = tmp_path / "a.card", picture(tmp_path / "p.jpg")
    toml = site / "gate" / "gate.toml"
    toml.write_text(toml.read_text().replace("/var/lib/consentgate", str(tmp_path / "absent")))
    options = ["--site", site, "--card", card, "--photo", photo, "--pin-stdin", "--i-consent"]
    result = enroll("new", *options, "--reference", "r1", stdin="2468\n")
    fails(result, 2, "gate models fetch")
    assert not card.exists()
    assert load_site(site, now=datetime.now(UTC)).registry.find_reference("r1") == []


@pytest.mark.parametrize("pin", ["", "12", "pin!"])
def test_a_bad_pin_is_refused(site: Path, tmp_path: Path, pin: str) -> None:
    options = ["--site", site, "--card", tmp_path / "c", "--decline", "--pin-stdin"]
    fails(enroll("new", *options, stdin=pin + "\n"), 2, "4 to 12 digits")


def test_a_site_without_faces_says_so_before_it_asks(tmp_path: Path) -> None:
    site = tmp_path / "real"
    enroll("site", "create", site)
    options = ["--site", site, "--card", tmp_path / "c", "--photo", "p.jpg", "--i-consent"]
    result = enroll("new", *options)
    fails(result, 3, "face lane off")
    assert "?" not in result.stderr


def test_revoking_by_each_name(site: Path, tmp_path: Path) -> None:
    cards = [tmp_path / f"{n}.card" for n in range(3)]
    for number, card in enumerate(cards):
        assert declined(site, card, "--reference", f"ref-{number}").exit_code == 0
    number = json.loads(enroll("show", "--card", cards[0], "--json").stdout)["card"]
    for option in (
        ["--credential", number],
        ["--reference", "ref-1"],
        ["--card", str(cards[2])],
    ):
        assert enroll("revoke", "--site", site, *option).exit_code == 0
        assert enroll("revoke", "--site", site, *option).exit_code == 3
    fails(enroll("revoke", "--site", site), 2, "which card")
    fails(enroll("revoke", "--site", site, "--credential", "zz"), 2, "card number")
    fails(enroll("revoke", "--site", site, "--credential", "00" * 16), 3, "does not know")


def card_with_face(site: Path, card: Path) -> None:
    """A card whose template nobody made: sealed bytes of the right form."""
    now = datetime.now(UTC)
    at = load_site(site, now=now)
    application = apply(at, now=now, random_bytes=os.urandom)
    notice = at.notice(Language.EN, application.expiry)
    record = give_consent(at, application, notice, os.urandom)
    context = SealContext.for_template(
        application.credential_id, "m.1", record.signed, b"aux", application.expiry
    )
    sealed = seal(b"nobody", context, at.template_public_key)
    face = SealedFace(sealed, b"aux", record.signed, (1.0,))
    issue(
        at, application, "2468", face, random_bytes=os.urandom, clock=lambda: datetime.now(UTC)
    ).save(card)


def test_withdrawing_leaves_a_receipt_that_verifies_alone(site: Path, tmp_path: Path) -> None:
    card = tmp_path / "a.card"
    card_with_face(site, card)
    options = ["--site", site, "--card", card, "--pin-stdin"]
    result = enroll("withdraw", *options, "--json", stdin="9753\n")
    assert result.exit_code == 0, result.output
    receipt = Path(json.loads(result.stdout)["receipt"])
    public = load_pem_public_key((site / "issuer" / "consent.pub.pem").read_bytes())
    record = verify_receipt(receipt.read_bytes(), public)  # type: ignore[arg-type]
    assert record.state.value == "withdrawn"
    assert "You may withdraw" in json.loads(receipt.read_bytes())["notice"]
    assert json.loads(enroll("show", "--card", card, "--json").stdout)["face"] is None
    fails(enroll("withdraw", *options, stdin="9753\n"), 3, "no template")


def test_a_foreign_or_broken_card_is_one_clear_line(site: Path, tmp_path: Path) -> None:
    fails(enroll("show", "--card", tmp_path / "none"), 2, "no such card file; check --card")
    broken = tmp_path / "broken"
    broken.write_bytes(b"\xa1")
    broken.chmod(0o600)
    fails(enroll("show", "--card", broken), 2, "is not a card file")
    fails(enroll("show", "--card", broken, "--site", tmp_path / "nowhere"), 2, "not a card file")
    other = tmp_path / "other"
    enroll("site", "create", other, "--demo")
    card = tmp_path / "a.card"
    card_with_face(other, card)
    fails(
        enroll("withdraw", "--site", site, "--card", card, "--pin-stdin", stdin="9753\n"),
        3,
        "not signed by this site",
    )
    assert "NOT valid" in enroll("show", "--card", card, "--site", site).stdout
    assert "given on" in enroll("show", "--card", card, "--site", other).stdout


def test_publish_renews_the_status_list(site: Path) -> None:
    path = site / "gate" / "status-list.cwt"
    before = path.stat().st_mtime_ns
    assert enroll("site", "publish", site).exit_code == 0
    assert path.stat().st_mtime_ns > before


def test_the_authority_signs_only_what_a_gate_would_take(site: Path, tmp_path: Path) -> None:
    policy = json.loads((site / "gate" / "policy.json").read_bytes())
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps({**policy, "version": 2, "pin_max_tries": 5}))
    bad.write_text(json.dumps({**policy, "lanes": ["face"]}))
    assert enroll("site", "sign", site, good).exit_code == 0
    shutil.copy(good, site / "gate" / "policy.json")
    shutil.copy(tmp_path / "good.json.sig", site / "gate" / "policy.json.sig")
    assert load_site(site, now=datetime.now(UTC)).policy.pin_max_tries == 5
    fails(enroll("site", "sign", site, bad), 2, "nobody is made to use a face")
    assert not (tmp_path / "bad.json.sig").exists()
    enroll("site", "create", tmp_path / "real")
    fails(enroll("site", "sign", tmp_path / "real", good), 2, "demo document")


def test_tap_answers_a_waiting_gate(site: Path, tmp_path: Path) -> None:
    card = tmp_path / "a.card"
    declined(site, card)
    settings = load_settings(site / "gate" / "gate.toml", {}).card
    reader = ReaderIdentity.load(settings.reader_key, settings.reader_cert)
    trust = Trust.load(settings.issuer_roots, settings.status_signer, settings.status_list)
    antenna = tmp_path / "antenna.sock"
    read: list[object] = []

    def gate() -> None:
        channel = server.wait_for_card(10)
        assert channel is not None
        with channel:
            read.append(read_card(channel, reader, trust, datetime.now(UTC), os.urandom))

    with AntennaServer(antenna) as server:
        thread = threading.Thread(target=gate)
        thread.start()
        result = enroll("tap", "--card", card, "--to", antenna, "--json")
        thread.join()
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["apdus"] > 3
    assert isinstance(read[0], VerifiedCard)
    fails(enroll("tap", "--card", card, "--to", tmp_path / "no.sock"), 4, "no gate listens")


def test_the_station_process_cannot_even_decode_a_picture() -> None:
    code = (
        "import sys, enrollment.cli; "
        "print([m for m in ('cv2', 'onnxruntime', 'dlib', 'models.perceive', 'models.embed') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
