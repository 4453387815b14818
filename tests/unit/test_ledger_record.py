"""The closed schema: what fits comes back the same, what does not is refused, nothing else fits."""

import json
import math
import random
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.errors import LedgerFault
from gate.ledger import record as rec
from gate.ledger.columns import Column, Hex, Within
from gate.ledger.encoding import (
    BATCH_MAX,
    BODY_MAX_BYTES,
    VERSION,
    Entry,
    batch_of,
    decode,
    encode,
)
from gate.ledger.record import (
    Decided,
    PolicyChanged,
    Probed,
    Pruned,
    SelfTested,
    Started,
    VerifierDied,
)
from gate.ledger.verify import schema as audit
from gate.passage.decision import Deny, DenyReason, Grant, Lane
from gate.verifier.certificate import DeathCertificate

BATCH = 1_963_584


def values(column: Column, name: str) -> st.SearchStrategy[Any]:
    if name == "bytes_in":
        return st.integers(0, 63).map(lambda kib: kib * rec.KIB) | st.just(65_535)
    match column.rule:
        case Within(low=low, high=high):
            step = 256 if high == rec.SEQ_MAX else 1
            return st.integers(low // step, high // step).map(lambda n: n * step)
        case Hex(digits=digits):
            return st.text("0123456789abcdef", min_size=digits, max_size=digits)
        case rule:
            plain = st.booleans() if rule is bool else st.sampled_from(list(rule))
            return st.none() | plain if column.optional else plain


def fits(record_type: type, fields: dict[str, Any]) -> bool:
    if record_type is SelfTested:
        return bool(fields["held"] <= fields["tried"])
    if record_type is Pruned:
        return bool(fields["below"] % rec.TILE == 0)
    if record_type is VerifierDied:
        return fields["bytes_in"] % rec.KIB == 0 or fields["bytes_in"] == 65_535
    if record_type is not Decided:
        return True
    granted, reason, lane = fields["granted"], fields["reason"], fields["lane"]
    return granted is (reason is None) and not (granted and lane is Lane.NONE)


records = st.sampled_from(list(rec.SCHEMA.items())).flatmap(
    lambda item: (
        st.fixed_dictionaries({name: values(column, name) for name, column in item[1].items()})
        .map(lambda fields: fields | {"card": 0} if fields.get("granted") else fields)
        .filter(lambda fields: fits(item[0], fields))
        .map(lambda fields: item[0](**fields))
    )
)


@settings(deadline=None)
@given(st.integers(0, rec.SEQ_MAX), st.integers(0, BATCH_MAX), records)
def test_a_record_comes_back_the_same_and_the_auditor_agrees(
    seq: int, batch: int, record: rec.Record
) -> None:
    body = encode(seq, batch, record)
    assert len(body) <= BODY_MAX_BYTES
    assert decode(body) == Entry(seq, batch, record)
    found = audit.read_record(body)
    assert found is not None
    assert (found["seq"], found["batch"]) == (seq, batch)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(LedgerFault):
        decode(body)
    assert audit.read_record(body) is None


@settings(deadline=None)
@given(records, st.data())
def test_a_damaged_record_is_refused_or_is_another_canonical_record(
    record: rec.Record, data: st.DataObject
) -> None:
    body = bytearray(encode(7, BATCH, record))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        match data.draw(st.sampled_from(["flip", "drop", "add"])):
            case "flip":
                body[place] ^= data.draw(st.integers(1, 255))
            case "drop":
                del body[place]
            case _:
                body.insert(place, data.draw(st.sampled_from(b' ,:"0{}')))
    raw = bytes(body)
    try:
        entry = decode(raw)
    except LedgerFault:
        assert audit.read_record(raw) is None
    else:
        assert encode(entry.seq, entry.batch, entry.record) == raw
        assert audit.read_record(raw) is not None


GOOD = encode(3, BATCH, Probed(1, 8, 8, 0, 0, 2, 0))


@pytest.mark.parametrize(
    "body",
    [
        GOOD.replace(b'"v":1', b'"v":2'),
        GOOD.replace(b'"v":1', b'"v":true'),
        GOOD.replace(b'"v":1', b'"v":1.0'),
        GOOD.replace(b'"needles":1', b'"needles":1.0'),
        GOOD.replace(b'"needles":1', b'"needles":true'),
        GOOD.replace(b'"needles":1', b'"needles":"1"'),
        GOOD.replace(b'"needles":1', b'"needles":65536'),
        GOOD.replace(b'"needles":1', b'"needles":-1'),
        GOOD.replace(b'"needles":1', b'"needles":1e0'),
        GOOD.replace(b'"needles":1', b'"needles":NaN'),
        GOOD.replace(b'"needles":1', b'"needles":[1]'),
        GOOD.replace(b'"needles":1', b'"needles":1,"needles":1'),
        GOOD.replace(b'"needles":1', b'"needles":1,"note":"x"'),
        GOOD.replace(b'"kind":"probed"', b'"kind":"seen"'),
        GOOD.replace(b'"kind":"probed"', b'"kind":["probed"]'),
        GOOD.replace(b'"seq":3', b'"seq":9007199254740992'),
        GOOD.replace(b"probed", b"prob\\u0065d"),
        GOOD + b"\n",
        b" " + GOOD,
        GOOD.replace(b",", b", "),
        json.dumps(dict(reversed(json.loads(GOOD).items())), separators=(",", ":")).encode(),
        b"null",
        b"[]",
        b"[" * 900,
    ],
)
def test_other_encodings_are_refused(body: bytes) -> None:
    assert decode(GOOD).record == Probed(1, 8, 8, 0, 0, 2, 0)
    assert body != GOOD
    with pytest.raises(LedgerFault, match="closed schema"):
        decode(body)
    assert audit.read_record(body) is None


def test_the_auditors_table_is_the_writers_table() -> None:
    assert audit.SCHEMA.keys() == rec.KINDS.keys()
    for kind, record_type in rec.KINDS.items():
        own = audit.SCHEMA[kind]
        assert own.keys() == rec.SCHEMA[record_type].keys()
        for name, column in rec.SCHEMA[record_type].items():
            match column.rule:
                case Within(low=low, high=high):
                    assert own[name] == audit.Whole(low, high)
                case Hex(digits=digits):
                    assert (own[name], digits) == (audit.Sha256(), 64)
                case rule if rule is bool:
                    assert own[name] == audit.Flag()
                case rule:
                    words = frozenset(word.value for word in rule)
                    assert own[name] == audit.Words(words, column.optional)
    assert audit.COMMON["seq"].high == rec.SEQ_MAX
    assert audit.COMMON["batch"].high == BATCH_MAX
    assert audit.COMMON["v"] == audit.Whole(VERSION, VERSION)


def bits(column: Column) -> float:
    match column.rule:
        case Within(low=low, high=high):
            return math.log2(high - low + 1)
        case Hex(digits=digits):
            return 4 * digits
        case rule:
            return math.log2(2 if rule is bool else len(rule) + column.optional)


def test_no_record_has_room_for_an_embedding() -> None:
    """The smallest template, one sign bit for each of 512 dimensions, needs 512 bits."""
    for record_type, schema in rec.SCHEMA.items():
        room = sum(bits(column) for column in schema.values())
        if record_type in (Started, PolicyChanged):
            room -= bits(schema["policy"])  # one value for all passages under one policy
        assert room < 128, record_type.__name__


EMBEDDING = tuple(random.Random(0).uniform(-1, 1) for _ in range(512))


class SmugglingInt(int):
    embedding = EMBEDDING


class SmugglingText(str):
    embedding = EMBEDDING


class SmugglingWord(Enum):
    FACE = "face"
    NAME = "a name"


SMUGGLED = [
    EMBEDDING,
    list(EMBEDDING),
    bytes(2048),
    "a" * 2048,
    "a name",
    0.5,
    -1,
    1 << 64,
    None,
    {"face": EMBEDDING},
    SmugglingInt(1),
    SmugglingText("a" * 64),
    SmugglingWord.FACE,
    SmugglingWord.NAME,
]


REFUSALS = "closed schema|Decided|SelfTested|VerifierDied"


@pytest.mark.parametrize("record_type", rec.SCHEMA, ids=lambda t: t.__name__)
def test_nothing_can_be_smuggled_through_any_field(record_type: type) -> None:
    good = {name: sample(column) for name, column in rec.SCHEMA[record_type].items()}
    if record_type is Decided:
        good |= {"granted": False, "reason": DenyReason.NO_MATCH}
    record_type(**good)
    for name in rec.SCHEMA[record_type]:
        for bad in SMUGGLED:
            if bad == -1 and name == "exit_code":
                continue
            with pytest.raises(ValueError, match=REFUSALS) as refused:
                record_type(**{**good, name: bad})
            assert "a name" not in str(refused.value)
            assert "aaa" not in str(refused.value)


def sample(column: Column) -> Any:
    match column.rule:
        case Within(low=low):
            return low
        case Hex(digits=digits):
            return "0" * digits
        case rule:
            return False if rule is bool else next(iter(rule))


def test_a_record_changed_behind_its_back_is_not_written() -> None:
    record = Probed(1, 8, 8, 0, 0, 2, 0)
    object.__setattr__(record, "needles", EMBEDDING)
    with pytest.raises(ValueError, match=r"Probed\.needles"):
        encode(0, BATCH, record)
    record = Probed(1, 8, 8, 0, 0, 2, 0)
    object.__setattr__(record, "embedding", EMBEDDING)
    with pytest.raises(ValueError, match="does not have"):
        encode(0, BATCH, record)


def test_only_record_types_are_written() -> None:
    class Seen(Probed):
        pass

    with pytest.raises(ValueError, match="closed schema"):
        Seen(1, 2, 2, 0, 3, 1, 0)
    with pytest.raises(ValueError, match="closed schema"):
        encode(0, BATCH, {"kind": "probed"})  # type: ignore[arg-type]


@pytest.mark.parametrize(("seq", "batch"), [(-1, 0), (1 << 53, 0), (0, -1), (0, 10**7), (True, 0)])
def test_numbers_of_an_entry_are_bounded(seq: int, batch: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        encode(seq, batch, Probed(1, 2, 2, 0, 3, 1, 0))


def test_a_grant_names_no_card() -> None:
    with pytest.raises(ValueError, match="no card"):
        Decided(True, None, Lane.FACE, card=1)
    body = encode(3, BATCH, Decided(True, None, Lane.FACE))
    assert audit.read_record(body) is not None
    named = body.replace(b'"card":0', b'"card":1')
    assert audit.read_record(named) is None
    with pytest.raises(LedgerFault):
        decode(named)


def test_decisions() -> None:
    assert Decided.of(Grant(Lane.PIN)) == Decided(True, None, Lane.PIN)
    assert Decided.of(Deny(DenyReason.CARD_REVOKED)) == Decided(
        False, DenyReason.CARD_REVOKED, Lane.NONE
    )
    for granted, reason, lane in [
        (True, DenyReason.NO_MATCH, Lane.FACE),
        (False, None, Lane.FACE),
        (True, None, Lane.NONE),
    ]:
        with pytest.raises(ValueError, match="a grant has a lane"):
            Decided(granted, reason, lane)


@settings(deadline=None)
@given(st.integers(-(2**40), 2**63), st.integers(-(2**31), 2**31), st.integers(0, 2**63))
def test_any_death_certificate_becomes_a_coarse_record(ms: int, code: int, count: int) -> None:
    certificate = DeathCertificate(
        exit_code=code,
        lifetime_ms=ms,
        threads=count,
        no_new_privs=True,
        seccomp_mode=2,
        landlock_abi=4,
        dumpable=False,
        core_limit_bytes=count,
        file_limit_bytes=0,
        bytes_in=count,
        bytes_out=count,
        pages_left=count,
    )
    record = VerifierDied.of(certificate)
    assert encode(0, BATCH, record)
    assert record.file_limit_zero
    assert record.core_limit_zero is (count == 0)
    if 0 <= ms <= 60_000:
        assert 0 <= record.lifetime_ds * 100 - ms < 100


@settings(deadline=None)
@given(st.datetimes(datetime(1970, 1, 2), datetime(2254, 1, 1), timezones=st.just(UTC)))
def test_only_the_quarter_of_an_hour_is_kept(now: datetime) -> None:
    start = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)
    assert batch_of(now) == batch_of(start)
    assert batch_of(now) * 900 == start.timestamp()


def test_an_impossible_clock_is_a_fault() -> None:
    for wrong in (
        datetime(2026, 1, 1),
        datetime(1969, 12, 31, tzinfo=UTC),
        datetime(9999, 1, 1, tzinfo=UTC),
    ):
        with pytest.raises(LedgerFault) as fault:
            batch_of(wrong)
        assert fault.value.advice
