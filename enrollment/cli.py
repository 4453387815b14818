"""The `enroll` command: parse, ask, call, print, exit code."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TextIO

import typer

from enrollment import issue as issuing
from enrollment.capture import LiveCamera, ModelPack, Photographs, SealedFace, capture
from enrollment.capture_wire import Progress
from enrollment.consent import ConsentRecord
from enrollment.conversation import ask_consent, ask_pin, progress_to, this_terminal
from enrollment.describe import describe, in_words
from enrollment.errors import EnrolmentRefused, WrongInput
from enrollment.gate_config import Devices
from enrollment.next_steps import fetched_folder, next_steps
from enrollment.notice import Language
from enrollment.photographs import check_photographs
from enrollment.private_files import write_private
from enrollment.receipt import make_receipt
from enrollment.registry import State
from enrollment.site import Site, create_site, load_facts, load_site
from enrollment.site_layout import Layout
from enrollment.wallet import Wallet
from enrollment.words import PHOTOS_LEFT, card_kind_words, issued_words, receipt_words
from firmware_bridge.camera_source import named_source
from gate.errors import ConfigError
from gate.exit_codes import EXIT_CODES_HELP, ExitCode, ends_with_code
from gate.settings import load_settings
from models.types import Zone

app = typer.Typer(
    name="enroll",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="The enrolment station: explain, ask, make one card, keep nothing of the face.\n\n"
    + EXIT_CODES_HELP,
)
site_app = typer.Typer(no_args_is_help=True, help="A site: its keys, documents, status list.")
app.add_typer(site_app, name="site")

SiteDir = Annotated[Path, typer.Option("--site", help="Folder made by `enroll site create`.")]
CardFile = Annotated[Path, typer.Option("--card", help="The software mobile card.")]
PinStdin = Annotated[
    bool, typer.Option("--pin-stdin", help="Read the PIN from the first line of stdin.")
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable result on stdout.")]
Lang = Annotated[Language, typer.Option("--lang", help="Language of what the person reads.")]

P = ParamSpec("P")


def _now() -> datetime:
    return datetime.now(UTC)


def _command(function: Callable[P, ExitCode]) -> Callable[P, None]:
    """A refusal is an answer (exit code 3), wrong input is usage (2), others have their own."""

    @functools.wraps(function)
    def answered(*args: P.args, **kwargs: P.kwargs) -> ExitCode:
        try:
            return function(*args, **kwargs)
        except EnrolmentRefused as refusal:
            print(f"enroll: {refusal.diagnostics()}", file=sys.stderr)  # noqa: T201
            return ExitCode.USAGE if isinstance(refusal, WrongInput) else ExitCode.NO
        except BrokenPipeError:  # the person cannot read what they must read: nothing was issued
            _drop(sys.stderr)
            return ExitCode.INTERNAL

    return ends_with_code("enroll")(answered)


def _result(facts: dict[str, Any], *, as_json: bool, text: str) -> None:
    try:
        print(json.dumps(facts, ensure_ascii=False) if as_json else text)  # noqa: T201
        sys.stdout.flush()
    except BrokenPipeError:  # what was asked for is done; its reader has seen enough
        _drop(sys.stdout)


def _drop(stream: TextIO) -> None:
    """Let what is still to be written to a closed pipe vanish, at exit too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@app.command()
