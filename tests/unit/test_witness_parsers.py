"""Nothing that anyone sends makes a parser of the witness protocol raise, or accept two forms."""

from __future__ import annotations

import base64
import contextlib
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gate.errors import ConfigError, LedgerFault
from gate.ledger.checkpoint import Checkpoint, Signer
from gate.ledger.consistency import consistency_path
from gate.ledger.cosignature import (
    Cosigner,
    message,
    parse_witness_skey,
    parse_witness_vkey,
)
from gate.ledger.merkle import consistency_proof, leaf_hash, root_of, verify_consistency
from gate.ledger.signed_note import parse_lines, split
from gate.ledger.verify.consistency import grows_from
from gate.ledger.verify.proofs import parse_vkey
from gate.ledger.verify.witness import cosignature_lines, parse_witness
from gate.ledger.witness_client import Answer, Cosigned, parse_answer, request_body
from gate.ledger.witness_site import parse_site
from gate.witness.judge import Witness
from gate.witness.request import AddCheckpoint, parse
from gate.witness.state import WitnessState

ORIGIN = "gate.example/main"
SIGNER = Signer(ORIGIN, bytes(range(32)))
COSIGNER = Cosigner("witness.example/w1", bytes([7]) * 32)
NOTE = SIGNER.sign(Checkpoint(ORIGIN, 1, bytes(32)))
HASHES = st.lists(st.binary(min_size=32, max_size=32), max_size=70)
SIZES = st.integers(0, 10**16 - 1)
LEAVES = [leaf_hash(bytes([n])) for n in range(130)]


@given(SIZES, HASHES)
def test_a_request_is_read_as_it_was_written(old: int, proof: list[bytes]) -> None:
    body = request_body(old, proof, NOTE)
    found = parse(body)
    if len(proof) > 63:
        assert found is None
    else:
        assert found == AddCheckpoint(old, tuple(proof), NOTE, ORIGIN)


GOOD = request_body(5, [bytes(32), bytes([1]) * 32], NOTE)


@given(st.binary(max_size=400) | st.text(max_size=400).map(lambda t: t.encode(errors="replace")))
def test_any_bytes_are_a_request_or_none(body: bytes) -> None:
    found = parse(body)
    assert found is None or request_body(found.old_size, found.proof, found.note) == body


@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_a_damaged_request_is_refused_or_another_one(at: int, put: bytes, cut: int) -> None:
    body = GOOD[:at] + put + GOOD[at + cut :]
    found = parse(body)
    assert found is None or request_body(found.old_size, found.proof, found.note) == body


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"old 5", b"old 05"),
        (b"old 5", b"old +5"),
        (b"old 5", b"old  5"),
        (b"old 5", b"Old 5"),
        (b"old 5", b"old -1"),
        (b"old 5", b"old " + b"9" * 17),
        (b"old 5", "old \u0665".encode()),
        (b"\n", b"\r\n"),
        (b"=\n", b"=\t\n"),
        (b"AAA=\n", b"AAB=\n"),
        (b"AAA=\n", b"AAA\n"),
        (b"\n\n", b"\n\n\n"),
    ],
)
def test_requests_of_another_form(before: bytes, after: bytes) -> None:
    assert parse(GOOD) is not None
    assert parse(GOOD.replace(before, after, 1)) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(body=st.binary(max_size=300) | st.builds(lambda b: GOOD + b, st.binary(max_size=40)))
