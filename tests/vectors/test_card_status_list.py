"""The examples of the Token Status List draft; read from outside the repository."""

import base64
import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from enrollment.status_issuer import compress, pack_statuses
from gate.card import cbor
from gate.card.cbor import MalformedCbor
from gate.card.status_list import StatusList, open_status_list, unpack_status_list

SHARED = Path(os.environ.get("GATE_SHARED_DIR", Path(__file__).parents[3] / "shared"))
FILE = SHARED / "vectors" / "token-status-list.json"

pytestmark = pytest.mark.skipif(
    not FILE.exists(), reason=f"the Token Status List vectors are not at {FILE}"
)


@pytest.fixture(scope="module")
def vectors():
    return json.loads(FILE.read_text())


@pytest.fixture(scope="module")
def signer(vectors):
    jwk = vectors["example_key_jwk"]
    x, y = (
        int.from_bytes(base64.urlsafe_b64decode(jwk[name] + "=="), "big") for name in ("x", "y")
    )
    return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()


@pytest.mark.parametrize(("name", "bits"), [("status_list_1bit", 1), ("status_list_2bit", 2)])
def test_packing_both_ways(vectors, name, bits):
    vector = vectors[name]
    assert pack_statuses(vector["statuses"], bits).hex() == vector["byte_array"]
    read_bits, entries = unpack_status_list(cbor.load(bytes.fromhex(vector["cbor"])))
    assert (read_bits, entries.hex()) == (bits, vector["byte_array"])
    listed = StatusList("u", None, None, read_bits, entries)
    assert [listed[i] for i in range(len(vector["statuses"]))] == vector["statuses"]
    own = unpack_status_list(compress(entries, bits))
    assert own == (bits, entries)


def test_long_list(vectors):
    bits, entries = unpack_status_list(
        cbor.load(bytes.fromhex(vectors["status_list_1bit_long_cbor"]))
    )
    listed = StatusList("u", None, None, bits, entries)
    assert len(entries) * 8 == 2**20
    assert (listed[0], listed[1993], listed[1994]) == (1, 1, 0)


def test_signed_token(vectors, signer):
    listed = open_status_list(bytes.fromhex(vectors["status_list_token_cwt"]), signer)
    assert listed.uri == "https://example.com/statuslists/1"
    assert (listed.issued_at.timestamp(), listed.expires_at.timestamp()) == (1686920170, 2291720170)
    assert [listed[i] for i in range(16)] == vectors["status_list_1bit"]["statuses"]


def test_signed_token_with_one_flipped_bit(vectors, signer):
    token = bytearray.fromhex(vectors["status_list_token_cwt"])
    token[-1] ^= 1
    with pytest.raises(MalformedCbor, match="not signed"):
        open_status_list(bytes(token), signer)


def test_another_cwt_is_no_status_list(vectors, signer):
    with pytest.raises(MalformedCbor, match="not a status list"):
        open_status_list(bytes.fromhex(vectors["referenced_token_cwt"]), signer)
