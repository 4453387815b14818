"""A whole site in a folder: issue, decline, withdraw, revoke, and what a real gate then says."""

from __future__ import annotations

import json
import random
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from enrollment import consent
from enrollment.capture import SealedFace
from enrollment.errors import EnrolmentRefused
from enrollment.issue import Application, apply, give_consent, issue, revoke, withdraw
from enrollment.notice import Language
from enrollment.registry import State
from enrollment.site import Site, create_site, load_site
from enrollment.wallet import Wallet
from firmware_bridge.osdp_key import load_key
from firmware_bridge.sim.card import SimCard
from gate.card import mdoc
from gate.card.reader import ReaderIdentity, Trust, read_card
from gate.card.verified import CardRefusal, Consent, Refused, VerifiedCard
from gate.errors import ConfigError, TemplateRejected
from gate.ledger import keys as ledger_keys
from gate.passage.decision import Lane
from gate.policy import FaceReason
from gate.settings import load_settings
from gate.template.biometric import Template, make_template
from gate.template.context import SealContext
from gate.template.envelope import Envelope, open_envelope
from gate.template.keys import FileKey
from gate.template.pin import check_pin
from gate.template.seal import seal
from models.types import Embedding

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
PIN = "246810"


@dataclass
class Clock:
    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


def rng(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "site"
    create_site(folder, demo=True, gate_id="gate-1", now=NOW, random_bytes=rng(1))
    return folder


@pytest.fixture
def site(made: Path, tmp_path: Path) -> Site:
    shutil.copytree(made, tmp_path / "site")
    return load_site(tmp_path / "site", now=NOW)


def sealed_face(site: Site, application: Application, seed: int = 2) -> SealedFace:
    """What a capture hands back, made from a vector that is nobody's."""
    notice = site.notice(Language.EN, application.expiry)
    record = give_consent(site, application, notice, rng(seed))
    vector = np.random.default_rng(seed).normal(size=512).astype(np.float32)
    aux = rng(seed)(32)
    template = make_template(
        Embedding(vector), aux, model_id="m.1", pack_version="p", frames=5, quality=0.5,
        created=NOW,
    )  # fmt: skip
    context = SealContext.for_template(
        application.credential_id, "m.1", record.signed, aux, application.expiry
    )
    sealed = seal(template.encode(), context, site.template_public_key, rng(seed))
    return SealedFace(sealed, aux, record.signed, (0.5,) * 5)


def new_card(site: Site, clock: Clock, *, face: bool, seed: int = 3) -> Wallet:
    application = apply(site, now=clock.now, random_bytes=rng(seed), reference=f"ref-{seed}")
    part = sealed_face(site, application, seed) if face else None
    return issue(site, application, PIN, part, random_bytes=rng(seed), clock=clock)


def at_gate(site: Site, wallet: Wallet, now: datetime) -> VerifiedCard | Refused:
    """Read the card as the configured gate does, from the files of gate.toml alone."""
    card = load_settings(site.config_path, {}).card
    reader = ReaderIdentity.load(card.reader_key, card.reader_cert)
    trust = Trust.load(card.issuer_roots, card.status_signer, card.status_list, card.doc_type)
    return read_card(SimCard(wallet), reader, trust, now, rng(9))


def opened(site: Site, card: VerifiedCard, consent_record: bytes) -> Template:
    key = FileKey.load(load_settings(site.config_path, {}).keys.template_keys[0].path)
    assert card.sealed_template is not None
    assert card.template_aux is not None
    envelope = Envelope.decode(card.sealed_template)
    context = SealContext.for_template(
        card.credential_id, "m.1", consent_record, card.template_aux, card.expiry
    )
    content_key = key.unwrap(envelope.wrapped, context.hpke_info())
    return Template.decode(open_envelope(envelope, content_key, context))


def pin_opens(site: Site, card: VerifiedCard, pin: str) -> bool:
    key = FileKey.load(load_settings(site.config_path, {}).keys.template_keys[0].path)
    assert card.pin_verifier is not None
    envelope = Envelope.decode(card.pin_verifier)
    context = SealContext.for_pin(card.credential_id, card.expiry)
    content_key = key.unwrap(envelope.wrapped, context.hpke_info())
    return check_pin(pin, open_envelope(envelope, content_key, context))


def accepted(read: VerifiedCard | Refused) -> VerifiedCard:
    assert isinstance(read, VerifiedCard), read
    return read


def test_a_card_with_a_face_opens_at_the_sites_gate(site: Site) -> None:
    clock = Clock()
    card = accepted(at_gate(site, new_card(site, clock, face=True), clock.now))
    assert card.consent is Consent.LIVE
    assert card.consent_record is not None
    assert opened(site, card, card.consent_record).frames == 5
    assert pin_opens(site, card, PIN)
    assert not pin_opens(site, card, "135790")
    assert site.policy.allows(card.access_groups)
    record = consent.verify(card.consent_record, site.consent_public_key)
    assert record.expires_at == card.expiry


def test_declining_differs_in_the_template_and_nowhere_else(site: Site) -> None:
    clock = Clock()
    with_face = accepted(at_gate(site, new_card(site, clock, face=True, seed=3), clock.now))
    without = accepted(at_gate(site, new_card(site, clock, face=False, seed=4), clock.now))
    assert without.sealed_template is without.template_aux is without.consent_record is None
    assert pin_opens(site, without, PIN)
    assert (without.access_groups, without.expiry) == (with_face.access_groups, with_face.expiry)
    entries = [site.registry.find(card.credential_id) for card in (with_face, without)]
    assert {entry.state for entry in entries} == {State.VALID}
    assert {entry.expires for entry in entries} == {without.expiry}


def test_withdrawing_closes_the_template_everywhere_and_gives_a_new_card(site: Site) -> None:
    clock = Clock()
    wallet = new_card(site, clock, face=True)
    clock.now += timedelta(days=10)
    done = withdraw(site, wallet, "97531", random_bytes=rng(5), clock=clock)
    old = accepted(at_gate(site, wallet, clock.now))
    assert old.consent is Consent.WITHDRAWN
    with pytest.raises(TemplateRejected):
        opened(site, old, done.record.signed)
    fresh = accepted(at_gate(site, done.wallet, clock.now))
    assert fresh.consent is Consent.LIVE
    assert fresh.sealed_template is None
    assert fresh.credential_id != old.credential_id
    assert fresh.access_groups == old.access_groups
    assert fresh.expiry <= old.expiry
    assert pin_opens(site, fresh, "97531")
    assert consent.verify(done.record.signed, site.consent_public_key) == done.record
    with pytest.raises(EnrolmentRefused, match="withdrawn before"):
        withdraw(site, wallet, "97531", random_bytes=rng(6), clock=clock)
    with pytest.raises(EnrolmentRefused, match="no template"):
        withdraw(site, done.wallet, "97531", random_bytes=rng(6), clock=clock)


def test_a_bad_pin_does_not_withdraw_halfway(site: Site) -> None:
    clock = Clock()
    wallet = new_card(site, clock, face=True)
    with pytest.raises(EnrolmentRefused, match="PIN"):
        withdraw(site, wallet, "no", random_bytes=rng(5), clock=clock)
    assert accepted(at_gate(site, wallet, clock.now)).consent is Consent.LIVE


def test_revoking_ends_every_lane(site: Site) -> None:
    clock = Clock()
    wallet = new_card(site, clock, face=False)
    (entry,) = site.registry.find_reference("ref-3")
    revoke(site, entry, now=clock.now)
    assert at_gate(site, wallet, clock.now) == Refused(CardRefusal.REVOKED)
    with pytest.raises(EnrolmentRefused):
        revoke(site, entry, now=clock.now)


def test_a_card_ends_when_it_says(site: Site) -> None:
    clock = Clock()
    application = apply(site, now=NOW, random_bytes=rng(3), valid_days=1)
    wallet = issue(site, application, PIN, None, random_bytes=rng(3), clock=clock)
    late = clock.now = NOW + timedelta(days=1, seconds=1)
    assert at_gate(site, wallet, late) == Refused(CardRefusal.EXPIRED)


def test_a_gate_with_an_old_status_list_refuses_everyone(site: Site) -> None:
    clock = Clock()
    wallet = new_card(site, clock, face=False)
    clock.now += timedelta(days=31)
    assert at_gate(site, wallet, clock.now) == Refused(CardRefusal.STATUS_STALE)
    site.publish_status(clock.now)
    accepted(at_gate(site, wallet, clock.now))


@pytest.mark.parametrize("days", [0, -1, 500])
def test_a_card_cannot_outlive_its_signer(site: Site, days: int) -> None:
    with pytest.raises(EnrolmentRefused, match="cannot hold"):
        apply(site, now=NOW, random_bytes=rng(3), valid_days=days)


@pytest.mark.parametrize("pin", ["", "123", "1234567890123", "12a4", "１２３４"])
def test_what_is_no_pin_issues_nothing(site: Site, pin: str) -> None:
    application = apply(site, now=NOW, random_bytes=rng(3), reference="r")
    with pytest.raises(EnrolmentRefused, match="PIN"):
        issue(site, application, pin, None, random_bytes=rng(3), clock=Clock())
    assert site.registry.find_reference("r") == []


def test_a_real_site_starts_without_faces(tmp_path: Path) -> None:
    real = create_site(
        tmp_path / "real", demo=False, gate_id="gate-1", now=NOW, random_bytes=rng(1)
    )
    assert real.face_mode(NOW).reason is FaceReason.NOT_IN_POLICY
    assert real.policy.lanes == {Lane.PIN}
    assert not real.layout.deployment.exists()
    assert not real.is_demo
    for path in real.layout.folder.rglob("*"):
        assert not path.is_file() or b"DEMO" not in path.read_bytes(), path
    settings = load_settings(real.config_path, {})
    assert settings.gate.mode == "production"
    assert settings.policy.deployment is None
    application = apply(real, now=NOW, random_bytes=rng(3))
    with pytest.raises(EnrolmentRefused, match="no face"):
        give_consent(real, application, real.notice(Language.KO, application.expiry), rng(4))
    wallet = issue(real, application, PIN, None, random_bytes=rng(3), clock=Clock())
    assert pin_opens(real, accepted(at_gate(real, wallet, NOW)), PIN)


def test_a_demo_site_is_marked_in_every_part_that_can_be(site: Site) -> None:
    assert site.is_demo
    assert site.face_mode(NOW).on
    layout = site.layout
    marked = [
        *layout.folder.rglob("*.key"),
        *layout.folder.rglob("*.pub.pem"),
        layout.policy,
        layout.deployment,
    ]
    for path in marked:
        # The door's key file holds 32 hexadecimal digits and has no room for a word.
        assert path == layout.door_key or b"DEMO" in path.read_bytes(), path
    settings = load_settings(site.config_path, {}).card
    assert Trust.load(settings.issuer_roots, settings.status_signer).is_demo
    assert ReaderIdentity.load(settings.reader_key, settings.reader_cert).is_demo


def test_everything_of_a_site_is_private_and_loads(site: Site, tmp_path: Path) -> None:
    for path in [site.layout.folder, *site.layout.folder.rglob("*")]:
        private = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) & ~private == 0 or path.suffix in {
            ".json",
            ".sig",
        }, path
    again = load_site(tmp_path / "site", now=NOW)
    assert again.policy.sha256 == site.policy.sha256
    settings = load_settings(site.config_path, {})
    assert len(load_key(settings.turnstile.key_file)) == 16
    assert ledger_keys.load(settings.ledger.signer).vkey.startswith("consentgate/DEMO/gate-1+")


