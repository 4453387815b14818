"""Every verification step of a card, and what it refuses. Issuer, holder and reader are real."""

import hashlib
import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from enrollment import pki
from enrollment.mdoc_issuer import issue_mdoc
from enrollment.pki import DocumentSigner, Site
from enrollment.status_issuer import sign_status_list
from enrollment.wallet import Wallet
from firmware_bridge.sim.card import SimCard
from gate.card import cbor, cose, mdoc, session
from gate.card.cbor import EncodedCbor
from gate.card.cose import Sign1
from gate.card.mdoc import IssuerSigned, IssuerSignedItem
from gate.card.reader import ReaderIdentity, Trust, card_stands, read_card
from gate.card.status_list import Status
from gate.card.trust import check_document_signer
from gate.card.verified import CardRefusal, Consent, Refused, VerifiedCard
from gate.errors import ConfigError

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)
LIST_URI = "https://cards.example/status/1"
INDEX = 5
RANDOM = random.Random(18013).randbytes
DOC_TYPE = mdoc.DEFAULT_DOC_TYPE


def elements():
    return {
        "credential_id": bytes(range(16)),
        "access_groups": ["hq-staff", "lab"],
        "expiry_date": (NOW + 200 * DAY).date(),
        "sealed_template": RANDOM(640),
        "template_aux": RANDOM(32),
        "consent_record": RANDOM(200),
        "pin_verifier": RANDOM(220),
    }


@dataclass
class SiteKeys:
    iaca: pki.Authority
    ds: DocumentSigner
    status: pki.StatusSigner
    reader_ca: pki.Authority
    reader: ReaderIdentity

    def status_token(self, *, status=0, issued_at=NOW - DAY, valid=7 * DAY, uri=LIST_URI, **_):
        statuses = [0] * 40
        statuses[INDEX] = status
        return sign_status_list(statuses, self.status, uri, issued_at, valid)

    def trust(self, **kwargs):
        return Trust([self.iaca.certificate], self.status.certificate, self.status_token(**kwargs))

    def issue(self, device_key, content=None, *, ds=None, start=NOW - DAY, end=NOW + 200 * DAY):
        return issue_mdoc(
            content or elements(),
            device_key.public_key(),
            ds or self.ds,
            INDEX,
            LIST_URI,
            start,
            end,
            RANDOM,
        )

    def wallet(self, issuer_signed, device_key, kind=Wallet, **kwargs):
        roots = [self.reader_ca.certificate]
        return kind(device_key, issuer_signed, roots, lambda: NOW, RANDOM, **kwargs)

    def read(self, application, *, trust=None, now=NOW):
        return read_card(SimCard(application), self.reader, trust or self.trust(), now, RANDOM)


@pytest.fixture(scope="module")
def site():
    begin = NOW - 30 * DAY
    name = Site("Example Ministry")
    iaca = pki.create_iaca(name, begin, RANDOM)
    reader_ca = pki.create_reader_authority(name, begin, RANDOM)
    return SiteKeys(
        iaca,
        pki.create_document_signer(iaca, begin, RANDOM),
        pki.create_status_signer(iaca, begin, RANDOM),
        reader_ca,
        pki.create_reader(reader_ca, "gate-1", begin, RANDOM),
    )


@pytest.fixture(scope="module")
def device_key():
    return session.new_key(RANDOM)


@pytest.fixture(scope="module")
def issued(site, device_key):
    return site.issue(device_key)


def resigned(issuer_signed: bytes, ds: DocumentSigner, change) -> bytes:
    """The same card with another MSO, signed by a real document signer."""
    signed = IssuerSigned.parse(cbor.load(issuer_signed))
    content = cbor.load(signed.issuer_auth.payload).load()
    change(content)
    der = ds.certificate.public_bytes(serialization.Encoding.DER)
    auth = Sign1.create(
        ds.key, EncodedCbor.wrap(cbor.encode(content)).raw, unprotected={cose.HEADER_X5CHAIN: der}
    )
    return cbor.encode(IssuerSigned(signed.name_spaces, auth).to_cbor())