@_command
def new(
    site: SiteDir,
    card: CardFile,
    photo: Annotated[
        list[Path] | None,
        typer.Option("--photo", help="A photograph of the person alone, or a folder; repeatable."),
    ] = None,
    camera: Annotated[
        str | None,
        typer.Option("--camera", help="0, v4l2:0, file:VIDEO, folder:DIR or rtsp://..."),
    ] = None,
    decline: Annotated[
        bool, typer.Option("--decline", help="A card with PIN only: same gates, same hours.")
    ] = False,
    i_consent: Annotated[
        bool,
        typer.Option("--i-consent", help="The person read the text shown here and said yes."),
    ] = False,
    pin_stdin: PinStdin = False,
    lang: Lang = Language.KO,
    days: Annotated[int, typer.Option("--days", help="How long the card holds.")] = 365,
    group: Annotated[
        list[str] | None, typer.Option("--group", help="What it opens; the policy's by default.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", help="Your own opaque reference, to revoke a lost card."),
    ] = None,
    as_json: Json = False,
) -> ExitCode:
    """Issue one card: explain, ask, capture, seal.

    The photographs are looked at in a single-use sandboxed process; what comes back opens only at
    a gate of the site. With a face, a consent receipt is written beside the card.
    """
    if (photo is not None) + (camera is not None) + decline != 1:
        raise ConfigError("say how the card is to be used", "give --photo, --camera or --decline")
    if card.exists():
        raise ConfigError(f"{card} exists", "choose a new file for a new card")
    if not card.absolute().parent.is_dir():
        raise ConfigError(f"{card.parent} is no folder", "make it first")
    terminal = this_terminal()
    at = load_site(site, now=_now())
    application = issuing.apply(
        at,
        now=_now(),
        random_bytes=os.urandom,
        valid_days=days,
        access_groups=group,
        reference=reference,
    )
    mode = at.face_mode(_now())
    if not decline and not mode.on:
        raise EnrolmentRefused(mode.line, "issue a card with PIN: --decline")
    if photo:
        check_photographs(photo)
    notice = at.notice(lang, application.expiry)
    agreed = not decline and ask_consent(terminal, notice, given=i_consent)
    terminal.say(card_kind_words(face=agreed, language=lang))
    pin = ask_pin(terminal, lang, from_stdin=pin_stdin)
    face = receipt = None
    if agreed:
        record = issuing.give_consent(at, application, notice, os.urandom)
        source = LiveCamera(named_source(camera)) if camera else Photographs(tuple(photo or ()))
        face = _capture(at, application, record, source, progress_to(terminal, lang))
        receipt = make_receipt(record, notice)
        if photo:
            terminal.say(PHOTOS_LEFT[lang])
    wallet = issuing.issue(at, application, pin, face, random_bytes=os.urandom, clock=_now)
    _save(wallet, card)
    receipt_path = None
    if receipt is not None:
        receipt_path = _receipt_path(card)
        write_private(receipt_path, receipt)
    lanes = ["pin"] if face is None else ["pin", "face"]
    facts = {
        "card": str(card),
        "expires": application.expiry.isoformat(),
        "lanes": lanes,
        "frames": 0 if face is None else len(face.qualities),
        "receipt": None if receipt_path is None else str(receipt_path),
    }
    text = issued_words(card, application.expiry, face=face is not None, language=lang)
    if receipt_path is not None:
        text += "\n" + receipt_words(receipt_path, lang)
    _result(facts, as_json=as_json, text=text)
    return ExitCode.OK


def _capture(
    site: Site,
    application: issuing.Application,
    record: ConsentRecord,
    source: Photographs | LiveCamera,
    progress: Callable[[Progress], None],
) -> SealedFace:
    """Look with the models that the gate uses."""
    settings = load_settings(site.config_path, {})
    return capture(
        source,
        ModelPack(settings.models.pack, settings.models.dir),
        site.template_public_key,
        credential_id=application.credential_id,
        consent_record=record.signed,
        expiry=application.expiry,
        now=_now(),
        zone=Zone(*settings.camera.zone) if isinstance(source, LiveCamera) else None,
        progress=progress,
    )


@app.command()
@_command
def withdraw(
    site: SiteDir,
    card: CardFile,
    pin_stdin: PinStdin = False,
    lang: Lang = Language.KO,
    as_json: Json = False,
) -> ExitCode:
    """Withdraw consent: the template opens nowhere any more, and the card is made anew without it.

    The person chooses the PIN of the new card. The receipt beside the card then says withdrawn.
    """
    terminal = this_terminal()
    at = load_site(site, now=_now())
    wallet = Wallet.load(card, _now, os.urandom)
    issuing.consent_on(wallet, at.consent_public_key)
    pin = ask_pin(terminal, lang, from_stdin=pin_stdin)
    done = issuing.withdraw(at, wallet, pin, random_bytes=os.urandom, clock=_now)
    _save(done.wallet, card)
    notices = [at.notice(each, done.record.expires_at) for each in Language]
    shown = next((n for n in notices if n.sha256 == done.record.notice_sha256), None)
    receipt_path = _receipt_path(card)
    write_private(receipt_path, make_receipt(done.record, shown))
    text = {
        Language.KO: f"동의를 철회했습니다. 얼굴 정보 없는 새 카드: {card}, 확인서: {receipt_path}",
        Language.EN: f"consent withdrawn; new card without a face: {card}, receipt: {receipt_path}",
    }[lang]
    facts = {"card": str(card), "lanes": ["pin"], "receipt": str(receipt_path)}
    _result(facts, as_json=as_json, text=text)
    return ExitCode.OK


