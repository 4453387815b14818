"""What somebody meets who runs `enroll` for the first time, and slips."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from enrollment.capture import SealedFace
from enrollment.cli import app
from enrollment.errors import WrongInput
from enrollment.issue import apply, give_consent, issue
from enrollment.notice import Language
from enrollment.photographs import PHOTO_MAX_BYTES, PHOTOS_MAX, check_photographs
from enrollment.site import create_site, load_site
from gate.template.context import SealContext
from gate.template.seal import seal

ROOT = Path(__file__).parents[2]
JPEG = b"\xff\xd8\xff\xe0 no picture follows"


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "site"
    create_site(folder, demo=True, gate_id="gate-1", now=now(), random_bytes=os.urandom)
    return folder


def enroll(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)


def one_line(result: Result, code: int) -> str:
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    (line,) = [x for x in result.stderr.splitlines() if x.startswith("enroll: ")]
    return line


# A new site


def models_dir(folder: Path) -> Path:
    toml = tomllib.loads((folder / "gate" / "gate.toml").read_text())
    return Path(toml["models"]["dir"])


def test_a_new_site_names_the_next_commands_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "my site"
    result = enroll("site", "create", folder)
    assert result.exit_code == 0, result.output
    config = shlex.quote(str(folder / "gate" / "gate.toml"))
    said = [
        "models",
        f"gate check-config --config {config}",
        f"gate run --config {config}",
        f"every 30 days: enroll site publish {shlex.quote(str(folder))}",
    ]
    places = [result.stderr.index(words) for words in said]
    assert places == sorted(places)
    assert str(models_dir(folder)) in result.stderr
    assert "gate check-config" not in result.stdout


def test_models_are_looked_for_where_fetch_puts_them(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    done = subprocess.run(
        [sys.executable, "-m", "enrollment.cli", "site", "create", str(folder)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    fetched = tmp_path / ".cache" / "consentgate" / "packs" / "edge"
    assert models_dir(folder) == fetched
    assert f"gate models fetch edge --cache {fetched.parent.parent}" in done.stderr


def test_a_given_models_folder_is_the_one_in_the_configuration(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    result = enroll("site", "create", tmp_path / "s", "--pack-dir", models)
    assert models_dir(tmp_path / "s") == models
    assert f"gate models verify edge --dir {models}" in result.stderr
    absent = tmp_path / "absent"
    result = enroll("site", "create", tmp_path / "t", "--pack-dir", absent)
    assert models_dir(tmp_path / "t") == absent
    assert f"copy it to {absent}" in result.stderr


def test_a_real_site_gets_no_models_for_demonstrations(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    result = enroll("site", "create", folder, "--pack", "bootstrap")
    assert "not for production" in one_line(result, 2)
    assert not folder.exists()
    assert "no model pack" in one_line(enroll("site", "create", folder, "--pack", "best"), 2)
    assert enroll("site", "create", folder, "--pack", "bootstrap", "--demo").exit_code == 0


# A card


def test_advice_about_permissions_is_for_cards_only(site: Path, tmp_path: Path) -> None:
    other = tmp_path / "passwd"
    other.write_text("root:x:0:0\n")
    other.chmod(0o644)
    for path in (other, tmp_path, Path(os.devnull)):
        line = one_line(enroll("show", "--card", path), 2)
        assert "is not a card file" in line
        assert "chmod" not in line
    absent = one_line(enroll("show", "--card", tmp_path / "none"), 2)
    assert absent.endswith("no such card file; check --card")
    card = tmp_path / "a card"
    new(site, card)
    card.chmod(0o644)
    assert f"chmod 600 '{card}'" in one_line(enroll("show", "--card", card), 2)


def new(site: Path, card: Path, *more: object, pin: str = "2468") -> Result:
    options = ["--site", site, "--card", card, "--decline", "--pin-stdin", *more]
    return enroll("new", *options, stdin=pin + "\n")


@pytest.mark.parametrize("days", ["0", "-1", "99999999999"])
def test_an_impossible_time_is_usage(site: Path, tmp_path: Path, days: str) -> None:
    line = one_line(new(site, tmp_path / "c", "--days", days), 2)
    assert f"cannot hold for {days} days; choose 1 to" in line
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("language", "kind", "issued"),
    [
        (Language.KO, "PIN으로 쓰는 카드를 만듭니다.", "카드를 만들었습니다"),
        (Language.EN, "Making a card with PIN.", "issued "),
    ],
)
def test_which_card_is_made_is_said(
    site: Path, tmp_path: Path, language: Language, kind: str, issued: str
) -> None:
    result = new(site, tmp_path / "c", "--lang", language.value)
    assert result.exit_code == 0, result.output
    assert kind in result.stderr.splitlines()
    assert result.stdout.startswith(issued)


def test_photographs_are_checked_before_anybody_is_asked(site: Path, tmp_path: Path) -> None:
    card, photo = tmp_path / "c", tmp_path / "p.heic"
    photo.write_bytes(b"\0\0\0\x18ftypheic and more")
    options = ["--site", site, "--card", card, "--photo", photo, "--i-consent", "--pin-stdin"]
    result = enroll("new", *options, stdin="2468\n")
    assert "is not a readable image; give a JPEG" in one_line(result, 2)
    assert "PIN" not in result.stderr
    assert "동의" not in result.stderr


def test_what_cannot_be_a_photograph_is_named(tmp_path: Path) -> None:
    good = {
        "a.jpg": JPEG,
        "b.png": b"\x89PNG\r\n\x1a\n",
        "c.bmp": b"BM",
        "d.webp": b"RIFF\0\0\0\0WEBP",
    }
    for name, content in good.items():
        (tmp_path / name).write_bytes(content)
    check_photographs([tmp_path])
    empty, huge, pipe = (tmp_path / name for name in ("empty", "huge", "pipe"))
    empty.touch()
    huge.write_bytes(JPEG)
    os.truncate(huge, PHOTO_MAX_BYTES + 1)
    os.mkfifo(pipe)
    for path, why in (
        (empty, "not a readable image"),
        (huge, "larger than 64 MiB"),
        (pipe, "not a regular file"),
        (tmp_path / "none.jpg", "no such photograph"),
    ):
        with pytest.raises(WrongInput, match=why):
            check_photographs([tmp_path / "a.jpg", path])
    (tmp_path / "folder").mkdir()
    with pytest.raises(WrongInput, match="0 photographs"):
        check_photographs([tmp_path / "folder"])
    with pytest.raises(WrongInput, match="21 photographs"):
        check_photographs([tmp_path / "a.jpg"] * (PHOTOS_MAX + 1))


def card_with_face(site: Path, card: Path) -> None:
    """A card whose template nobody made: sealed bytes of the right form."""
    at = load_site(site, now=now())
    application = apply(at, now=now(), random_bytes=os.urandom)
    notice = at.notice(Language.EN, application.expiry)
    record = give_consent(at, application, notice, os.urandom)
    context = SealContext.for_template(
        application.credential_id, "m.1", record.signed, b"aux", application.expiry
    )
    sealed = seal(b"nobody", context, at.template_public_key)
    face = SealedFace(sealed, b"aux", record.signed, (1.0,))
    issue(at, application, "2468", face, random_bytes=os.urandom, clock=now).save(card)


def shown(card: Path, *more: object) -> tuple[str | None, str]:
    facts = json.loads(enroll("show", "--card", card, *more, "--json").stdout)
    return facts["status"], enroll("show", "--card", card, *more).stdout


def test_show_says_what_the_registry_knows(site: Path, tmp_path: Path) -> None:
    card, copy = tmp_path / "a.card", tmp_path / "copy.card"
    card_with_face(site, card)
    assert shown(card)[0] is None
    assert "not checked; name the site" in shown(card)[1]
    status, words = shown(card, "--site", site)
    assert (status, "not revoked" in words) == ("valid", True)
    copy.write_bytes(card.read_bytes())
    copy.chmod(0o600)
    options = ["--site", site, "--card", card, "--pin-stdin"]
    assert enroll("withdraw", *options, stdin="9753\n").exit_code == 0
    status, words = shown(copy, "--site", site)
    assert (status, "consent WITHDRAWN" in words) == ("consent_withdrawn", True)
    assert shown(card, "--site", site)[0] == "valid"
    assert enroll("revoke", "--site", site, "--card", card).exit_code == 0
    status, words = shown(card, "--site", site)
    assert (status, "REVOKED" in words) == ("revoked", True)
    elsewhere = tmp_path / "elsewhere"
    create_site(elsewhere, demo=True, gate_id="g", now=now(), random_bytes=os.urandom)
    status, words = shown(card, "--site", elsewhere)
    assert (status, "NOT in this site's registry" in words) == ("unknown", True)


# A pipe that closes


def piped(*arguments: object, closed: str, stdin: bytes = b"") -> tuple[int, bytes]:
    """Run with a pipe whose reader is gone already, so that the first write fails."""
    reader, writer = os.pipe()
    os.close(reader)
    other = {"stdout": "stderr", "stderr": "stdout"}[closed]
    done = subprocess.run(  # type: ignore[call-overload]
        [sys.executable, "-m", "enrollment.cli", *map(str, arguments)],
        cwd=ROOT,
        input=stdin,
        check=False,
        **{closed: writer, other: subprocess.PIPE},
    )
    os.close(writer)
    return done.returncode, getattr(done, other)


def test_a_reader_that_has_seen_enough_is_no_failure(site: Path, tmp_path: Path) -> None:
    card = tmp_path / "a.card"
    options = ["--site", site, "--card", card, "--decline", "--pin-stdin", "--lang", "en"]
    said = b"Making a card with PIN.\n"
    assert piped("new", *options, closed="stdout", stdin=b"2468\n") == (0, said)
    for arguments in (["show", "--card", card], ["--help"], ["new", "--help"], ["site", "--help"]):
        assert piped(*arguments, closed="stdout") == (0, b""), arguments


def test_a_person_who_cannot_read_gets_no_card(site: Path, tmp_path: Path) -> None:
    card = tmp_path / "b.card"
    options = ["--site", site, "--card", card, "--decline", "--pin-stdin"]
    assert piped("new", *options, closed="stderr", stdin=b"2468\n") == (5, b"")
    assert not card.exists()