def certified(site, *, usage=None, ca=None, unknown_critical=False, drop=(), key=None, dates=None):
    """A document signer of the trusted authority whose certificate deviates on purpose."""
    key = key or session.new_key(RANDOM)
    model = site.ds.certificate
    first, last = dates or (model.not_valid_before_utc, model.not_valid_after_utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(model.subject)
        .issuer_name(model.issuer)
        .public_key(key.public_key())
        .serial_number(77)
        .not_valid_before(first)
        .not_valid_after(last)
    )
    for extension in model.extensions:
        value = extension.value
        if isinstance(value, drop) if drop else False:
            continue
        if isinstance(value, x509.ExtendedKeyUsage) and usage is not None:
            value = x509.ExtendedKeyUsage(usage)
        builder = builder.add_extension(value, extension.critical)
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    if unknown_critical:
        oid = x509.ObjectIdentifier("1.3.6.1.4.1.99999.1")
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, b"\x05\x00"), True)
    return DocumentSigner(key, builder.sign(site.iaca.key, hashes.SHA256()))


# What must pass


@pytest.mark.parametrize("use_mac", [False, True])
def test_good_card_passes_with_exactly_the_signed_values(site, device_key, use_mac):
    content = elements()
    issuer_signed = site.issue(device_key, content)
    card = site.read(site.wallet(issuer_signed, device_key, use_mac=use_mac))
    assert isinstance(card, VerifiedCard)
    assert card == VerifiedCard(
        credential_id=content["credential_id"],
        access_groups=("hq-staff", "lab"),
        expiry=datetime(2026, 9, 19, tzinfo=UTC),  # the end of 18 September
        valid_until=NOW + 200 * DAY,
        status_uri=LIST_URI,
        status_index=INDEX,
        consent=Consent.LIVE,
        sealed_template=content["sealed_template"],
        template_aux=content["template_aux"],
        consent_record=content["consent_record"],
        pin_verifier=content["pin_verifier"],
        session_id=card.session_id,
    )


def test_every_tap_of_a_card_is_another_session(site, issued, device_key):
    cards = [site.read(site.wallet(issued, device_key)) for _ in range(2)]
    names = {card.session_id for card in cards}
    assert [len(name) for name in names] == [16, 16]


def test_card_without_template_passes_for_the_pin_lane(site, device_key):
    content = {k: v for k, v in elements().items() if k in mdoc.MANDATORY_ELEMENTS}
    content["expiry_date"] = NOW + 3 * DAY
    card = site.read(site.wallet(site.issue(device_key, content), device_key))
    assert isinstance(card, VerifiedCard)
    assert card.expiry == NOW + 3 * DAY
    assert card.sealed_template is card.template_aux is card.consent_record is None
    assert card.pin_verifier is None


def test_nothing_of_a_card_is_in_its_repr(site, issued, device_key):
    card = site.read(site.wallet(issued, device_key))
    assert "hq-staff" not in repr(card)
    assert repr(card.credential_id) not in repr(card)


def test_withdrawn_consent_spares_the_card(site, issued, device_key):
    trust = site.trust(status=Status.CONSENT_WITHDRAWN)
    card = site.read(site.wallet(issued, device_key), trust=trust)
    assert isinstance(card, VerifiedCard)
    assert card.consent is Consent.WITHDRAWN


# The six attacks that a published mdoc implementation let through


class Tampering(Wallet):
    """A holder with the right device key who changes the document before it leaves."""

    change = staticmethod(lambda document: document)

    def _answer(self, content, transcript, e_reader_key):
        return self.change(super()._answer(content, transcript, e_reader_key))


def tampering(change):
    return type("Tampered", (Tampering,), {"change": staticmethod(change)})


def item(identifier, value, number=0):
    entry = {
        "digestID": number,
        "random": bytes(16),
        "elementIdentifier": identifier,
        "elementValue": value,
    }
    return IssuerSignedItem.parse(EncodedCbor.wrap(cbor.encode(entry)))


def test_attack_1_namespace_not_in_the_mso(site, issued, device_key):
    def change(document):
        spaces = dict(document.issuer_signed.name_spaces)
        spaces["org.consentgate.other"] = (item("access_groups", ["everywhere"]),)
        return replace(document, issuer_signed=replace(document.issuer_signed, name_spaces=spaces))

    outcome = site.read(site.wallet(issued, device_key, tampering(change)))
    assert outcome == Refused(CardRefusal.NAMESPACE)


def test_attack_2_doc_type_swapped(site, issued, device_key):
    class Swapping(Wallet):
        """Signs its answer for the docType it claims, as a real attacker would."""

        def _answer(self, content, transcript, e_reader_key):
            document = super()._answer(content, transcript, e_reader_key)
            return replace(document, doc_type="org.consentgate.visitorpass.1")

    outcome = site.read(site.wallet(issued, device_key, Swapping))
    assert outcome == Refused(CardRefusal.DOC_TYPE)


