"""The job pipe and the answer pipe carry exactly one shape each."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate.errors import ConfigError, GateError, ProtocolViolation, TemplateRejected
from gate.template.context import SealContext
from gate.verifier.job import JOB_MAX, Job
from gate.verifier.wire import Answer, Kind, Verdict, decode, encode, read_standing, standing
from models.types import Zone

AUX = b"a" * 32
CONTEXT = SealContext.for_template(
    b"c" * 16, "model.1", b"consent", AUX, datetime(2031, 5, 1, tzinfo=UTC)
)
JOB = Job("sim:/photos?fps=30", Zone(0.1, 0.0, 0.9, 1.0), b"envelope", CONTEXT, AUX, b"n" * 8, 3000)


def test_a_job_survives_its_bytes() -> None:
    assert Job.decode(JOB.encode()) == JOB
    korean = replace(JOB, camera="folder:/사진", agreeing=1)
    assert Job.decode(korean.encode()) == korean


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"camera": ""}, ConfigError),
        ({"camera": "x" * 2000}, ConfigError),
        ({"zone": Zone(0.5, 0.0, 0.5, 1.0)}, ConfigError),
        ({"zone": Zone(float("nan"), 0.0, 1.0, 1.0)}, ConfigError),
        ({"zone": Zone(0.0, 0.0, 1.5, 1.0)}, ConfigError),
        ({"deadline_ms": 0}, ConfigError),
        ({"deadline_ms": 10**6}, ConfigError),
        ({"agreeing": 0}, ConfigError),
        ({"template_aux": b"short"}, TemplateRejected),
        ({"envelope": bytes(9000)}, TemplateRejected),
        ({"context": SealContext.for_pin(b"c" * 16, CONTEXT.expiry)}, TemplateRejected),
    ],
)
def test_a_job_out_of_range_is_not_sent(change: dict[str, object], fault: type[GateError]) -> None:
    with pytest.raises(fault):
        replace(JOB, **change).encode()


@given(
    st.one_of(
        st.binary(max_size=600),
        st.integers(0, len(JOB.encode()) - 1).map(lambda n: JOB.encode()[:n]),
        st.tuples(st.integers(0, len(JOB.encode()) - 1), st.integers(0, 255)).map(
            lambda change: (
                JOB.encode()[: change[0]] + bytes([change[1]]) + JOB.encode()[change[0] + 1 :]
            )
        ),
        st.binary(min_size=1, max_size=50).map(JOB.encode().__add__),
    )
)
def test_the_job_parser_refuses_or_gives_back_the_same_bytes(data: bytes) -> None:
    try:
        job = Job.decode(data)
    except ProtocolViolation:
        return
    assert job.encode() == data


def test_two_jobs_are_none() -> None:
    with pytest.raises(ProtocolViolation):
        Job.decode(JOB.encode() * 2)
    with pytest.raises(ProtocolViolation):
        Job.decode(bytes(JOB_MAX + 1))


@given(st.binary(max_size=20), st.binary(min_size=8, max_size=8))
def test_the_answer_parser_refuses_or_gives_back_the_same_bytes(head: bytes, nonce: bytes) -> None:
    for record in (head, b"\x01" + head[:7].ljust(7, b"\0") + nonce):
        try:
            answer = decode(record, nonce)
        except ProtocolViolation:
            continue
        assert encode(answer) == record


def test_an_answer_of_another_passage_is_refused() -> None:
    record = encode(Answer(Kind.VERDICT, Verdict.MATCH, b"n" * 8))
    with pytest.raises(ProtocolViolation, match="another passage"):
        decode(record, b"m" * 8)


def test_the_standing_survives_its_byte() -> None:
    for abi in (0, 1, 7):
        for dumpable in (False, True):
            assert read_standing(standing(abi, dumpable=dumpable)) == (abi, dumpable)


def test_no_job_in_a_repr() -> None:
    assert "cccc" not in repr(JOB)