def test_a_witness_never_raises_and_never_signs_nonsense(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "state"
    if not path.exists():
        WitnessState.create(path, COSIGNER.vkey)
    with closing(WitnessState.open(path, COSIGNER.vkey)) as state:
        witness = Witness(
            COSIGNER,
            {ORIGIN: [parse_vkey(SIGNER.vkey)]},
            state,
            time_s=lambda: 1,
            monotonic_s=lambda: 0.0,
        )
        assert witness.add_checkpoint(body).status in (400, 403, 404)


@given(
    st.sampled_from([200, 301, 400, 403, 404, 409, 422, 429, 500, 503]),
    st.sampled_from(["text/plain", "text/x.tlog.size", "text/html"]),
    st.binary(max_size=200) | st.just(COSIGNER.cosign("a\n", 1).encode()),
)
def test_any_answer_is_a_value_or_one_clear_fault(status: int, kind: str, content: bytes) -> None:
    answer: Answer | None = None
    with contextlib.suppress(LedgerFault):
        answer = parse_answer(status, kind, content)
    if isinstance(answer, Cosigned):
        assert "".join(line.text() for line in answer.lines).encode() == content


@given(st.text(max_size=200) | st.text(max_size=40).map(lambda t: NOTE + t))
def test_both_readers_of_notes_agree(note: str) -> None:
    try:
        text, lines = split(note)
    except LedgerFault:
        assert cosignature_lines(note) is None
        return
    found = cosignature_lines(note)
    # The auditor's reader is stricter: printable names, blobs of one canonical form.
    if found is not None:
        assert found[0] == text
        assert found[1] == [(line.name, line.key_id + line.signature) for line in lines]


@given(st.text(max_size=80))
def test_lines_keys_and_entries_never_raise_anything_else(text: str) -> None:
    with contextlib.suppress(LedgerFault):
        parse_lines(text)
    for parser in (parse_witness_vkey, parse_witness, parse_site, parse_witness_skey):
        with contextlib.suppress(ConfigError):
            parser(text)


@given(st.integers(1, (1 << 63) - 1))
def test_a_co_signature_says_its_time_and_nothing_else_fits(time_s: int) -> None:
    text = NOTE.partition("\n\n")[0] + "\n"
    line = COSIGNER.cosign(text, time_s)
    assert COSIGNER.key.cosigned_at(NOTE + line) == time_s
    found = cosignature_lines(NOTE + line)
    assert found is not None
    witness = parse_witness(COSIGNER.vkey)
    assert witness.cosigned_at(text, found[1][1][1]) == time_s
    other = text.replace("\n1\n", "\n2\n")
    assert witness.cosigned_at(other, found[1][1][1]) is None
    blob = bytearray(found[1][1][1])
    blob[11] ^= 1
    assert witness.cosigned_at(text, bytes(blob)) is None
    assert message(text, time_s).startswith(b"cosignature/v1\ntime %d\n" % time_s)


@pytest.mark.parametrize("time_s", [0, -1, 1 << 63])
def test_times_that_are_none(time_s: int) -> None:
    with pytest.raises(ValueError, match="no such time"):
        COSIGNER.cosign("a\n", time_s)


@given(st.integers(1, 130), st.integers(0, 130), st.data())
def test_growth_is_proved_by_one_code_and_checked_by_another(
    second: int, first: int, data: st.DataObject
) -> None:
    first = min(first, second)

    def mth(start: int, end: int) -> bytes:
        return root_of(LEAVES[start:end])

    path = consistency_path(mth, first, second)
    old, new = mth(0, first), mth(0, second)
    assert grows_from(first, old, second, new, path)
    if first:
        assert path == consistency_proof(LEAVES[:second], first)
        assert verify_consistency(first, second, path, old, new)
        assert not grows_from(first, leaf_hash(b"x"), second, new, path)
        assert not grows_from(first, old, second, leaf_hash(b"x"), path)
    assert not grows_from(first, old, second, new, [*path, old])
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        assert not grows_from(first, old, second, new, [*path[:at], *path[at + 1 :]])
        broken = [*path[:at], leaf_hash(path[at]), *path[at + 1 :]]
        assert not grows_from(first, old, second, new, broken)
    assert not grows_from(second + 1, old, second, new, path)


@given(SIZES, SIZES, HASHES, st.binary(min_size=32, max_size=32))
def test_no_sizes_make_the_check_run_away(
    first: int, second: int, proof: list[bytes], root: bytes
) -> None:
    """A proof is as deep as it is long, however large the sizes are."""
    holds = grows_from(first, root, second, root, proof)
    assert holds is (not proof and first <= second and (first in (0, second)))


def test_a_secret_shows_in_no_message_and_no_repr() -> None:
    secret = base64.b64encode(bytes([7]) * 32).decode()[:20]
    assert secret not in repr(COSIGNER)
    damaged = COSIGNER.skey().replace("witness.example", "witness.exampl")
    with pytest.raises(ConfigError) as error:
        parse_witness_skey(damaged)
    assert secret not in error.value.diagnostics()