def test_attack_2b_mso_of_another_doc_type(site, issued, device_key):
    other = "org.consentgate.visitorpass.1"

    class Posing(Wallet):
        """A visitor pass that says it is a staff pass, in name and in namespace."""

        @property
        def doc_type(self):
            return DOC_TYPE

    visitor = resigned(issued, site.ds, lambda mso: mso.update(docType=other))
    outcome = site.read(site.wallet(visitor, device_key, Posing))
    assert outcome == Refused(CardRefusal.DOC_TYPE)


def test_attack_3_expired_mso(site, device_key):
    old = site.issue(device_key, start=NOW - 20 * DAY, end=NOW - timedelta(seconds=1))
    outcome = site.read(site.wallet(old, device_key))
    assert outcome == Refused(CardRefusal.EXPIRED)


def test_attack_4_missing_device_signed(site, issued, device_key):
    kind = tampering(lambda document: replace(document, device_signed=None))
    assert site.read(site.wallet(issued, device_key, kind)) == Refused(CardRefusal.DEVICE_AUTH)


def test_attack_5_tls_server_certificate_as_issuer(site, device_key):
    ds = certified(site, usage=[ExtendedKeyUsageOID.SERVER_AUTH])
    outcome = site.read(site.wallet(site.issue(device_key, ds=ds), device_key))
    assert outcome == Refused(CardRefusal.ISSUER_PROFILE)


def test_attack_6_short_device_key(site):
    # A key with a leading zero byte, written in 31 bytes as a careless encoder does.
    while True:
        device_key = session.new_key(RANDOM)
        numbers = device_key.public_key().public_numbers()
        if numbers.x < 1 << 248:
            break

    def change(mso):
        mso["deviceKeyInfo"]["deviceKey"][-2] = numbers.x.to_bytes(31, "big")

    good = site.issue(device_key)
    assert isinstance(site.read(site.wallet(good, device_key)), VerifiedCard)
    outcome = site.read(site.wallet(resigned(good, site.ds, change), device_key))
    assert outcome == Refused(CardRefusal.DEVICE_AUTH)


# Clones, replays, revocation


def test_clone_has_the_data_but_not_the_key(site, issued, device_key):
    clone = site.wallet(issued, device_key).clone_without_key()
    assert site.read(clone) == Refused(CardRefusal.DEVICE_AUTH)


@pytest.mark.parametrize("use_mac", [False, True])
def test_replayed_document_in_a_new_session(site, issued, device_key, use_mac):
    class Recording(Wallet):
        recorded = None

        def _answer(self, content, transcript, e_reader_key):
            document = super()._answer(content, transcript, e_reader_key)
            self.recorded = self.recorded or document
            return self.recorded

    wallet = site.wallet(issued, device_key, Recording, use_mac=use_mac)
    assert isinstance(site.read(wallet), VerifiedCard)
    assert site.read(wallet) == Refused(CardRefusal.DEVICE_AUTH)


def test_replayed_ciphertext_of_another_session(site, issued, device_key):
    class Replaying:
        def __init__(self, wallet):
            self.wallet, self.engagement, self.answer = wallet, None, None

        def engage(self):
            self.engagement = self.engagement or self.wallet.engage()
            return self.engagement

        def handle(self, message):
            self.answer = self.answer or self.wallet.handle(message)
            return self.answer

    replaying = Replaying(site.wallet(issued, device_key))
    assert isinstance(site.read(replaying), VerifiedCard)
    assert site.read(replaying) == Refused(CardRefusal.UNREADABLE)


@pytest.mark.parametrize("status", [Status.INVALID, Status.SUSPENDED])
def test_revoked(site, issued, device_key, status):
    outcome = site.read(site.wallet(issued, device_key), trust=site.trust(status=status))
    assert outcome == Refused(CardRefusal.REVOKED)


@pytest.mark.parametrize(
    "token",
    [
        lambda _: None,
        lambda _: b"",
        lambda _: b"\xd2\x84",
        lambda site: site.status_token(issued_at=NOW - 8 * DAY),
        lambda site: site.status_token(issued_at=NOW + DAY),
        lambda site: site.status_token(uri="https://cards.example/status/2"),
        lambda site: site.status_token()[:-1] + b"\x00",
        lambda site: sign_status_list([0], site.status, LIST_URI, NOW, DAY),  # too short
        lambda site: sign_status_list([0] * 40, site.ds, LIST_URI, NOW, DAY),  # wrong signer
    ],
    ids=["none", "empty", "torn", "expired", "future", "other", "flipped", "short", "signer"],
)
def test_status_list_fails_closed(site, issued, device_key, token):
    trust = site.trust()
    trust.status = token(site)
    outcome = site.read(site.wallet(issued, device_key), trust=trust)
    assert outcome == Refused(CardRefusal.STATUS_STALE)


