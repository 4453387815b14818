"""No bytes a card can send make read_card raise, or accept anything the issuer did not sign."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enrollment import pki
from enrollment.mdoc_issuer import issue_mdoc
from enrollment.status_issuer import sign_status_list
from enrollment.wallet import Wallet
from firmware_bridge.sim.card import CardFault, FaultKind, SimCard
from gate.card import cbor, engagement, mdoc, session
from gate.card.reader import Trust, read_card
from gate.card.response import Expectation, verify_response
from gate.card.session import Transcript
from gate.card.status_list import open_status_list
from gate.card.verified import CardRefusal, Refused, VerifiedCard
from gate.errors import ProtocolViolation

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)
URI = "https://cards.example/status/1"
APDUS_OF_A_TAP = 18  # a small card, so that every APDU can be broken in turn

FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def nameless(outcome):
    """Take away what differs from tap to tap: every session has a name of its own."""
    return replace(outcome, session_id=b"") if isinstance(outcome, VerifiedCard) else outcome


class Setup:
    """One site and one good card, made once."""

    def __init__(self):
        rand = random.Random(5).randbytes  # fixed bytes make runs repeatable
        begin, site = NOW - 30 * DAY, pki.Site("Example Ministry")
        self.random = rand
        iaca = pki.create_iaca(site, begin, rand)
        reader_ca = pki.create_reader_authority(site, begin, rand)
        self.reader = pki.create_reader(reader_ca, "gate-1", begin, rand)
        self.signer = pki.create_status_signer(iaca, begin, rand)
        self.token = sign_status_list([0] * 8, self.signer, URI, NOW - DAY, 2 * DAY)
        self.trust = Trust([iaca.certificate], self.signer.certificate, self.token)
        key = session.new_key(rand)
        content = {
            "credential_id": rand(16),
            "access_groups": ["hq"],
            "expiry_date": (NOW + 50 * DAY).date(),
            "sealed_template": rand(64),
        }
        ds = pki.create_document_signer(iaca, begin, rand)
        public = key.public_key()
        card = issue_mdoc(content, public, ds, 3, URI, NOW - DAY, NOW + 50 * DAY, rand)
        self.wallet = Wallet(key, card, [reader_ca.certificate], lambda: NOW, rand)
        self.good = self.read(SimCard(self.wallet))
        assert isinstance(self.good, VerifiedCard)
        self.capture_response()

    def read(self, channel, **kwargs):
        return nameless(read_card(channel, self.reader, self.trust, NOW, self.random, **kwargs))

    def capture_response(self):
        """Keep one decrypted answer and what it is checked against: a malicious holder's view."""
        captured = {}

        class Holder(Wallet):
            def _answer(self, content, transcript, e_reader_key):
                captured["transcript"] = transcript
                captured["document"] = super()._answer(content, transcript, e_reader_key)
                return captured["document"]

        holder = self.wallet
        holder.__class__ = Holder
        self.read(SimCard(holder))
        holder.__class__ = Wallet
        self.response = mdoc.encode_device_response(captured["document"])
        self.expected = Expectation(
            doc_type=self.trust.doc_type,
            roots=self.trust.iaca_roots,
            status=self.trust.status_list(NOW),
            transcript=captured["transcript"],
            e_reader_key=session.new_key(self.random),
            now=NOW,
        )
        assert nameless(verify_response(self.response, self.expected)) == self.good


@pytest.fixture(scope="module")
def world():
    return Setup()


def damaged(data: bytes, edits) -> bytes:
    """Apply edits: (kind, place 0..1, byte)."""
    out = bytearray(data)
    for kind, place, byte in edits:
        at = int(place * len(out))
        if kind == "flip" and at < len(out):
            out[at] ^= byte or 1
        elif kind == "insert":
            out.insert(at, byte)
        elif kind == "delete":
            del out[at : at + 1 + byte % 8]
        elif kind == "cut":
            del out[at:]
        elif kind == "double":
            out[at:at] = out[at : at + byte]
    return bytes(out)


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "insert", "delete", "cut", "double"]),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=4,
)


class Scripted:
    """A channel that says whatever it was given, then nothing more."""

    def __init__(self, answers):
        self.answers = iter(answers)

    def exchange(self, _apdu):
        return next(self.answers, b"\x6f\x00")


class Damaging:
    """A real card behind a channel that damages the answer to one APDU."""

    def __init__(self, card, at, edits):
        self.card, self.at, self.edits, self.count = card, at, edits, 0

    def exchange(self, apdu):
        answer = self.card.exchange(apdu)
        self.count += 1
        return damaged(answer, self.edits) if self.count - 1 == self.at else answer


def test_a_tap_has_as_many_apdus_as_these_tests_assume(world):
    card = SimCard(world.wallet)
    world.read(card)
    assert card.apdus == APDUS_OF_A_TAP


