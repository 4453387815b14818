"""ISO/IEC 18013-5:2021 Annex D, carried by public test suites; read from outside the repository."""

import hashlib
import json
import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from gate.card import cbor, cose, engagement, mdoc, request, response, session
from gate.card.cbor import EncodedCbor
from gate.card.cose import Mac0
from gate.card.session import Cipher, Transcript

SHARED = Path(os.environ.get("GATE_SHARED_DIR", Path(__file__).parents[3] / "shared"))
FILE = SHARED / "vectors" / "iso18013-5-annexD.json"

pytestmark = pytest.mark.skipif(
    not FILE.exists(), reason=f"the Annex D vectors may not be redistributed and are not at {FILE}"
)


@pytest.fixture(scope="module")
def content():
    return json.loads(FILE.read_text())


@pytest.fixture(scope="module")
def vectors(content):
    return {k: bytes.fromhex(v) for k, v in content["vectors"].items() if isinstance(v, str)}


@pytest.fixture(scope="module")
def computed(content):
    return {
        k: bytes.fromhex(v) for k, v in content["computed_here"].items() if not k.startswith("note")
    }


def private_key(vectors, name):
    number = int.from_bytes(vectors[f"{name}_d"], "big")
    return ec.derive_private_key(number, ec.SECP256R1())


@pytest.fixture(scope="module")
def transcript(vectors):
    return Transcript(cbor.load(vectors["session_transcript_bytes"]).content)


@pytest.fixture(scope="module")
def ciphers(vectors, transcript):
    reader = private_key(vectors, "ephemeral_reader_key")
    device = private_key(vectors, "ephemeral_device_key")
    return (
        Cipher.for_reader(reader, device.public_key(), transcript),
        Cipher.for_device(device, reader.public_key(), transcript),
    )


def test_negotiated_transcript_is_rebuilt_byte_for_byte(vectors, transcript):
    device_engagement, reader_key, handover = cbor.load(transcript.raw)
    rebuilt = Transcript.of(device_engagement, reader_key, engagement.handover_bytes(*handover))
    assert rebuilt == transcript
    assert EncodedCbor.wrap(rebuilt.raw).raw == vectors["session_transcript_bytes"]


def test_transcript_salt(transcript, computed):
    assert transcript.salt == computed["salt_sha256_SessionTranscriptBytes"]


def test_keys_are_encoded_as_the_standard_does(vectors):
    device = private_key(vectors, "ephemeral_device_key").public_key()
    assert session.encode_key_bytes(device).raw == vectors["e_device_key_bytes"]
    decoded = cose.decode_key(cbor.load(vectors["e_device_key_bytes"]).load())
    assert decoded == device


def test_session_establishment_opens(vectors, ciphers):
    key, ciphertext = session.decode_establishment(vectors["session_establishment"])
    expected = private_key(vectors, "ephemeral_reader_key").public_key()
    assert cose.decode_key(key.load()) == expected
    assert ciphers[1].open(ciphertext) == vectors["device_request"]


def test_session_data_opens(vectors, ciphers):
    ciphertext, status = session.decode_data(vectors["session_data"])
    assert status is None
    assert ciphers[0].open(ciphertext) == vectors["device_response"]


def test_sealing_gives_the_published_ciphertexts(vectors, transcript):
    reader = private_key(vectors, "ephemeral_reader_key")
    device = private_key(vectors, "ephemeral_device_key")
    sealed = Cipher.for_reader(reader, device.public_key(), transcript).seal(
        vectors["device_request"]
    )
    assert sealed == session.decode_establishment(vectors["session_establishment"])[1]
    sealed = Cipher.for_device(device, reader.public_key(), transcript).seal(
        vectors["device_response"]
    )
    assert session.encode_data(sealed) == vectors["session_data"]


def test_session_termination(vectors):
    assert session.decode_data(vectors["session_termination"]) == (None, 20)
    assert session.encode_data(None, 20) == vectors["session_termination"]


def test_reader_authentication(vectors, computed, transcript):
    items, asked, auth = request.parse_device_request(vectors["device_request"])
    assert asked.doc_type == "org.iso.18013.5.1.mDL"
    assert asked.retains  # the vector's reader wants to keep five of the elements
    assert items.content == vectors["items_request"]
    signed = request.reader_authentication(transcript, items)
    assert signed == computed["ReaderAuthenticationBytes"]
    certificate = x509.load_der_x509_certificate(cose.x5chain(auth))
    assert auth.is_signed_by(certificate.public_key(), detached_payload=signed)
    assert not auth.is_signed_by(certificate.public_key(), detached_payload=signed + b"\0")


def test_issuer_signature_and_digests(vectors):
    document = mdoc.parse_device_response(vectors["device_response"])
    auth = document.issuer_signed.issuer_auth
    assert cose.x5chain(auth) == vectors["ds_cert"]
    certificate = x509.load_der_x509_certificate(vectors["ds_cert"])
    assert auth.is_signed_by(certificate.public_key())
    mso = mdoc.MobileSecurityObject.parse(auth.payload)
    assert mso.doc_type == document.doc_type == "org.iso.18013.5.1.mDL"
    (items,) = document.issuer_signed.name_spaces.values()
    assert len(items) == 6
    for item in items:
        listed = mso.digests["org.iso.18013.5.1"][item.digest_id]
        assert hashlib.sha256(item.encoded.raw).digest() == listed


def test_device_mac(vectors, computed, transcript):
    document = mdoc.parse_device_response(vectors["device_response"])
    signed = response.device_authentication(
        transcript, document.doc_type, document.device_signed.name_spaces
    )
    assert signed == computed["DeviceAuthenticationBytes"]
    mso = mdoc.MobileSecurityObject.parse(document.issuer_signed.issuer_auth.payload)
    device_key = cose.decode_key(mso.device_key)
    assert device_key == private_key(vectors, "static_device_key").public_key()
    reader = private_key(vectors, "ephemeral_reader_key")
    key = session.mac_key(reader, device_key, transcript)
    assert key == computed["EMacKey"]
    assert document.device_signed.mac.is_tagged_by(key, detached_payload=signed)
    made = Mac0.create(key, signed)
    assert made.authenticator == document.device_signed.mac.authenticator
