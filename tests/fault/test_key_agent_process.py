"""A real key agent: what it gives, what it refuses, and what the gate hears when it is broken."""

from __future__ import annotations

import array
import os
import signal
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from gate.errors import ConfigError, KeyAgentFault, TemplateRejected
from gate.key_supervision import SupervisedKeyAgent
from gate.template.agent_client import KeyAgent
from gate.template.agent_wire import Operation, Request
from gate.template.context import Purpose, SealContext
from gate.template.envelope import Envelope, open_envelope
from gate.template.key_source import KeyPlan
from gate.template.outcome import KeyOutcome
from gate.template.seal import seal

OLD, NEW = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
EXPIRY = datetime(2031, 5, 1, tzinfo=UTC)
TEMPLATE = SealContext.for_template(b"c" * 16, "model.1", b"consent", bytes(32), EXPIRY)
PIN = SealContext.for_pin(b"c" * 16, EXPIRY)


def write_key(
    path: Path, key: ec.EllipticCurvePrivateKey, secret: KeySerializationEncryption
) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
    path.chmod(0o600)
    return path


@pytest.fixture
def key_files(tmp_path: Path) -> list[Path]:
    return [
        write_key(tmp_path / "old.pem", OLD, BestAvailableEncryption(b"old secret")),
        write_key(tmp_path / "new.pem", NEW, NoEncryption()),
    ]


@pytest.fixture
def agent(key_files: list[Path]) -> Iterator[KeyAgent]:
    agent = KeyAgent.start(key_files, ask=lambda _what: "old secret")
    yield agent
    agent.close()


def released(
    agent: KeyAgent, envelope: Envelope, info: bytes, session_id: bytes | None = None
) -> bytes:
    """Play the verifier: own a pipe, and read what the agent wrote into it."""
    read_end, write_end = os.pipe()
    try:
        agent.release_template_key(
            envelope.kid, envelope.wrapped, info, write_end, session_id=session_id or os.urandom(16)
        )
    finally:
        os.close(write_end)
        with os.fdopen(read_end, "rb") as pipe:
            data = pipe.read()
    return data


@pytest.mark.parametrize("key", [OLD, NEW], ids=["old key", "new key"])
def test_a_template_key_goes_into_the_pipe_and_nowhere_else(
    agent: KeyAgent, key: ec.EllipticCurvePrivateKey
) -> None:
    envelope = Envelope.decode(seal(b"template", TEMPLATE, key.public_key()))
    content_key = released(agent, envelope, TEMPLATE.hpke_info())
    assert open_envelope(envelope, content_key, TEMPLATE) == b"template"


def test_a_card_session_gets_one_answer_of_each_purpose(agent: KeyAgent) -> None:
    pin = Envelope.decode(seal(b"verifier", PIN, NEW.public_key()))
    template = Envelope.decode(seal(b"template", TEMPLATE, NEW.public_key()))
    session = os.urandom(16)
    assert len(released(agent, template, TEMPLATE.hpke_info(), session)) == 32
    agent.open_pin_key(pin.kid, pin.wrapped, PIN.hpke_info(), session_id=session)
    with pytest.raises(KeyAgentFault, match="already") as again:
        released(agent, template, TEMPLATE.hpke_info(), session)
    assert again.value.outcome is KeyOutcome.SECOND
    with pytest.raises(KeyAgentFault, match="already"):
        agent.open_pin_key(pin.kid, pin.wrapped, PIN.hpke_info(), session_id=session)
    agent.open_pin_key(pin.kid, pin.wrapped, PIN.hpke_info(), session_id=os.urandom(16))
    assert agent.counts[Purpose.TEMPLATE, KeyOutcome.RELEASED] == 1
    assert agent.counts[Purpose.TEMPLATE, KeyOutcome.SECOND] == 1
    assert agent.counts[Purpose.PIN, KeyOutcome.RELEASED] == 2
    assert agent.counts[Purpose.PIN, KeyOutcome.SECOND] == 1


def test_a_refused_attempt_uses_the_session_up(agent: KeyAgent) -> None:
    pin = Envelope.decode(seal(b"verifier", PIN, NEW.public_key()))
    session = os.urandom(16)
    with pytest.raises(TemplateRejected):
        agent.open_pin_key(pin.kid, bytes(113), PIN.hpke_info(), session_id=session)
    with pytest.raises(KeyAgentFault, match="already"):
        agent.open_pin_key(pin.kid, pin.wrapped, PIN.hpke_info(), session_id=session)
    assert agent.counts[Purpose.PIN, KeyOutcome.REFUSED] == 1


