"""Two sizes of record leave a capture, and nothing malformed is believed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrollment.capture_wire import (
    PROGRESS_BYTES,
    RESULT_BYTES,
    Job,
    Outcome,
    Progress,
    Result,
    decode,
    record_size,
)
from enrollment.gathering import Step
from gate.card.cbor import MalformedCbor
from gate.errors import ProtocolViolation
from models.types import Advice

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
JOB = Job(
    sources=("/photos/a.jpg", "/photos/나.jpg"),
    live=False,
    zone=(0.0, 0.1, 1.0, 0.9),
    wanted=5,
    deadline_ms=1000,
    pack="edge",
    pack_folder="/models",
    credential_id=b"c" * 16,
    consent_record=b"signed",
    expiry=NOW,
    created=NOW,
    site_public_key=b"\x04" + b"k" * 64,
)


def test_a_job_arrives_as_sent() -> None:
    assert Job.decode(JOB.encode()) == JOB


@given(st.integers(0, len(JOB.encode()) - 1))
def test_a_torn_job_is_refused(cut: int) -> None:
    with pytest.raises(MalformedCbor):
        Job.decode(JOB.encode()[:cut])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_job_or_refused(raw: bytes) -> None:
    try:
        job = Job.decode(raw)
    except MalformedCbor:
        return
    assert Job.decode(job.encode()) == job


@given(
    st.builds(
        Progress,
        step=st.sampled_from(Step),
        advice=st.sampled_from(Advice),
        source=st.integers(0, 255),
        taken=st.integers(0, 255),
    )
)
def test_progress_is_sixteen_bytes(progress: Progress) -> None:
    record = progress.encode()
    assert len(record) == PROGRESS_BYTES == record_size(record)
    assert decode(record) == progress


@given(
    st.builds(
        Result,
        outcome=st.sampled_from(Outcome),
        source=st.integers(0, 20),
        advice=st.sampled_from(Advice),
        detail=st.text(st.characters(codec="ascii"), max_size=400),
        sealed=st.binary(max_size=2500),
        aux=st.binary(max_size=32),
        qualities=st.lists(st.integers(0, 255).map(lambda q: q / 255), max_size=20).map(tuple),
    )
)
def test_every_result_has_one_size(result: Result) -> None:
    record = result.encode()
    assert len(record) == RESULT_BYTES == record_size(record)
    assert decode(record) == result


def test_the_longest_result_fits() -> None:
    longest = Result(
        Outcome.DONE, detail="가" * 1000, sealed=bytes(2500), aux=bytes(32), qualities=(1.0,) * 20
    )
    assert len(longest.encode()) == RESULT_BYTES


@given(st.binary(max_size=40), st.sampled_from([PROGRESS_BYTES, RESULT_BYTES, 7]))
def test_anything_else_is_refused_or_well_formed(head: bytes, size: int) -> None:
    record = head.ljust(size, b"\0")[:size]
    try:
        read = decode(record)
    except ProtocolViolation:
        return
    assert read.encode() == record or isinstance(read, Result)


@pytest.mark.parametrize("position", [1, 3, 4095])
def test_a_result_has_no_room_beside_its_fields(position: int) -> None:
    record = bytearray(Result(Outcome.NO_FACE).encode())
    record[position] ^= 0x01
    with pytest.raises(ProtocolViolation):
        decode(bytes(record))


def test_progress_has_no_room_beside_its_fields() -> None:
    record = bytearray(Progress(Step.TAKEN, Advice.NONE, 0, 1).encode())
    record[15] = 1
    with pytest.raises(ProtocolViolation):
        decode(bytes(record))
