"""What the gate makes of a verifier that breaks its contract. The children are real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Protocol

import pytest

from gate.errors import VerifierContractBroken, VerifierFault
from gate.template.context import SealContext
from gate.verifier.job import Job
from gate.verifier.pipeline import GUIDANCE_MAX
from gate.verifier.run import VerifierRun
from gate.verifier.wire import Kind, Verdict
from models.types import Advice, Zone

AUX = bytes(32)
NONCE = b"passage1"
CONTEXT = SealContext.for_template(b"c" * 16, "m", b"", AUX, datetime(2031, 5, 1, tzinfo=UTC))
JOB = Job("sim:x", Zone(), b"envelope", CONTEXT, AUX, NONCE, 1000)
PRELUDE = """
import os, sys, time, signal
job, key, result = (int(fd) for fd in sys.argv[1:])
def say(kind, code=0, nonce=b"passage1"):
    os.write(result, bytes([1, kind, code]) + bytes(5) + nonce)
def read_job():
    data = b""
    while chunk := os.read(job, 10000):
        data += chunk
    return data
say(1, 0, bytes(8))
"""


class Start(Protocol):
    """Starts a child that plays a verifier and is READY."""

    def __call__(self, body: str, *, locked: bool = False) -> VerifierRun:
        """Args: what it does, and whether it should be locked in, which it never is."""
        ...


@pytest.fixture
def start() -> Iterator[Start]:
    """See Start."""
    runs: list[VerifierRun] = []

    def start(body: str, *, locked: bool = False) -> VerifierRun:
        fds = [*os.pipe(), *os.pipe(), *os.pipe()]
        theirs = (fds[0], fds[2], fds[5])
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", PRELUDE + body, *map(str, theirs)],
            pass_fds=theirs,
            stdin=subprocess.DEVNULL,
        )
        for fd in theirs:
            os.close(fd)
        run = VerifierRun(process, fds[1], fds[3], fds[4], locked=locked)
        runs.append(run)
        return run

    yield start
    for run in runs:
        run.kill()
        run.finish()


def begun(start: Start, body: str) -> VerifierRun:
    run = start(body)
    assert run.wait_ready(10_000)
    run.close_key_fd()
    run.begin(JOB)
    return run


def last_word(run: VerifierRun) -> None:
    """Listen until nothing more comes."""
    while run.next_answer(10_000) is not None:
        pass


def test_the_whole_conversation(start: Start) -> None:
    run = begun(
        start,
        """
