"""How much a lying gate can say: a template through every way out that the schema leaves.

The gate here has its key and writes whatever it likes. What `verify` refuses is no way out; what
it counts is seen by the auditor; what is left is measured, and docs/log-capacity.md prints it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gate.ledger.checkpoint import Checkpoint, Signer
from gate.ledger.encoding import batch_of, encode
from gate.ledger.merkle import Frontier, leaf_hash
from gate.ledger.record import Decided, KeyPurpose, KeyUsed, Mode, Pack, Record, Started
from gate.ledger.verify import Report
from gate.ledger.verify import schema as audit_schema
from gate.ledger.verify.audit import Asked, Found, audit
from gate.ledger.verify.proofs import parse_vkey
from gate.ledger.verify.report import Problems
from gate.passage.decision import DenyReason, Lane
from gate.template.outcome import KeyOutcome

SIGNER = Signer("gate.example/main", bytes(range(32)))
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
NOW = batch_of(NOON)
PUBLISHED = "ab" * 32
START = Started(Mode.DEMO, Pack.EDGE, PUBLISHED, sandbox_ok=True, key_agent_ok=True)
TEMPLATE_BITS = 512 * 8
SIGN_BITS = 512
EMBEDDING = random.Random(3).randbytes(512)
SIGNS = "".join("1" if value > 127 else "0" for value in EMBEDDING)
CARDS_A_DAY = 1000
PAGE = Path(__file__).parents[2] / "docs" / "log-capacity.md"


def bits_of(rule: object) -> float:
    """The room of one field by the auditor's own table."""
    match rule:
        case audit_schema.Words(words=words, null=null):
            return math.log2(len(words) + null)
        case audit_schema.Whole(low=low, high=high):
            return math.log2(high - low + 1)
        case audit_schema.Flag():
            return 1.0
        case audit_schema.Sha256():
            return 256.0
    raise AssertionError(rule)


