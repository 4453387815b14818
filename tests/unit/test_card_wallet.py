"""The reference holder, its file, and the site that issues to it."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtensionOID

from enrollment import pki
from enrollment.key_files import save_certificate, save_private
from enrollment.mdoc_issuer import issue_mdoc
from enrollment.status_issuer import pack_statuses, sign_status_list
from enrollment.wallet import HolderRefusal, Wallet
from firmware_bridge.sim.card import CardFault, FaultKind, SimCard
from gate.card import cbor, engagement, mdoc, request, session
from gate.card.cbor import EncodedCbor, MalformedCbor
from gate.card.cose import Sign1
from gate.card.reader import ReaderIdentity, Trust, read_card
from gate.card.trust import is_demo
from gate.card.verified import CardRefusal, Refused, VerifiedCard
from gate.errors import ConfigError

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)
URI = "https://cards.example/status/1"
RANDOM = random.Random(9).randbytes


class World:
    def __init__(self):
        begin, site = NOW - 30 * DAY, pki.Site("Example Ministry")
        self.iaca = pki.create_iaca(site, begin, RANDOM)
        self.ds = pki.create_document_signer(self.iaca, begin, RANDOM)
        self.reader_ca = pki.create_reader_authority(site, begin, RANDOM)
        self.reader = pki.create_reader(self.reader_ca, "gate-1", begin, RANDOM)
        self.status = pki.create_status_signer(self.iaca, begin, RANDOM)
        token = sign_status_list([0] * 8, self.status, URI, NOW - DAY, 2 * DAY)
        self.trust = Trust([self.iaca.certificate], self.status.certificate, token)
        self.device_key = session.new_key(RANDOM)
        self.elements = {
            "credential_id": RANDOM(16),
            "access_groups": ["hq"],
            "expiry_date": NOW + 50 * DAY,
            "sealed_template": RANDOM(700),
            "template_aux": RANDOM(32),
            "consent_record": RANDOM(250),
            "pin_verifier": RANDOM(220),
        }
        self.card = self.issue(self.elements)

    def issue(self, elements, **kwargs):
        dates = {"valid_from": NOW - DAY, "valid_until": NOW + 50 * DAY} | kwargs
        public = self.device_key.public_key()
        return issue_mdoc(elements, public, self.ds, 3, URI, random_bytes=RANDOM, **dates)

    def wallet(self, roots=None, clock=lambda: NOW, **kwargs):
        roots = [self.reader_ca.certificate] if roots is None else roots
        return Wallet(self.device_key, self.card, roots, clock, RANDOM, **kwargs)

    def read(self, channel, reader=None, **kwargs):
        return read_card(channel, reader or self.reader, self.trust, NOW, RANDOM, **kwargs)


@pytest.fixture(scope="module")
def world():
    return World()


# The holder asks who wants to know


def refusal_of(world, reader, wallet=None):
    wallet = wallet or world.wallet()
    assert world.read(SimCard(wallet), reader) == Refused(CardRefusal.UNREADABLE)
    return wallet.last_refusal


def test_holder_answers_its_own_reader(world):
    wallet = world.wallet()
    assert isinstance(world.read(SimCard(wallet)), VerifiedCard)
    assert wallet.last_refusal is None


def test_holder_refuses_a_reader_of_another_authority(world):
    other = pki.create_reader_authority(pki.Site("Example Ministry"), NOW - DAY, RANDOM)
    reader = pki.create_reader(other, "gate-1", NOW - DAY, RANDOM)
    assert refusal_of(world, reader) is HolderRefusal.UNTRUSTED_READER
    assert refusal_of(world, world.reader, world.wallet(roots=[])) is (
        HolderRefusal.UNTRUSTED_READER
    )


def test_holder_refuses_an_outdated_reader(world):
    wallet = world.wallet(clock=lambda: NOW + 400 * DAY)
    assert refusal_of(world, world.reader, wallet) is HolderRefusal.UNTRUSTED_READER


def test_holder_refuses_a_document_signer_as_reader(world):
    posing = ReaderIdentity(world.ds.key, world.ds.certificate)
    wallet = world.wallet(roots=[world.iaca.certificate])
    assert refusal_of(world, posing, wallet) is HolderRefusal.UNTRUSTED_READER


def test_holder_refuses_a_stolen_reader_certificate(world):
    posing = ReaderIdentity(session.new_key(RANDOM), world.reader.certificate)
    assert refusal_of(world, posing) is HolderRefusal.READER_SIGNATURE


def ask(wallet, build):
    """Send one hand-made request through a genuine session; return the decrypted answer."""
    select = wallet.engage()
    phone = engagement.decode_handover_select(select)
    key = session.new_key(RANDOM)
    key_bytes = session.encode_key_bytes(key.public_key())
    handover = engagement.handover_bytes(select)
    transcript = session.Transcript.of(phone.encoded, key_bytes, handover)
    cipher = session.Cipher.for_reader(key, phone.e_device_key, transcript)
    message = session.encode_establishment(key_bytes, cipher.seal(build(transcript)))
    data, _ = session.decode_data(wallet.handle(message))
    return cipher.open(data)


def build_request(world, transcript, doc_type=mdoc.DEFAULT_DOC_TYPE, change=lambda _: None):
    wanted = ["credential_id"]
    raw = request.build_device_request(
        doc_type, wanted, transcript, world.reader.key, world.reader.certificate
    )
    content = cbor.load(raw)
    change(content["docRequests"][0])
    return cbor.encode(content)


def test_holder_gives_nothing_without_reader_auth(world):
    wallet = world.wallet()

    def build(transcript):
        return build_request(world, transcript, change=lambda asked: asked.pop("readerAuth"))

    with pytest.raises(MalformedCbor, match="documents"):
        mdoc.parse_device_response(ask(wallet, build))
    assert wallet.last_refusal is HolderRefusal.NO_READER_AUTH


def test_holder_refuses_another_document(world):
    wallet = world.wallet()
    ask(wallet, lambda transcript: build_request(world, transcript, "org.iso.18013.5.1.mDL"))
    assert wallet.last_refusal is HolderRefusal.OTHER_DOCUMENT


def test_holder_refuses_a_reader_that_wants_to_retain(world):
    wallet = world.wallet()
    doc_type = mdoc.DEFAULT_DOC_TYPE

    def build(transcript):
        items = EncodedCbor.wrap(
            cbor.encode({"docType": doc_type, "nameSpaces": {doc_type: {"credential_id": True}}})
        )
        signed = request.reader_authentication(transcript, items)
        der = world.reader.certificate.public_bytes(serialization.Encoding.DER)
        auth = Sign1.create(world.reader.key, signed, detached=True, unprotected={33: der})
        document = {"itemsRequest": items, "readerAuth": auth.to_cbor()}
        return cbor.encode({"version": "1.0", "docRequests": [document]})

    ask(wallet, build)
    assert wallet.last_refusal is HolderRefusal.WANTS_TO_RETAIN


def test_holder_gives_only_what_was_asked(world):
    wallet = world.wallet()
    answer = ask(wallet, lambda transcript: build_request(world, transcript))
    document = mdoc.parse_device_response(answer)
    (items,) = document.issuer_signed.name_spaces.values()
    assert [item.identifier for item in items] == ["credential_id"]
    assert world.elements["sealed_template"] not in answer


def test_reader_asks_for_less_on_demand(world):
    wanted = (*mdoc.MANDATORY_ELEMENTS, mdoc.PIN_VERIFIER)
    card = world.read(SimCard(world.wallet()), elements=wanted)
    assert isinstance(card, VerifiedCard)
    assert card.sealed_template is None
    assert card.pin_verifier == world.elements["pin_verifier"]


def test_one_request_an_engagement(world):
    wallet = world.wallet()
    ask(wallet, lambda transcript: build_request(world, transcript))
    assert session.decode_data(wallet.handle(b"anything")) == (None, 20)


def test_request_never_promises_to_keep(world):
    transcript = session.Transcript(b"\x80")
    _, asked, _ = request.parse_device_request(build_request(world, transcript))
    assert not asked.retains


# The wallet's file


def test_wallet_file_is_private_and_comes_back(world, tmp_path):
    path = tmp_path / "card.wallet"
    path.write_bytes(b"an older wallet")
    path.chmod(0o644)
    world.wallet().save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["card.wallet"]
    loaded = Wallet.load(path, lambda: NOW, RANDOM)
    assert isinstance(world.read(SimCard(loaded)), VerifiedCard)
    assert loaded.elements["access_groups"] == ["hq"]


@pytest.mark.parametrize("content", [None, b"", b"\xa0", b"\xa1\x67version\x02", b"junk"])
def test_broken_wallet_file(tmp_path, content):
    path = tmp_path / "card.wallet"
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    with pytest.raises(ConfigError, match="card file"):
        Wallet.load(path, lambda: NOW, RANDOM)


def test_wallet_file_open_to_others_is_refused(world, tmp_path):
    path = tmp_path / "card.wallet"
    world.wallet().save(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="open to others"):
        Wallet.load(path, lambda: NOW, RANDOM)


def test_wallet_of_malformed_data(world):
    with pytest.raises(ConfigError, match="malformed"):
        Wallet(world.device_key, b"\xa0", [], lambda: NOW, RANDOM)


# On the air


def test_apdus_of_a_tap_and_their_sizes(world):
    short, extended = SimCard(world.wallet()), SimCard(world.wallet())
    assert isinstance(world.read(short), VerifiedCard)
    assert isinstance(world.read(extended, extended_length=True), VerifiedCard)
    assert extended.apdus == 8
    # 7 for the engagement, then 255 bytes of request and 256 of response an APDU.
    assert 20 <= short.apdus <= 24


def test_locked_phone_is_polled_as_long_as_the_caller_wants(world):
    polls = []
    card = SimCard(world.wallet(), CardFault(FaultKind.LOCKED, 0))
    outcome = world.read(card, on_locked=lambda: polls.append(1) is None)
    assert isinstance(outcome, VerifiedCard)
    assert len(polls) == 1
    card = SimCard(world.wallet(), CardFault(FaultKind.LOCKED, 0))
    assert world.read(card) == Refused(CardRefusal.UNREADABLE)


# Certificates and issuing


def extension(certificate, oid):
    found = certificate.extensions.get_extension_for_oid(oid)
    return found.critical, found.value


def test_certificates_follow_their_profiles(world):
    for authority in (world.iaca, world.reader_ca):
        certificate = authority.certificate
        assert certificate.issuer == certificate.subject
        critical, constraints = extension(certificate, ExtensionOID.BASIC_CONSTRAINTS)
        assert (critical, constraints.ca, constraints.path_length) == (True, True, 0)
    for signer, usage in ((world.ds, "1.0.18013.5.1.2"), (world.reader, "1.0.18013.5.1.6")):
        certificate = signer.certificate
        critical, extended = extension(certificate, ExtensionOID.EXTENDED_KEY_USAGE)
        assert (critical, [oid.dotted_string for oid in extended]) == (True, [usage])
        critical, key_usage = extension(certificate, ExtensionOID.KEY_USAGE)
        assert critical
        assert key_usage.digital_signature
        assert not key_usage.key_cert_sign
        assert certificate.serial_number.bit_length() >= 63
        assert certificate.serial_number.bit_length() <= 160
    life = world.ds.certificate.not_valid_after_utc - world.ds.certificate.not_valid_before_utc
    assert life <= timedelta(days=457)


@pytest.mark.parametrize("oid", ["SUBJECT_KEY_IDENTIFIER", "ISSUER_ALTERNATIVE_NAME"])
def test_extensions_that_every_certificate_carries(world, oid):
    for holder in (world.iaca, world.ds, world.reader_ca, world.reader, world.status):
        critical, _ = extension(holder.certificate, getattr(ExtensionOID, oid))
        assert not critical
        assert extension(holder.certificate, ExtensionOID.CRL_DISTRIBUTION_POINTS)


def test_same_inputs_make_the_same_certificates():
    def make():
        rand = random.Random(1).randbytes
        iaca = pki.create_iaca(pki.Site("A"), NOW, rand)
        return pki.create_document_signer(iaca, NOW, rand).certificate

    assert make() == make()


def test_profile_limits_are_enforced(world):
    with pytest.raises(ValueError, match="457"):
        pki.create_document_signer(world.iaca, NOW, RANDOM, valid=458 * DAY)
    with pytest.raises(ValueError, match="1187"):
        pki.create_reader(world.reader_ca, "g", NOW, RANDOM, valid=1188 * DAY)
    with pytest.raises(ValueError, match="7300"):
        pki.create_iaca(pki.Site("A"), NOW, RANDOM, valid=7301 * DAY)


def test_demo_certificates_are_marked(world):
    site = pki.Site("Demo", demo=True)
    iaca = pki.create_iaca(site, NOW, RANDOM)
    assert is_demo(iaca.certificate)
    assert is_demo(pki.create_document_signer(iaca, NOW, RANDOM).certificate)
    assert Trust([iaca.certificate], world.status.certificate).is_demo
    assert not world.trust.is_demo
    assert not world.reader.is_demo


def save_pair(folder, name, pair):
    key_path, certificate_path = folder / f"{name}.key", folder / f"{name}.pem"
    save_private(key_path, pair.key, demo=False)
    save_certificate(certificate_path, pair.certificate)
    return key_path, certificate_path


def test_pem_files(world, tmp_path):
    reader = world.reader
    key_path, certificate_path = save_pair(tmp_path, "reader", reader)
    assert key_path.stat().st_mode & 0o777 == 0o600
    loaded = ReaderIdentity.load(key_path, certificate_path)
    assert loaded.certificate == reader.certificate
    other = save_pair(tmp_path, "ds", world.ds)
    with pytest.raises(ConfigError, match="does not belong"):
        ReaderIdentity.load(other[0], certificate_path)
    with pytest.raises(ConfigError, match="cannot be loaded"):
        ReaderIdentity.load(tmp_path / "absent", certificate_path)
    with pytest.raises(ConfigError, match="cannot be loaded"):
        ReaderIdentity.load(key_path, key_path)
    status_path = tmp_path / "status.cwt"
    status_path.write_bytes(world.trust.status)
    iaca_path = save_pair(tmp_path, "iaca", world.iaca)[1]
    signer_path = save_pair(tmp_path, "status", world.status)[1]
    trust = Trust.load(iaca_path, signer_path, status_path)
    card = read_card(SimCard(world.wallet()), loaded, trust, NOW, RANDOM)
    assert isinstance(card, VerifiedCard)
    with pytest.raises(ConfigError, match="cannot be read"):
        Trust.load(iaca_path, signer_path, tmp_path / "absent")


@pytest.mark.parametrize(
    "change",
    [
        {"credential_id": b"short"},
        {"credential_id": None},
        {"access_groups": "hq"},
        {"access_groups": [1]},
        {"expiry_date": "2030-01-01"},
        {"sealed_template": "text"},
        {"family_name": "nobody"},
    ],
)
def test_issuer_refuses_wrong_elements(world, change):
    with pytest.raises(ValueError, match=r"credential_id|access|expiry|sealed|unknown"):
        world.issue(world.elements | change)


def test_issuer_refuses_missing_elements_and_impossible_dates(world):
    with pytest.raises(ValueError, match="missing"):
        world.issue({"credential_id": bytes(16)})
    for dates in (
        {"valid_until": NOW - 2 * DAY},
        {"valid_from": NOW - 31 * DAY},
        {"valid_until": NOW + 500 * DAY},
    ):
        with pytest.raises(ValueError, match="the card would"):
            world.issue(world.elements, **dates)


def test_statuses_must_fit_into_two_bits():
    assert pack_statuses([3, 0, 0, 1, 2]) == b"\x43\x02"
    with pytest.raises(ValueError, match="does not fit"):
        pack_statuses([4])


def test_list_of_twenty_thousand_is_small(world):
    rng = random.Random(3)
    statuses = [1 if rng.random() < 0.02 else 0 for _ in range(20_000)]
    token = sign_status_list(statuses, world.status, URI, NOW, DAY)
    assert len(token) < 1200


def test_certificates_hold_no_more_names_than_needed(world):
    names = {a.oid for a in world.ds.certificate.subject}
    assert names == {x509.NameOID.COUNTRY_NAME, x509.NameOID.COMMON_NAME}
