"""`gate demo`: models, site, enrolment, passages, log and probe; then the summary."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from enrollment.capture_wire import Progress
from enrollment.site import Site
from enrollment.wallet import Wallet
from firmware_bridge.camera_source import named_source
from gate.console.app import create_app
from gate.console.deps import ConsoleDeps, Screen
from gate.console.serve import serve
from gate.demo.probing import probe_stage, record_of
from gate.demo.scenarios import CAMERA_SCENARIOS, SCENARIOS, Card, Scenario, actual
from gate.demo.show import Show
from gate.demo.stage import (
    Cast,
    Lens,
    Stage,
    enrol_owner,
    found_site,
    issue_cards,
    open_stage,
    utc_now,
)
from gate.errors import ConfigError
from gate.exit_codes import ExitCode
from gate.ledger.verify import verify_store
from gate.model_packs import progress_bars
from gate.running import until_signal
from models.errors import ModelFault
from models.fetch import fetch_pack, fetch_sample_photos
from models.manifest import pack_spec


@dataclass(frozen=True)
class Options:
    """What the command line said. `pack` is bootstrap, edge or auto."""

    pack: str
    models: Path | None
    cache: Path
    camera: str | None
    serve: bool
    port: int
    as_json: bool


def walk(options: Options) -> ExitCode:
    """Run the demo; NO when any outcome was not the expected one."""
    show = Show(as_json=options.as_json)
    show.title()
    cache = options.cache.resolve()
    with _alone(cache):
        base = cache / "demo"
        shutil.rmtree(base, ignore_errors=True)
        base.mkdir(mode=0o700)
        with show.step(1, "모델", "models"):
            cast = _models(options, cache, show)
        with show.step(2, "시범 현장", "demo site: keys, certificates, policy, deployment record"):
            lens = Lens(base / "lens", cast.photos) if cast.photos else None
            camera = lens.source if lens else str(cast.camera)
            site = found_site(base / "site", cast, camera)
            show.note("site", str(site.layout.folder))
            show.note("face lane", site.face_mode(utc_now()).line)
            show.note("keys", "DEMO: refused by every gate in production mode")
        with show.step(3, "등록", "enrolment: consent, capture, seal, card"):
            cards = _enrol(site, cast, base / "cards", show)
        with open_stage(site, lens, cards) as stage:
            with show.step(4, "통과", "passages through the real gate"):
                _pass(stage, SCENARIOS if lens else CAMERA_SCENARIOS, show)
            with show.step(5, "기록과 잔존 검사", "log and retention probe"):
                _verify(stage, site, show)
                _probe(stage, site, cast, base, show)
            vkey = base / "ledger.vkey"
            vkey.write_text(stage.gate.documents.signer.vkey + "\n", encoding="ascii")
            ok = show.summary()
            if options.serve:
                _serve(stage, site, options.port, show)
    path = site.layout.gate / "data" / "ledger.db"
    command = f"{_beside('gate')} ledger verify {path} --vkey {vkey}"
    show.console.print(f"\ncheck the log yourself: {command}", soft_wrap=True, markup=False)
    return ExitCode.OK if ok else ExitCode.NO


def _beside(name: str) -> str:
    """Return how a person types a command of this installation."""
    own = Path(sys.argv[0]).parent / name
    found = shutil.which(name)
    return name if found and Path(found).resolve() == own.resolve() else str(own)


@contextlib.contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Keep two demos apart: they share one folder."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = (cache / "demo.lock").open("w")
    except OSError as error:
        raise ConfigError(
            f"{cache} cannot be used: {error.strerror}", "choose another folder with --cache"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                "another demo runs with this cache", "end it, or choose another --cache"
            ) from None
        yield


def _models(options: Options, cache: Path, show: Show) -> Cast:
    with progress_bars(show.console) as report:
        photos = None if options.camera else fetch_sample_photos(cache, report)
        pack = options.pack
        if pack == "auto":
            cached = (cache / "packs" / "edge").is_dir()
            pack = "edge" if options.models is not None or cached else "bootstrap"
        try:
            folder = fetch_pack(pack, cache, options.models, report)
        except ModelFault as fault:
            if options.pack != "auto" or pack == "bootstrap" or options.models is not None:
                raise
            show.warn(f"edge pack not complete ({fault.what}); using the bootstrap pack")
            pack = "bootstrap"
            folder = fetch_pack(pack, cache, None, report)
    spec = pack_spec(pack)
    show.note("pack", f"{pack}: {len(spec.files)} files, each checked against its SHA-256")
    show.note("embedder", f"{spec.model_id}, match_min_cos {spec.match_min_cos}")
    if not spec.for_production:
        show.warn(f"{spec.about}.")
        show.warn("Not for production: `gate run` refuses this pack outside demo mode.")
    camera = None if options.camera is None else named_source(options.camera)
    return Cast(pack, folder, photos, camera)


def _enrol(site: Site, cast: Cast, folder: Path, show: Show) -> dict[Card, Wallet]:
    folder.mkdir(mode=0o700)

    def progress(step: Progress) -> None:
        if cast.camera is not None:
            show.console.print(f"   {step.step.value} {step.advice.name.lower()} {step.taken}")

    show.note("consent", "recorded separately, signed, in the person's hands, withdrawable")
    owner = enrol_owner(site, cast, progress)
    cards = issue_cards(site, owner, lambda: enrol_owner(site, cast, progress))
    for card, wallet in cards.items():
        wallet.save(folder / f"{card.value}.card")
    show.note("cards", ", ".join(card.value for card in cards))
    show.note("left behind", "nothing of the photographs or the template (see the probe)")
    return cards


def _pass(stage: Stage, scenarios: tuple[Scenario, ...], show: Show) -> None:
    for scenario in scenarios:
        report = stage.walk(scenario)
        happened = actual(report)
        offered = Screen.OTHER_LANE in stage.screens or not scenario.other_lane
        recorded = bool(report.decisions) and not report.unrecorded
        ok = happened == scenario.expected and offered and recorded
        show.passage(scenario, happened, ok, report.steps_ms)


def _verify(stage: Stage, site: Site, show: Show) -> None:
    path = site.layout.gate / "data" / "ledger.db"
    report = verify_store(path, stage.gate.documents.signer.vkey)
    text = f"{report.size} records, root {report.root_hex[:16]}…"
    if not report.ok:
        text = "; ".join(report.problems)
    show.outcome("기록부 검증", "the log verifies", "verified", text, report.ok)
    whole = {name: count for name, count in sorted(report.counts.items()) if "." not in name}
    show.note("counts", ", ".join(f"{name} {count}" for name, count in whole.items()))


def _probe(stage: Stage, site: Site, cast: Cast, base: Path, show: Show) -> None:
    if cast.photos is None:
        show.warn("no probe with a live camera: it needs the pictures to search for")
        return
    photos = [cast.photos / name for name in ("owner-1.jpg", "owner-2.jpg", "other-1.jpg")]
    with show.console.status("   …") as status:
        answer = probe_stage(
            pids=stage.gate.pids,
            pack=cast.pack,
            pack_folder=cast.pack_folder,
            photos=photos,
            card=base / "cards" / f"{Card.OWNER.value}.card",
            template_key=site.layout.template_key,
            paths=[site.layout.folder, base / "cards", Path("/dev/shm")],  # noqa: S108
            progress=lambda line: status.update(f"   잔존 검사  retention probe: {line}"),
        )
    stage.gate.ledger.append(record_of(answer), utc_now())
    controls = f"{answer['controls_found']}/{answer['controls_planted']} controls found"
    searched = f"{answer['bytes_scanned'] / 1e6:.0f} MB searched"
    text = f"{len(answer['hits'])} residues; {controls}; {searched}"
    show.outcome("잔존 검사", "nothing biometric remains", "0 residues", text, answer["ok"])
    for hit in answer["hits"][:10]:
        show.warn(f"residue: {hit}")
    for name in answer["not_searched"]:
        show.warn(f"{name} could not be searched: run as root to search it as well")


def _serve(stage: Stage, site: Site, port: int, show: Show) -> None:
    deps = ConsoleDeps(
        site.layout.gate / "data" / "ledger.db",
        stage.gate.documents.signer.vkey,
        stage.gate.live,
        demo=True,
    )
    stage.keep_the_pace_of_people()
    with until_signal() as ended, serve(create_app(deps), "127.0.0.1", port) as pages:
        out = show.console
        out.print(
            f"\n[bold]kiosk[/] {pages.url}/kiosk   [bold]admin[/] {pages.url}/admin   "
            f"[bold]audit[/] {pages.url}/audit",
            soft_wrap=True,
        )
        cards = site.layout.folder.parent / "cards"
        out.print("tap a card from another terminal (PIN 4071):", soft_wrap=True)
        for card in (Card.OWNER, Card.PIN_ONLY, Card.REVOKED):
            out.print(
                f"  {_beside('enroll')} tap --card {cards / card.value}.card --to {stage.antenna}",
                soft_wrap=True,
                markup=False,
            )
        out.print("Ctrl-C ends it.")
        ended.wait()