assert len(read_job()) > 100
assert os.read(key, 100) == b""
say(2); say(3, 3); say(3, 0); say(4, 1)
""",
    )
    answers = [run.next_answer(10_000) for _ in range(4)]
    assert [(a.kind, a.code) for a in answers if a is not None] == [
        (Kind.CAMERA_ON, 0),
        (Kind.GUIDANCE, Advice.STEP_CLOSER),
        (Kind.GUIDANCE, Advice.NONE),
        (Kind.VERDICT, Verdict.MATCH),
    ]
    certificate = run.finish()
    assert certificate.exit_code == 0
    assert certificate.pages_left == 0
    assert certificate.bytes_out == 5 * 16
    assert certificate.bytes_in == len(JOB.encode())
    assert not certificate.is_clean(), "this child is in no sandbox, and the certificate says so"
    assert run.finish() is certificate


def test_nobody_is_let_in_by_a_verifier_that_is_not_locked_in(start: Start) -> None:
    run = start("read_job(); say(2); say(4, 1)", locked=True)
    assert run.wait_ready(10_000)
    run.begin(JOB)
    with pytest.raises(VerifierContractBroken, match="without its sandbox"):
        last_word(run)
    assert run.finish().exit_code == -signal.SIGKILL or not run.finish().is_clean()


BROKEN = {
    "silent death": "",
    "death by signal": "os.kill(os.getpid(), signal.SIGSEGV)",
    "a torn record": "os.write(result, b'\\1\\2\\0')",
    "another passage": "say(4, 1, b'passage2')",
    "unknown kind": "say(9)",
    "unknown verdict": "say(2); say(4, 99)",
    "unknown advice": "say(2); say(3, 99)",
    "a match without a camera": "say(4, 1)",
    "guidance without a camera": "say(3, 1)",
    "a camera twice": "say(2); say(2)",
    "ready twice": "say(1)",
    "camera with a code": "say(2, 7)",
    "two verdicts": "say(2); say(4, 2); say(4, 1)",
    "guidance after the verdict": "say(2); say(4, 2); say(3, 1)",
    "endless guidance": f"say(2)\nfor _ in range({GUIDANCE_MAX + 1}): say(3, 1)",
    "hidden bytes": "os.write(result, bytes([1, 2, 0, 0, 1, 0, 0, 0]) + b'passage1')",
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_contract_is_a_fault_and_ends_the_process(start: Start, body: str) -> None:
    run = begun(start, "read_job()\n" + body)
    with pytest.raises(VerifierFault) as fault:
        last_word(run)
    died = body in (BROKEN["silent death"], BROKEN["death by signal"])
    assert isinstance(fault.value, VerifierContractBroken) is not died
    run.finish()
    with pytest.raises(ProcessLookupError):
        os.kill(run.pid, 0)


def test_a_verifier_that_hangs_is_a_timeout_and_then_killed(start: Start) -> None:
    run = begun(start, "read_job(); say(2); time.sleep(1000)")
    assert run.next_answer(10_000) is not None
    assert run.next_answer(50) is None
    assert not run.ended
    assert run.finish().exit_code == -signal.SIGKILL


def test_one_that_lingers_after_its_verdict_gave_none(start: Start) -> None:
    run = begun(start, "signal.signal(15, signal.SIG_IGN); read_job(); say(4, 3); time.sleep(1000)")
    with pytest.raises(VerifierFault, match="lingered") as fault:
        run.next_answer(10_000)
    assert not isinstance(fault.value, VerifierContractBroken)
    assert run.finish().exit_code == -signal.SIGKILL


def test_one_that_ends_its_pipe_and_lingers_is_killed(start: Start) -> None:
    run = begun(start, "read_job(); say(4, 3); os.close(result); time.sleep(1000)")
    answer = run.next_answer(10_000)
    assert answer is not None
    assert answer.code == Verdict.NO_FACE
    certificate = run.finish()
    assert certificate.exit_code == -signal.SIGKILL
    assert certificate.pages_left == 0


@pytest.mark.parametrize("more", ["say(4, 2)", "say(3, 1)", "os.write(result, bytes(1000))"])
def test_a_verdict_with_more_behind_it_is_none(start: Start, more: str) -> None:
    run = begun(start, f"read_job(); say(2); say(4, 3); {more}")
    assert run.next_answer(10_000) is not None
    with pytest.raises(VerifierContractBroken, match="more than it may"):
        run.next_answer(10_000)
    assert run.finish().bytes_out > 3 * 16


def test_one_that_pours_without_end_is_killed(start: Start) -> None:
    run = begun(start, "read_job(); say(4, 3)\nwhile True: os.write(result, bytes(4096))")
    with pytest.raises(VerifierContractBroken):
        run.next_answer(10_000)
    assert run.finish().exit_code == -signal.SIGKILL


def test_a_second_job_is_refused(start: Start) -> None:
    run = begun(start, "read_job(); time.sleep(1000)")
    with pytest.raises(VerifierFault, match="one job"):
        run.begin(JOB)


def test_the_key_pipe_closes_once(start: Start) -> None:
    run = start("time.sleep(1000)")
    assert run.wait_ready(10_000)
    assert run.key_fd > 2
    run.close_key_fd()
    run.close_key_fd()
    with pytest.raises(VerifierFault, match="already closed"):
        _ = run.key_fd


def test_a_job_for_the_dead_is_a_fault(start: Start) -> None:
    run = start("")
    assert run.wait_ready(10_000)
    os.waitid(os.P_PID, run.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(VerifierFault):
        run.begin(JOB)
    run.kill()
    assert run.finish().exit_code == 0


def test_kill_from_another_thread_ends_the_wait(start: Start) -> None:
    run = begun(start, "read_job(); say(2); time.sleep(1000)")
    assert run.next_answer(10_000) is not None
    killer = threading.Timer(0.1, run.kill)
    killer.start()
    with pytest.raises(VerifierFault, match="ended without a verdict"):
        run.next_answer(20_000)
    killer.join()
    assert run.finish().exit_code == -signal.SIGKILL
    run.kill()