def test_status_list_without_expiry_is_never_fresh(site, issued, device_key):
    trust = site.trust()
    message = Sign1.parse(cbor.load(trust.status[1:]))
    claims = cbor.load(message.payload)
    del claims[4]
    signed = Sign1.create(
        site.status.key, cbor.encode(claims), protected={16: "application/statuslist+cwt"}
    )
    trust.status = b"\xd2" + cbor.encode(signed.to_cbor())
    outcome = site.read(site.wallet(issued, device_key), trust=trust)
    assert outcome == Refused(CardRefusal.STATUS_STALE)


def test_card_without_status_reference(site, issued, device_key):
    unlisted = resigned(issued, site.ds, lambda mso: mso.pop("status"))
    outcome = site.read(site.wallet(unlisted, device_key))
    assert outcome == Refused(CardRefusal.STATUS_STALE)


def test_status_list_is_reloaded_at_run_time(site, issued, device_key):
    trust, wallet = site.trust(), site.wallet(issued, device_key)
    assert isinstance(site.read(wallet, trust=trust), VerifiedCard)
    trust.status = site.status_token(status=Status.INVALID)
    assert site.read(wallet, trust=trust) == Refused(CardRefusal.REVOKED)
    trust.status = site.status_token()
    assert isinstance(site.read(wallet, trust=trust), VerifiedCard)


def test_a_card_read_before_is_asked_about_again(site, issued, device_key):
    trust = site.trust()
    card = site.read(site.wallet(issued, device_key), trust=trust)
    assert card_stands(card, trust, NOW) is Consent.LIVE
    trust.status = site.status_token(status=Status.CONSENT_WITHDRAWN)
    assert card_stands(card, trust, NOW) is Consent.WITHDRAWN
    trust.status = site.status_token(status=Status.INVALID)
    assert card_stands(card, trust, NOW) is CardRefusal.REVOKED
    trust.status = site.status_token(valid=2 * DAY)
    assert card_stands(card, trust, NOW + 3 * DAY) is CardRefusal.STATUS_STALE
    trust.status = site.status_token(valid=300 * DAY)
    assert card_stands(card, trust, card.expiry + DAY) is CardRefusal.EXPIRED
    assert card_stands(replace(card, valid_until=NOW - DAY), trust, NOW) is CardRefusal.EXPIRED


def test_status_list_runs_out_between_two_taps(site, issued, device_key):
    trust, wallet = site.trust(valid=2 * DAY), site.wallet(issued, device_key)
    last = NOW + DAY - timedelta(seconds=1)
    assert isinstance(site.read(wallet, trust=trust, now=last), VerifiedCard)
    outcome = site.read(wallet, trust=trust, now=NOW + DAY)
    assert outcome == Refused(CardRefusal.STATUS_STALE)


# Issuer trust and profile


def test_issuer_of_another_site(site, device_key):
    other = pki.create_iaca(Site("Example Ministry"), NOW - 30 * DAY, RANDOM)
    ds = pki.create_document_signer(other, NOW - 30 * DAY, RANDOM)
    outcome = site.read(site.wallet(site.issue(device_key, ds=ds), device_key))
    assert outcome == Refused(CardRefusal.UNTRUSTED_ISSUER)


def test_self_signed_signer(site, device_key):
    authority = pki.create_iaca(Site("Nobody"), NOW - 30 * DAY, RANDOM)
    ds = DocumentSigner(authority.key, authority.certificate)
    outcome = site.read(site.wallet(site.issue(device_key, ds=ds), device_key))
    assert outcome == Refused(CardRefusal.UNTRUSTED_ISSUER)


def test_the_authority_itself_may_not_sign_cards(site, device_key):
    ds = DocumentSigner(site.iaca.key, site.iaca.certificate)
    outcome = site.read(site.wallet(site.issue(device_key, ds=ds), device_key))
    assert outcome == Refused(CardRefusal.UNTRUSTED_ISSUER)