@app.command()
@_command
def revoke(
    site: SiteDir,
    card: Annotated[Path | None, typer.Option("--card", help="The card, if it is here.")] = None,
    credential: Annotated[
        str | None, typer.Option("--credential", help="Card number, as `enroll show` says it.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option("--reference", help="Your reference; revokes all its cards.")
    ] = None,
    as_json: Json = False,
) -> ExitCode:
    """Revoke cards: no lane is open to them any more. Final."""
    if (card is not None) + (credential is not None) + (reference is not None) != 1:
        raise ConfigError("which card?", "give --card, --credential or --reference")
    at = load_site(site, now=_now())
    if reference is not None:
        entries = [e for e in at.registry.find_reference(reference) if e.state != State.REVOKED]
        if not entries:
            raise EnrolmentRefused("no live card has this reference", "check the reference")
    elif card is not None:
        wallet = Wallet.load(card, _now, os.urandom)
        entries = [at.registry.find(issuing.credential_id_of(wallet))]
    else:
        entries = [at.registry.find(_card_number(credential or ""))]
    for entry in entries:
        issuing.revoke(at, entry, now=_now())
    numbers = [entry.credential_id.hex() for entry in entries]
    _result({"revoked": numbers}, as_json=as_json, text="revoked " + ", ".join(numbers))
    return ExitCode.OK


@app.command()
@_command
def show(
    card: CardFile,
    site: Annotated[
        Path | None, typer.Option("--site", help="Also looks the card up there.")
    ] = None,
    as_json: Json = False,
) -> ExitCode:
    """Say what is on a card, in words. No secrets."""
    wallet = Wallet.load(card, _now, os.urandom)
    facts = describe(wallet, _now(), None if site is None else load_site(site, now=_now()))
    _result(facts, as_json=as_json, text=in_words(facts))
    return ExitCode.OK


@app.command()
@_command
def tap(
    card: CardFile,
    to: Annotated[Path, typer.Option("--to", help="Socket of a running gate's virtual antenna.")],
    as_json: Json = False,
) -> ExitCode:
    """Hold the card to a gate, as a phone would. What the gate decides is on its screen."""
    from firmware_bridge.antenna import serve_card
    from firmware_bridge.sim.card import SimCard

    wallet = Wallet.load(card, _now, os.urandom)
    answered = serve_card(to, SimCard(wallet))
    refusal = wallet.last_refusal
    if refusal is not None:
        raise EnrolmentRefused(
            f"the card gave the gate nothing ({refusal.value})",
            "is this a gate of the site that issued the card?",
        )
    text = f"the gate asked {answered} times and left; look at its screen"
    _result({"apdus": answered}, as_json=as_json, text=text)
    return ExitCode.OK


@site_app.command(name="create")
@_command
def site_create(
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    demo: Annotated[bool, typer.Option("--demo", help="A marked demonstration site.")] = False,
    gate_id: Annotated[str, typer.Option("--gate", help="Name of the gate.")] = "gate-1",
    pack: Annotated[str, typer.Option("--pack", help="bootstrap or edge.")] = "edge",
    pack_dir: Annotated[
        Path | None,
        typer.Option("--pack-dir", help="Folder of the models; where `gate models fetch` puts it."),
    ] = None,
    as_json: Json = False,
) -> ExitCode:
    """Make the keys, certificates, first policy and gate.toml of a new site.

    A real site starts with card + PIN. Its face lane needs a policy and a deployment record that
    the site authority signs (`enroll site sign`).
    """
    pack_folder = fetched_folder(pack) if pack_dir is None else pack_dir.resolve()
    made = create_site(
        folder,
        demo=demo,
        gate_id=gate_id,
        now=_now(),
        random_bytes=os.urandom,
        devices=Devices(pack=pack, pack_folder=pack_folder),
    )
    facts = {
        "site": str(folder),
        "demo": demo,
        "config": str(made.config_path),
        "face": made.face_mode(_now()).line,
    }
    _result(facts, as_json=as_json, text=f"made {folder}: {facts['face']}")
    print(next_steps(made, folder, pack, pack_folder), file=sys.stderr)  # noqa: T201
    return ExitCode.OK


@site_app.command(name="publish")
@_command
def site_publish(
    folder: Annotated[Path, typer.Argument(help="Folder of the site.")], as_json: Json = False
) -> ExitCode:
    """Sign the status list anew. Gates refuse every card when theirs is 30 days old."""
    at = load_site(folder, now=_now())
    at.publish_status(_now())
    path = str(at.layout.status_list)
    _result({"status_list": path}, as_json=as_json, text=path)
    return ExitCode.OK


@site_app.command(name="sign")
@_command
def site_sign(
    folder: Annotated[Path, typer.Argument(help="Folder of the site.")],
    document: Annotated[Path, typer.Argument(help="A policy or deployment record (JSON).")],
    as_json: Json = False,
) -> ExitCode:
    """Check a policy or deployment record and sign it with the site authority's key."""
    from enrollment.site_documents import sign_document

    layout = Layout(folder.absolute())
    signed = sign_document(layout, document, _now(), demo=load_facts(layout).demo)
    _result({"signed": str(signed)}, as_json=as_json, text=f"signed {signed}")
    return ExitCode.OK


def _save(wallet: Wallet, path: Path) -> None:
    try:
        wallet.save(path)
    except OSError as error:
        raise ConfigError(
            f"{path}: the card cannot be written ({error.strerror})", "choose another place"
        ) from None


def _card_number(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ConfigError("that is no card number", "use what `enroll show` prints") from None


def _receipt_path(card: Path) -> Path:
    return card.with_name(card.name + ".receipt.json")


def main() -> None:
    """Entry point. A reader that closes stdout early (`enroll --help | head -1`) is no failure."""
    try:
        app()
    except SystemExit as end:
        # Help is printed outside every command; typer and rich end with 1 when its pipe closes.
        if end.code == 1 and isinstance(end.__context__, BrokenPipeError):
            _drop(sys.stdout)
            sys.exit(ExitCode.OK)
        raise


if __name__ == "__main__":
    main()
