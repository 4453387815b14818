"""The strict loader and the COSE messages on top of it."""

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from gate.card import cbor, cose
from gate.card.cbor import EncodedCbor, MalformedCbor
from gate.card.cose import Mac0, Sign1

KEY = ec.derive_private_key(18013, ec.SECP256R1())


@pytest.mark.parametrize(
    ("hexed", "why"),
    [
        ("", "nothing"),
        ("0100", "trailing byte"),
        ("a201010102", "duplicate key"),
        ("a2f5010102", "duplicate key in disguise: true and 1"),
        ("9f01ff", "indefinite array"),
        ("bf0102ff", "indefinite map"),
        ("5f4101ff", "indefinite bytes"),
        ("7f6161ff", "indefinite text"),
        ("81" * 17 + "01", "too deep"),
        ("a1820101", "torn"),
        ("9b00000000ffffffff", "a length beyond the data"),
        ("5bffffffffffffffff", "a length beyond everything"),
        ("6180", "no UTF-8"),
        ("ff", "a lone break"),
        ("d8186161", "tag 24 around text"),
        ("d9001841f6", "tag 24 with a long head"),
        ("d8185801f6", "tag 24 with a long length"),
        ("c249010000000000000000", "a bignum"),
        ("d81c8101", "a shared reference"),
        ("d8236161", "a pattern"),
        ("d9d9f701", "self-described CBOR"),
        ("d28440a0f640", "a tagged COSE_Sign1 where none belongs"),
    ],
)
def test_refused(hexed, why):
    with pytest.raises(MalformedCbor):
        pytest.fail(f"{why}: read as {cbor.load(bytes.fromhex(hexed))!r}")


def test_every_foreign_tag_is_refused():
    accepted = []
    for tag in range(70_000):
        try:
            cbor.load(cbor2.dumps(cbor2.CBORTag(tag, "2026-03-02")))
        except MalformedCbor:
            continue
        accepted.append(tag)
    assert accepted == [cbor.TAG_TDATE, cbor.TAG_FULL_DATE]


def test_depth_and_size_at_their_limits():
    assert cbor.load(bytes.fromhex("81" * 16 + "01")) is not None
    longest = cbor.byte_string(bytes(cbor.MAX_BYTES - 3))
    assert len(longest) == cbor.MAX_BYTES
    assert len(cbor.load(longest)) == cbor.MAX_BYTES - 3
    with pytest.raises(MalformedCbor, match="at most"):
        cbor.load(longest + b"\x00")


def test_tag_24_keeps_the_received_bytes():
    received = bytes.fromhex("d81843a11801")
    item = cbor.load(b"\x82" + received + b"\x01")[0]
    assert isinstance(item, EncodedCbor)
    assert item.raw == received
    with pytest.raises(MalformedCbor):
        item.load()  # a1 18 01 is a torn map: strict inside as well


def test_errors_do_not_quote_the_data():
    with pytest.raises(MalformedCbor) as caught:
        cbor.load(b"\xa2\x66secret\x01\x66secret\x02")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "secret" not in repr(EncodedCbor.wrap(b"secret"))


@given(st.binary(max_size=400))
def test_any_bytes_give_a_value_or_one_error(data):
    try:
        cbor.load(data)
    except MalformedCbor:
        return


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(-9, 99), inner),
    max_leaves=20,
)


@given(VALUES)
def test_encoder_and_loader_agree(value):
    encoded = cbor.encode(value)
    assert cbor.load(encoded) == value
    assert cbor.encode(cbor.load(encoded)) == encoded
    wrapped = EncodedCbor.wrap(encoded)
    assert cbor.load(cbor.encode([wrapped]))[0] == wrapped
    assert cbor.load(wrapped.raw).load() == value


def test_encoder_is_deterministic():
    assert cbor.encode({"b": 1, "a": 2}) == cbor.encode({"a": 2, "b": 1})
    assert cbor.encode({-1: 0, 1: 0}).hex() == "a201002000"
    with pytest.raises(TypeError, match="object"):
        cbor.encode(object())