@pytest.mark.parametrize(
    "deviation",
    [
        {"usage": [x509.ObjectIdentifier("1.0.18013.5.1.6")]},
        {"usage": [x509.ObjectIdentifier("1.0.18013.5.1.2"), ExtendedKeyUsageOID.SERVER_AUTH]},
        {"drop": (x509.ExtendedKeyUsage,)},
        {"drop": (x509.KeyUsage,)},
        {"drop": (x509.AuthorityKeyIdentifier,)},
        {"ca": True},
        {"dates": (NOW - 20 * DAY, NOW - DAY)},
    ],
    ids=["reader", "also-tls", "no-eku", "no-ku", "no-aki", "ca", "outdated"],
)
def test_signer_certificate_of_another_shape(site, issued, device_key, deviation):
    ds = certified(site, **deviation)
    card = resigned(issued, ds, lambda _: None)
    outcome = site.read(site.wallet(card, device_key))
    assert outcome == Refused(CardRefusal.ISSUER_PROFILE)


def test_signer_certificate_with_an_unknown_critical_extension(site, issued, device_key):
    # RFC 5280 4.2: refused while the path is built, so no issuer is known.
    card = resigned(issued, certified(site, unknown_critical=True), lambda _: None)
    outcome = site.read(site.wallet(card, device_key))
    assert outcome == Refused(CardRefusal.UNTRUSTED_ISSUER)


def test_root_that_is_no_authority(site):
    with pytest.raises(ConfigError, match="no certificate authority"):
        Trust([site.ds.certificate], site.status.certificate)
    with pytest.raises(ConfigError, match="no issuing authority"):
        Trust([], site.status.certificate)


def test_signer_certified_by_a_signer(site):
    """Even were a document signer trusted as a root, it could certify nobody."""
    posing = pki.Authority(site.ds.key, site.ds.certificate, Site("Example Ministry"))
    ds = pki.create_document_signer(posing, NOW - 20 * DAY, RANDOM)
    refusal = check_document_signer(ds.certificate, [site.ds.certificate], NOW)
    assert refusal is CardRefusal.UNTRUSTED_ISSUER
    refusal = check_document_signer(site.ds.certificate, [site.ds.certificate], NOW)
    assert refusal is CardRefusal.UNTRUSTED_ISSUER
    assert check_document_signer(site.ds.certificate, [site.iaca.certificate], NOW) is None


def test_root_past_its_dates(site, device_key):
    name = Site("Example Ministry")
    begin = NOW - 30 * DAY
    old = pki.create_iaca(name, begin, RANDOM, valid=29 * DAY)
    ds = pki.create_document_signer(old, begin, RANDOM)
    card = site.issue(device_key, ds=ds, start=NOW - 20 * DAY, end=NOW - 2 * DAY)
    trust = Trust([old.certificate], site.status.certificate, site.status_token())
    outcome = site.read(site.wallet(card, device_key), trust=trust)
    assert outcome == Refused(CardRefusal.ISSUER_PROFILE)


def test_signer_on_another_curve(site, issued, device_key):
    key = ec.generate_private_key(ec.SECP384R1())
    ds = certified(site, key=key)
    der = ds.certificate.public_bytes(serialization.Encoding.DER)
    signed = IssuerSigned.parse(cbor.load(issued))
    auth = replace(signed.issuer_auth, unprotected={cose.HEADER_X5CHAIN: der})
    card = cbor.encode(replace(signed, issuer_auth=auth).to_cbor())
    outcome = site.read(site.wallet(card, device_key))
    assert outcome == Refused(CardRefusal.ISSUER_PROFILE)


def test_control_deviating_builder_makes_good_signers_too(site, issued, device_key):
    card = resigned(issued, certified(site), lambda _: None)
    assert isinstance(site.read(site.wallet(card, device_key)), VerifiedCard)


def test_mso_signed_by_another_key_than_the_certificate_says(site, issued, device_key):
    impostor = DocumentSigner(session.new_key(RANDOM), site.ds.certificate)
    card = resigned(issued, impostor, lambda _: None)
    outcome = site.read(site.wallet(card, device_key))
    assert outcome == Refused(CardRefusal.MSO_SIGNATURE)


def test_mso_dated_outside_its_signers_life(site, issued, device_key):
    def change(mso):
        mso["validityInfo"]["signed"] = mdoc.encode_tdate(NOW - 100 * DAY)

    outcome = site.read(site.wallet(resigned(issued, site.ds, change), device_key))
    assert outcome == Refused(CardRefusal.MSO_SIGNATURE)


def test_clock_before_the_cards_date(site, issued, device_key):
    outcome = site.read(site.wallet(issued, device_key), now=NOW - 2 * DAY)
    assert outcome == Refused(CardRefusal.NOT_YET_VALID)