def room_of(kind: str) -> float:
    """The room of one record: an upper bound, as if all its fields were free of each other."""
    fields = dict(audit_schema.SCHEMA[kind])
    if kind == "verifier_died":
        fields.pop("bytes_in")
        return sum(map(bits_of, fields.values())) + math.log2(65)
    if kind == "pruned":
        return math.log2(2**53 // 256)
    return sum(map(bits_of, fields.values()))


def quiet_bits_a_passage() -> dict[str, float]:
    """What is left in one passage when nothing is out of order and nothing is counted."""
    reasons = len(audit_schema.DENIALS.words)
    words = audit_schema.SCHEMA["key_used"]
    keys = [words[name].words for name in ("purpose", "outcome")]  # type: ignore[union-attr]
    return {
        "keys asked for (none, one or two, each with its outcome)": math.log2(
            1 + len(keys[0]) * len(keys[1]) + (len(keys[0]) * len(keys[1])) ** 2
        ),
        "decision: a grant's lane and movement, or a denial's reason, lane and card of "
        f"{CARDS_A_DAY}": math.log2(2 * 2 ** room_of("moved") + reasons * 3 * (CARDS_A_DAY + 2)),
        "a clean death: lifetime 601, received 65, said 68 values": math.log2(601 * 65 * 68),
        "order of death and movement": 1.0,
        "quarter of an hour": 2.0,
    }


def test_the_room_of_every_record_is_bounded() -> None:
    rooms = {kind: room_of(kind) for kind in audit_schema.SCHEMA}
    policy = {"started", "policy_changed"}
    assert all(room < SIGN_BITS for room in rooms.values())
    assert all(room <= 112 for kind, room in rooms.items() if kind not in policy), rooms
    assert {kind for kind, room in rooms.items() if room > 32} == {
        *policy,
        "verifier_died",
        "probed",
        "pruned",
    }


def test_a_quiet_passage_has_room_for_less_than_a_sixtieth_of_a_template() -> None:
    quiet = sum(quiet_bits_a_passage().values())
    assert quiet < 60
    assert TEMPLATE_BITS / quiet > 68
    assert SIGN_BITS / quiet > 8


def test_the_page_prints_these_numbers() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for kind in audit_schema.SCHEMA:
        assert f"| `{kind}` | {room_of(kind):.1f} |" in text, (kind, room_of(kind))
    quiet = quiet_bits_a_passage()
    for what, bits in quiet.items():
        assert f"| {what} | {bits:.1f} |" in text, (what, bits)
    total = sum(quiet.values())
    assert f"{total:.0f} bits" in text
    assert f"{math.ceil(TEMPLATE_BITS / total)} passages" in text
    assert f"{math.ceil(SIGN_BITS / total)} passages" in text


def audited(rows: Sequence[tuple[int, int, Record]], asked: Asked | None = None) -> Report:
    """Audit rows of (sequence number, batch, record) that the gate's own key signed."""
    frontier, bodies = Frontier(), []
    for seq, batch, record in rows:
        body = encode(seq, batch, record)
        bodies.append(body)
        frontier.append(leaf_hash(body))
    note = SIGNER.sign(Checkpoint(SIGNER.name, frontier.size, frontier.root()))
    found = Found(list(enumerate(bodies)), [(len(bodies), note)])
    return audit(found, parse_vkey(SIGNER.vkey), asked or Asked(now=NOON), Problems())


def in_order(*records: Record) -> list[tuple[int, int, Record]]:
    return [(seq, NOW, record) for seq, record in enumerate((START, *records))]


def denial(card: int = 0, reason: DenyReason = DenyReason.NO_MATCH) -> Record:
    return Decided(granted=False, reason=reason, lane=Lane.FACE, card=card)


def test_through_card_numbers_it_is_refused() -> None:
    """Two bytes of the template a number."""
    cards = [int.from_bytes(EMBEDDING[at : at + 2], "big") for at in range(0, 512, 2)]
    report = audited(in_order(*(denial(card) for card in cards)))
    assert not report.ok
    assert "names card" in report.problems[0]


def test_through_sequence_numbers_it_is_refused() -> None:
    rows = in_order(*(denial() for _ in SIGNS))
    skewed = [
        (seq + int(bit), batch, record)
        for (seq, batch, record), bit in zip(rows, "0" + SIGNS, strict=True)
    ]
    assert audited(rows).ok
    assert not audited(skewed).ok


@pytest.mark.parametrize("direction", ["back and forth", "ahead"])
def test_through_times_it_is_refused(direction: str) -> None:
    """One bit, or one byte, of each record's time."""
    rows: list[tuple[int, int, Record]] = [(0, NOW - 600, START)]
    if direction == "back and forth":
        rows += [(seq, NOW - 600 + 2 * int(bit), denial()) for seq, bit in enumerate(SIGNS, 1)]
        wanted = "goes back again and again"
    else:
        batch = NOW - 600
        for seq, value in enumerate(EMBEDDING, 1):
            batch += value
            rows.append((seq, batch, denial()))
        wanted = "has not come yet"
    report = audited(rows)
    assert not report.ok
    assert wanted in report.problems[0]


def test_through_policies_it_is_refused_or_seen() -> None:
    """A whole template in sixteen hashes: the auditor who has the policies refuses it."""
    hashes = [EMBEDDING[at : at + 32].hex() for at in range(0, 512, 32)]
    records = [
        Started(Mode.DEMO, Pack.EDGE, policy, sandbox_ok=True, key_agent_ok=True)
        for policy in hashes
    ]
    blind = audited(in_order(*records))
    assert blind.counts["policies"] == 17
    report = audited(in_order(*records), Asked(policies={PUBLISHED}))
    assert len(report.problems) == 16
    assert "a policy that is none of those given" in report.problems[0]


def test_through_keys_without_decisions_it_is_refused() -> None:
    released = [
        KeyUsed(KeyPurpose.PIN if bit == "1" else KeyPurpose.TEMPLATE, KeyOutcome.RELEASED)
        for bit in SIGNS
    ]
    assert not audited(in_order(*released)).ok


def restricted_growth(bits: str) -> Iterator[int]:
    """Card numbers that count up and still say as much as they can."""
    cards = at = 0
    while at < len(bits):
        room = (cards + 1).bit_length() - 1
        card = 1 + (int(bits[at : at + room], 2) if room and bits[at : at + room] else 0)
        at += room or 0
        if room == 0 or cards < 63:
            cards += 1
            yield cards  # a new one, to have more to choose from
        yield card


def test_what_is_left_is_slow() -> None:
    """The honest remainder: which reason, which earlier card. It verifies, and takes passages."""
    bits = "".join(f"{value:08b}" for value in EMBEDDING)
    cards = list(restricted_growth(bits))
    assert audited(in_order(*(denial(card) for card in cards))).ok
    per_decision = len(bits) / len(cards)
    assert per_decision < math.log2(CARDS_A_DAY + 2)
    assert len(cards) > 68
    reasons = list(DenyReason)[:16]
    by_reason = [reasons[int(bits[at : at + 4], 2)] for at in range(0, len(bits), 4)]
    report = audited(in_order(*(denial(reason=reason) for reason in by_reason)))
    assert report.ok
    assert report.counts["denials"] == 1024, "what an auditor sees: a thousand refusals"


def test_a_log_has_no_room_beside_its_records() -> None:
    """Times of one honest day: a quarter of an hour is all that a record tells."""
    moments = [NOON + timedelta(seconds=index) for index in range(900)]
    assert {batch_of(moment) for moment in moments} == {NOW}