def test_a_pin_key_comes_back(agent: KeyAgent) -> None:
    envelope = Envelope.decode(seal(b"verifier", PIN, NEW.public_key()))
    key = agent.open_pin_key(
        envelope.kid, envelope.wrapped, PIN.hpke_info(), session_id=os.urandom(16)
    )
    assert open_envelope(envelope, key, PIN) == b"verifier"


def test_a_template_key_cannot_be_asked_for_as_a_pin_key(agent: KeyAgent) -> None:
    envelope = Envelope.decode(seal(b"template", TEMPLATE, NEW.public_key()))
    with pytest.raises(KeyAgentFault, match="refused"):
        agent.open_pin_key(
            envelope.kid, envelope.wrapped, TEMPLATE.hpke_info(), session_id=os.urandom(16)
        )
    # Nor by claiming the other label: the key was sealed under its own.
    with pytest.raises(TemplateRejected):
        agent.open_pin_key(
            envelope.kid, envelope.wrapped, PIN.hpke_info(), session_id=os.urandom(16)
        )


def test_a_refusal_leaves_the_pipe_empty(agent: KeyAgent) -> None:
    envelope = Envelope.decode(seal(b"template", TEMPLATE, NEW.public_key()))
    withdrawn = SealContext.for_template(b"c" * 16, "model.1", b"other", bytes(32), EXPIRY)
    read_end, write_end = os.pipe()
    with pytest.raises(TemplateRejected):
        agent.release_template_key(
            envelope.kid,
            envelope.wrapped,
            withdrawn.hpke_info(),
            write_end,
            session_id=os.urandom(16),
        )
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        assert pipe.read() == b""


def test_an_unknown_key_is_a_rejected_template_with_advice(agent: KeyAgent) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    envelope = Envelope.decode(seal(b"template", TEMPLATE, stranger.public_key()))
    with pytest.raises(TemplateRejected) as refused:
        released(agent, envelope, TEMPLATE.hpke_info())
    assert "old opening key" in refused.value.diagnostics()


def test_the_agent_writes_only_into_the_write_end_of_a_pipe(
    agent: KeyAgent, tmp_path: Path
) -> None:
    envelope = Envelope.decode(seal(b"template", TEMPLATE, NEW.public_key()))
    info = TEMPLATE.hpke_info()
    read_end, write_end = os.pipe()
    ours, theirs = socket.socketpair()
    with (tmp_path / "file").open("wb") as file:
        for fd in (read_end, file.fileno(), theirs.fileno()):
            with pytest.raises(KeyAgentFault, match="took no key"):
                agent.release_template_key(
                    envelope.kid, envelope.wrapped, info, fd, session_id=os.urandom(16)
                )
    os.close(read_end)
    with pytest.raises(KeyAgentFault, match="took no key"):  # nobody reads
        agent.release_template_key(
            envelope.kid, envelope.wrapped, info, write_end, session_id=os.urandom(16)
        )
    os.close(write_end)
    ours.close()
    theirs.close()
    assert (tmp_path / "file").read_bytes() == b""
    assert len(released(agent, envelope, info)) == 32


def test_malformed_messages_are_refused_and_the_agent_goes_on(agent: KeyAgent) -> None:
    link = agent._link
    link.settimeout(2.0)
    null = os.open("/dev/null", os.O_WRONLY)
    good = Request(Operation.PIN, 9, bytes(16), bytes(8), bytes(113), PIN.hpke_info()).encode()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null] * 3))]
    for message, ancillary in (
        (b"\0", []),
        (b"x" * 200, []),
        (b"y" * 5000, []),
        (good + bytes(1000), []),
        (good, rights),
    ):
        link.sendmsg([message], ancillary)
        assert link.recv(200)[1] == 6  # MALFORMED
    os.close(null)
    if os.geteuid() == 0:  # nobody else may look into a process that is not dumpable
        descriptors = list(Path(f"/proc/{agent.pid}/fd").iterdir())
        assert len(descriptors) == 4, "three standard ones and the link: nothing leaked"
    test_a_pin_key_comes_back(agent)