def test_clock_before_the_signers_date(site, device_key):
    ds = certified(site, dates=(NOW + 2 * DAY, NOW + 300 * DAY))
    card = site.issue(device_key, ds=ds, start=NOW + 3 * DAY)
    outcome = site.read(site.wallet(card, device_key))
    assert outcome == Refused(CardRefusal.NOT_YET_VALID)


def test_expiry_date_counts_beside_the_mso(site, device_key):
    content = elements() | {"expiry_date": (NOW - DAY).date()}
    outcome = site.read(site.wallet(site.issue(device_key, content), device_key))
    assert outcome == Refused(CardRefusal.EXPIRED)


# Digests and elements


def test_changed_element(site, issued, device_key):
    def change(document):
        (items,) = document.issuer_signed.name_spaces.values()
        forged = tuple(
            item("access_groups", ["everywhere"], i.digest_id)
            if i.identifier == "access_groups"
            else i
            for i in items
        )
        issuer_signed = replace(document.issuer_signed, name_spaces={DOC_TYPE: forged})
        return replace(document, issuer_signed=issuer_signed)

    outcome = site.read(site.wallet(issued, device_key, tampering(change)))
    assert outcome == Refused(CardRefusal.DIGEST)


def test_elements_of_another_card(site, issued, device_key):
    others = IssuerSigned.parse(cbor.load(site.issue(session.new_key(RANDOM))))

    def change(document):
        issuer_signed = replace(document.issuer_signed, name_spaces=others.name_spaces)
        return replace(document, issuer_signed=issuer_signed)

    outcome = site.read(site.wallet(issued, device_key, tampering(change)))
    assert outcome == Refused(CardRefusal.DIGEST)


def test_element_sent_twice(site, issued, device_key):
    def change(document):
        (items,) = document.issuer_signed.name_spaces.values()
        issuer_signed = replace(document.issuer_signed, name_spaces={DOC_TYPE: items + items[:1]})
        return replace(document, issuer_signed=issuer_signed)

    outcome = site.read(site.wallet(issued, device_key, tampering(change)))
    assert outcome == Refused(CardRefusal.UNREADABLE)


@pytest.mark.parametrize("missing", mdoc.MANDATORY_ELEMENTS)
def test_mandatory_element_held_back(site, issued, device_key, missing):
    def change(document):
        (items,) = document.issuer_signed.name_spaces.values()
        kept = tuple(i for i in items if i.identifier != missing)
        issuer_signed = replace(document.issuer_signed, name_spaces={DOC_TYPE: kept})
        return replace(document, issuer_signed=issuer_signed)

    outcome = site.read(site.wallet(issued, device_key, tampering(change)))
    assert outcome == Refused(CardRefusal.UNREADABLE)


@pytest.mark.parametrize(
    ("identifier", "value"),
    [
        ("credential_id", b"short"),
        ("credential_id", "0123456789abcdef"),
        ("access_groups", "hq-staff"),
        ("access_groups", [1]),
        ("expiry_date", "2030-01-01"),
        ("sealed_template", "text"),
        ("pin_verifier", None),
    ],
)
def test_signed_element_of_the_wrong_type(site, issued, device_key, identifier, value):
    signed = IssuerSigned.parse(cbor.load(issued))
    forged = tuple(
        item(identifier, value, i.digest_id) if i.identifier == identifier else i
        for i in signed.name_spaces[DOC_TYPE]
    )
    digests = {i.digest_id: hashlib.sha256(i.encoded.raw).digest() for i in forged}
    card = cbor.encode(replace(signed, name_spaces={DOC_TYPE: forged}).to_cbor())
    card = resigned(card, site.ds, lambda mso: mso["valueDigests"].update({DOC_TYPE: digests}))
    outcome = site.read(site.wallet(card, device_key))
    assert outcome == Refused(CardRefusal.UNREADABLE)


def test_elements_that_the_phone_signs_itself(site, issued, device_key):
    claimed = EncodedCbor.wrap(cbor.encode({DOC_TYPE: {"access_groups": ["everywhere"]}}))

    def change(document):
        return replace(document, device_signed=replace(document.device_signed, name_spaces=claimed))

    outcome = site.read(site.wallet(issued, device_key, tampering(change)))
    assert outcome == Refused(CardRefusal.NAMESPACE)


def test_holder_who_gives_nothing(site, issued, device_key):
    outcome = site.read(site.wallet(issued, device_key, tampering(lambda _: None)))
    assert outcome == Refused(CardRefusal.UNREADABLE)