def test_a_site_is_never_overwritten(site: Site, tmp_path: Path) -> None:
    before = {p: p.read_bytes() for p in site.layout.folder.rglob("*") if p.is_file()}
    with pytest.raises(ConfigError, match="empty folder"):
        create_site(tmp_path / "site", demo=True, gate_id="g", now=NOW, random_bytes=rng(2))
    assert before == {p: p.read_bytes() for p in site.layout.folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("gate_id", ["", "Gate", "a b", "../x", 'x"\n[gate]'])
def test_a_gate_id_is_checked_before_anything_is_made(tmp_path: Path, gate_id: str) -> None:
    with pytest.raises(ConfigError, match="gate id"):
        create_site(tmp_path / "s", demo=True, gate_id=gate_id, now=NOW, random_bytes=rng(2))
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    "name",
    [
        "site.json",
        "gate/policy.json",
        "gate/policy.json.sig",
        "gate/deployment.json",
        "gate/authority.pub.pem",
        "gate/status-signer.pem",
        "issuer/document-signer.key",
        "issuer/document-signer.pem",
        "issuer/consent.key",
        "issuer/template.pub.pem",
        "issuer/reader-ca.pem",
        "issuer/status-signer.key",
    ],
)
def test_a_damaged_part_is_one_clear_error(site: Site, name: str) -> None:
    path = site.layout.folder / name
    path.write_bytes(b"damaged")
    with pytest.raises(ConfigError) as failure:
        load_site(site.layout.folder, now=NOW)
    assert "\n" not in failure.value.diagnostics()
    path.unlink()
    # The deployment record is the one part that may be missing: then cards work without faces.
    if name == "gate/deployment.json":
        assert not load_site(site.layout.folder, now=NOW).face_mode(NOW).on
        return
    with pytest.raises(ConfigError) as failure:
        load_site(site.layout.folder, now=NOW)
    assert "\n" not in failure.value.diagnostics()


def test_a_key_that_others_can_read_is_refused(site: Site) -> None:
    site.layout.consent_key.chmod(0o644)
    with pytest.raises(ConfigError, match="other users"):
        load_site(site.layout.folder, now=NOW)


def test_no_repr_shows_a_key(site: Site) -> None:
    secret = json.dumps(repr(site) + repr(site.document_signer) + repr(site.registry))
    assert len(secret) < 1000
    assert "PRIVATE" not in secret


def test_elements_of_a_card_are_the_closed_list(site: Site) -> None:
    wallet = new_card(site, Clock(), face=True)
    assert set(wallet.elements) == set(mdoc.ALL_ELEMENTS)