def test_too_many_keys_are_refused(key_files: list[Path]) -> None:
    agent = KeyAgent.start(key_files[1:], per_minute=1, burst=2)
    try:
        envelope = Envelope.decode(seal(b"verifier", PIN, NEW.public_key()))
        for _ in range(2):
            agent.open_pin_key(
                envelope.kid, envelope.wrapped, PIN.hpke_info(), session_id=os.urandom(16)
            )
        with pytest.raises(KeyAgentFault, match="too many"):
            agent.open_pin_key(
                envelope.kid, envelope.wrapped, PIN.hpke_info(), session_id=os.urandom(16)
            )
    finally:
        agent.close()


def test_a_killed_agent_is_a_fault_at_once(agent: KeyAgent) -> None:
    envelope = Envelope.decode(seal(b"verifier", PIN, NEW.public_key()))
    assert agent.alive()
    os.kill(agent.pid, signal.SIGKILL)
    with pytest.raises(KeyAgentFault, match="gone"):  # not "in time"
        agent.open_pin_key(
            envelope.kid, envelope.wrapped, PIN.hpke_info(), session_id=os.urandom(16)
        )
    assert not agent.alive()


def test_a_stopped_agent_is_a_fault_and_its_late_answer_is_dropped(agent: KeyAgent) -> None:
    first = Envelope.decode(seal(b"first", PIN, NEW.public_key()))
    os.kill(agent.pid, signal.SIGSTOP)
    with pytest.raises(KeyAgentFault, match="in time"):
        agent.open_pin_key(first.kid, first.wrapped, PIN.hpke_info(), session_id=os.urandom(16))
    os.kill(agent.pid, signal.SIGCONT)
    second = Envelope.decode(seal(b"second", PIN, NEW.public_key()))
    key = agent.open_pin_key(second.kid, second.wrapped, PIN.hpke_info(), session_id=os.urandom(16))
    assert open_envelope(second, key, PIN) == b"second"


def test_the_agent_is_locked_in(agent: KeyAgent) -> None:
    lines = Path(f"/proc/{agent.pid}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert (status["Seccomp"], status["NoNewPrivs"], status["Threads"]) == ("2", "1", "1")
    limits = Path(f"/proc/{agent.pid}/limits").read_text()
    assert [line.split()[4] for line in limits.splitlines() if "core file" in line] == ["0"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into the agent: run as root")
def test_the_agent_never_loads_what_could_open_or_see(agent: KeyAgent) -> None:
    maps = Path(f"/proc/{agent.pid}/maps").read_text()
    for library in ("numpy", "cv2", "onnxruntime", "dlib"):
        assert library not in maps


def test_the_agent_ends_with_the_gate(key_files: list[Path]) -> None:
    agent = KeyAgent.start(key_files[1:])
    agent._link.close()
    assert agent._process.wait(2.0) == 0
    agent.close()


def test_a_bad_key_file_is_a_refused_start(key_files: list[Path]) -> None:
    with pytest.raises(ConfigError, match="needs a passphrase"):
        KeyAgent.start(key_files)
    with pytest.raises(ConfigError, match="does not open"):
        KeyAgent.start(key_files, ask=lambda _what: "wrong")
    with pytest.raises(ConfigError, match="cannot be read"):
        KeyAgent.start([key_files[0].with_name("absent.pem")])
    with pytest.raises(ConfigError, match="no template key"):
        KeyAgent.start([])


def test_a_typed_passphrase_is_not_kept_for_the_next_agent(
    key_files: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    plan = KeyPlan.of_files(key_files)
    keys = SupervisedKeyAgent(
        lambda: KeyAgent.start(plan, ask=lambda _what: "old secret"),
        lambda: KeyAgent.start(plan),
        monotonic_s=iter(range(0, 1000, 2)).__next__,
    )
    try:
        os.kill(keys.pid, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while not caplog.records:
            assert not keys.alive() or time.monotonic() < deadline
            time.sleep(0.05)
        assert not keys.alive(), "it needs somebody at the terminal"
        assert len(caplog.records) == 1, "said once, not at every health check"
        assert "needs a passphrase" in caplog.text
        assert "old secret" not in caplog.text
    finally:
        keys.close()