@given(st.binary(max_size=100), st.booleans())
def test_sign1_round_trip(payload, detached):
    made = Sign1.create(KEY, payload, detached=detached)
    read = Sign1.parse(cbor.load(cbor.encode(made.to_cbor())))
    assert len(read.authenticator) == 64
    given_apart = payload if detached else None
    assert read.is_signed_by(KEY.public_key(), detached_payload=given_apart)
    other = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    assert not read.is_signed_by(other, detached_payload=given_apart)


def test_sign1_never_takes_two_payloads_or_none():
    embedded = Sign1.create(KEY, b"payload")
    assert not embedded.is_signed_by(KEY.public_key(), detached_payload=b"payload")
    detached = Sign1.create(KEY, b"payload", detached=True)
    assert not detached.is_signed_by(KEY.public_key())


@pytest.mark.parametrize("algorithm", [-35, -8, 5, "ES256", None, True])
def test_sign1_of_another_algorithm(algorithm):
    made = Sign1.create(KEY, b"payload", protected={cose.HEADER_ALG: algorithm})
    assert not made.is_signed_by(KEY.public_key())


def test_signature_of_a_mac_is_no_signature():
    key = bytes(32)
    mac = Mac0.create(key, b"payload")
    assert mac.is_tagged_by(key, detached_payload=b"payload")
    assert not mac.is_tagged_by(bytes(31) + b"\x01", detached_payload=b"payload")
    assert not mac.is_tagged_by(key, detached_payload=b"payloae")
    as_sign1 = Sign1.parse(mac.to_cbor())
    assert not as_sign1.is_signed_by(KEY.public_key(), detached_payload=b"payload")


@pytest.mark.parametrize(
    "message",
    [
        [b"", {}, None],
        [b"\xa0\x00", {}, None, b""],
        [b"\x80", {}, None, b""],
        [b"\xa1\x02\x81\x18\x21", {}, None, b""],  # crit
        [b"\xa1\x01\x26", {1: -7}, None, b""],  # alg in both buckets
        [b"", {}, "payload", b""],
        {},
        None,
    ],
)
def test_malformed_cose(message):
    with pytest.raises(MalformedCbor):
        Sign1.parse(message)


def test_cose_key_round_trip_keeps_leading_zeros():
    number = 1
    while True:
        public = ec.derive_private_key(number, ec.SECP256R1()).public_key()
        if public.public_numbers().x < 1 << 248 or public.public_numbers().y < 1 << 248:
            break
        number += 1
    encoded = cose.encode_key(public)
    assert len(encoded[-2]) == len(encoded[-3]) == 32
    assert cose.decode_key(encoded) == public


@pytest.mark.parametrize(
    "change",
    [
        {1: 1},
        {-1: 2},
        {-2: bytes(31)},
        {-2: bytes(33)},
        {-2: bytes(32)},  # not on the curve
        {-3: True},  # compressed
        {-3: None},
    ],
)
def test_cose_key_refused(change):
    with pytest.raises(MalformedCbor):
        cose.decode_key(cose.encode_key(KEY.public_key()) | change)


def test_cose_key_of_another_curve_is_not_encoded():
    with pytest.raises(ValueError, match="P-256"):
        cose.encode_key(ec.derive_private_key(3, ec.SECP384R1()).public_key())


def test_x5chain_holds_exactly_one_certificate():
    for value, expected in ((b"der", b"der"), ([b"der"], b"der")):
        made = Sign1.create(KEY, b"", unprotected={cose.HEADER_X5CHAIN: value})
        assert cose.x5chain(made) == expected
    for value in ([], [b"leaf", b"middle"], "der", None):
        made = Sign1.create(KEY, b"", unprotected={cose.HEADER_X5CHAIN: value})
        with pytest.raises(MalformedCbor):
            cose.x5chain(made)