@pytest.mark.parametrize("at", range(APDUS_OF_A_TAP))
@pytest.mark.parametrize("kind", list(FaultKind))
def test_every_fault_at_every_apdu(world, kind, at):
    card = SimCard(world.wallet, CardFault(kind, at), sleep=lambda _: None)
    outcome = world.read(card)
    if isinstance(outcome, VerifiedCard):
        # Damage that carries no meaning: data behind a plain status word, a GET RESPONSE hint.
        assert outcome == world.good
        assert kind in (FaultKind.TRAILING, FaultKind.DUPLICATE, FaultKind.FLIP_BIT)
    else:
        assert outcome == Refused(CardRefusal.UNREADABLE)


@pytest.mark.parametrize("kind", [FaultKind.LEAVE_FIELD, FaultKind.STALL, FaultKind.TRUNCATE])
def test_these_faults_never_pass(world, kind):
    for at in range(APDUS_OF_A_TAP):
        card = SimCard(world.wallet, CardFault(kind, at), sleep=lambda _: None)
        assert world.read(card) == Refused(CardRefusal.UNREADABLE)


@FUZZ
@given(st.lists(st.binary(max_size=64).map(lambda b: b + b"\x90\x00"), max_size=12))
def test_arbitrary_answers(world, answers):
    assert world.read(Scripted(answers)) == Refused(CardRefusal.UNREADABLE)


@FUZZ
@given(at=st.integers(0, APDUS_OF_A_TAP - 1), edits=EDITS)
def test_damaged_apdus(world, at, edits):
    outcome = world.read(Damaging(SimCard(world.wallet), at, edits))
    assert outcome in (world.good, Refused(CardRefusal.UNREADABLE))


@settings(FUZZ, max_examples=500)
@given(EDITS)
def test_damaged_document_inside_a_good_session(world, edits):
    """The holder is the attacker: the session is genuine, the answer is not."""
    outcome = nameless(verify_response(damaged(world.response, edits), world.expected))
    assert outcome == world.good or isinstance(outcome, Refused)


@FUZZ
@given(st.binary(max_size=300))
def test_arbitrary_document(world, content):
    assert verify_response(content, world.expected) == Refused(CardRefusal.UNREADABLE)


CBOR_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=40)
    | st.text(max_size=10)
    | st.sampled_from(
        ["version", "1.0", "documents", "status", "issuerSigned", "nameSpaces", "docType"]
    ),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(max_size=6) | st.integers(-3, 40), inner, max_size=5)
    ),
    max_leaves=15,
)


@settings(FUZZ, max_examples=100)
@given(documents=CBOR_VALUES, issuer=CBOR_VALUES, device=CBOR_VALUES)
def test_well_formed_nonsense(world, documents, issuer, device):
    document = {"docType": "x", "issuerSigned": issuer, "deviceSigned": device}
    for content in (documents, [document], [documents]):
        response = cbor.encode({"version": "1.0", "status": 0, "documents": content})
        assert isinstance(verify_response(response, world.expected), Refused)


@FUZZ
@given(edits=EDITS)
def test_damaged_engagement(world, edits):
    select = damaged(world.wallet.engage(), edits)
    try:
        phone = engagement.decode_handover_select(select)
    except ProtocolViolation:
        return
    assert phone.limits.command_bytes >= 255


@FUZZ
@given(edits=EDITS)
def test_damaged_status_list(world, edits):
    token = damaged(world.token, edits)
    try:
        listed = open_status_list(token, world.signer.key.public_key())
    except ProtocolViolation:
        return
    assert listed.entries == bytes(2)
    assert listed.uri == URI


@FUZZ
@given(edits=EDITS, message=st.binary(max_size=400))
def test_the_holder_survives_a_hostile_reader(world, edits, message):
    """The wallet's side: no message from a reader makes it raise or give anything."""
    for hostile in (message, damaged(cbor.encode({"eReaderKey": 1, "data": b""}), edits)):
        world.wallet.engage()
        data, status = session.decode_data(world.wallet.handle(hostile))
        assert data is None
        assert status in (10, 11, 20)


def test_trailing_and_duplicate_cbor(world):
    assert verify_response(world.response + b"\x00", world.expected) == Refused(
        CardRefusal.UNREADABLE
    )
    doubled = world.response.replace(b"\xa3", b"\xa4", 1) + b"\x66status\x00"
    assert doubled != world.response
    assert verify_response(doubled, world.expected) == Refused(CardRefusal.UNREADABLE)


def test_transcript_of_another_session(world):
    other = Transcript(world.expected.transcript.raw[:-1] + b"\xf5")
    expected = Expectation(**{**vars(world.expected), "transcript": other})
    assert verify_response(world.response, expected) == Refused(CardRefusal.DEVICE_AUTH)
