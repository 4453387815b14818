"""Status lists that are no status lists, and dates that are no dates."""

import zlib
from datetime import UTC, datetime

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from gate.card import mdoc, status_list
from gate.card.cbor import MalformedCbor
from gate.card.status_list import MAX_INFLATED_BYTES, StatusList, unpack_status_list


def test_inflating_stops_at_the_cap():
    most = zlib.compress(bytes(MAX_INFLATED_BYTES), 9)
    assert len(unpack_status_list({"bits": 2, "lst": most})[1]) == MAX_INFLATED_BYTES
    bomb = zlib.compress(bytes(MAX_INFLATED_BYTES + 1), 9)
    assert len(bomb) < 400
    with pytest.raises(MalformedCbor, match="too far"):
        unpack_status_list({"bits": 2, "lst": bomb})


@pytest.mark.parametrize(
    "content",
    [
        {"bits": 3, "lst": zlib.compress(b"\0")},
        {"bits": True, "lst": zlib.compress(b"\0")},
        {"bits": 2, "lst": b"not zlib"},
        {"bits": 2, "lst": zlib.compress(b"\0")[:-1]},
        {"bits": 2, "lst": zlib.compress(b"\0") + b"\0"},
        {"bits": 2, "lst": "text"},
        {"lst": zlib.compress(b"\0")},
        {"bits": 2},
    ],
)
def test_malformed_lists(content):
    with pytest.raises(MalformedCbor):
        unpack_status_list(content)


def test_entries_beyond_the_list_do_not_exist():
    moment = datetime(2026, 3, 2, tzinfo=UTC)
    listed = StatusList("u", moment, moment, 2, b"\x1b")
    assert [listed[i] for i in range(4)] == [3, 2, 1, 0]
    for index in (-1, 4, 2**64):
        with pytest.raises(IndexError):
            listed[index]


def test_token_longer_than_the_cap():
    key = ec.derive_private_key(5, ec.SECP256R1()).public_key()
    token = b"\xd2" + bytes(status_list.MAX_TOKEN_BYTES + 1)
    with pytest.raises(MalformedCbor, match="at most"):
        status_list.open_status_list(token, key)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-02T09:00:00Z", datetime(2026, 3, 2, 9, tzinfo=UTC)),
        ("2026-03-02T18:00:00+09:00", datetime(2026, 3, 2, 9, tzinfo=UTC)),
        ("2026-03-02T09:00:00.500Z", datetime(2026, 3, 2, 9, 0, 0, 500_000, tzinfo=UTC)),
    ],
)
def test_dates(text, expected):
    assert mdoc.decode_tdate(cbor2.CBORTag(0, text)) == expected
    assert mdoc.decode_expiry(cbor2.CBORTag(0, text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-03-02",
        "2026-03-02T09:00:00",  # no zone
        "2026-13-02T09:00:00Z",
        "2026-03-02T25:00:00Z",
        "2026-03-02T09:00:00+99:00",
        "0001-01-01T00:00:00+14:00",  # before the first moment that can be told
        "٢٠٢٦-03-02T09:00:00Z",  # digits, but not these
        "2026-03-02T09:00:00Z\n",
    ],
)
def test_dates_that_are_none(text):
    with pytest.raises(MalformedCbor):
        mdoc.decode_tdate(cbor2.CBORTag(0, text))
    with pytest.raises(MalformedCbor):
        mdoc.decode_tdate(text)


@pytest.mark.parametrize("text", ["2026-3-2", "2026-02-30", "9999-12-31", "2026-03-02T09:00:00Z"])
def test_full_dates_that_are_none(text):
    with pytest.raises(MalformedCbor):
        mdoc.decode_expiry(cbor2.CBORTag(1004, text))


@given(st.text(max_size=30), st.sampled_from([0, 1004]))
def test_any_text_as_date(text, tag):
    try:
        assert mdoc.decode_expiry(cbor2.CBORTag(tag, text)).tzinfo is UTC
    except MalformedCbor:
        return


@given(st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1)))
def test_tdates_both_ways(moment):
    whole = moment.replace(microsecond=0, tzinfo=UTC)
    assert mdoc.decode_tdate(mdoc.encode_tdate(whole)) == whole
