"""Key files, the agent's rate limit and its wire, without a process."""

from __future__ import annotations

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
from hypothesis import given
from hypothesis import strategies as st

from gate.errors import ConfigError, ProtocolViolation, TemplateRejected
from gate.template.agent_wire import Operation, Reply, Request, Status
from gate.template.keys import FileKey, KeyRing
from gate.template.rate import RateLimit
from gate.template.wrapping import wrap

KEY = ec.generate_private_key(ec.SECP256R1())


def write_key(
    path: Path,
    key: ec.EllipticCurvePrivateKey = KEY,
    encryption: KeySerializationEncryption | None = None,
    mode: int = 0o600,
) -> Path:
    encryption = encryption or NoEncryption()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    path.chmod(mode)
    return path


def test_a_key_file_opens_what_was_wrapped_to_it(tmp_path: Path) -> None:
    key = FileKey.load(write_key(tmp_path / "key.pem"))
    assert key.unwrap(wrap(b"k" * 32, b"info", KEY.public_key()), b"info") == b"k" * 32


def test_a_passphrase_is_needed_where_there_is_one(tmp_path: Path) -> None:
    path = write_key(tmp_path / "key.pem", encryption=BestAvailableEncryption(b"correct"))
    assert FileKey.load(path, lambda: b"correct").kid
    with pytest.raises(ConfigError, match="needs a passphrase"):
        FileKey.load(path)
    with pytest.raises(ConfigError, match="does not open"):
        FileKey.load(path, lambda: b"wrong")


def test_each_unusable_key_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        FileKey.load(tmp_path / "absent.pem")
    with pytest.raises(ConfigError, match="read by others") as open_to_all:
        FileKey.load(write_key(tmp_path / "open.pem", mode=0o644))
    assert "chmod 600" in open_to_all.value.diagnostics()
    other_curve = write_key(tmp_path / "p384.pem", ec.generate_private_key(ec.SECP384R1()))
    with pytest.raises(ConfigError, match="not a P-256 key"):
        FileKey.load(other_curve)
    torn = tmp_path / "torn.pem"
    torn.write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n")
    torn.chmod(0o600)
    with pytest.raises(ConfigError, match="does not open"):
        FileKey.load(torn)


def test_a_ring_chooses_by_kid() -> None:
    old, new = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    keys = [FileKey(old), FileKey(new)]
    ring = KeyRing(keys)
    ring.self_test()
    assert ring.kids == (keys[0].kid, keys[1].kid)
    wrapped = wrap(b"k" * 32, b"info", old.public_key())
    assert ring.unwrap(keys[0].kid, wrapped, b"info") == b"k" * 32
    with pytest.raises(TemplateRejected):
        ring.unwrap(keys[1].kid, wrapped, b"info")
    with pytest.raises(KeyError):
        ring.unwrap(bytes(8), wrapped, b"info")


def test_the_rate_limit_lets_a_burst_through_and_then_a_trickle() -> None:
    limit = RateLimit(per_minute=60, burst=3)
    assert [limit.allow(0.0) for _ in range(5)] == [True, True, True, False, False]
    assert not limit.allow(0.9)
    assert limit.allow(1.1)
    assert [limit.allow(1000.0) for _ in range(4)] == [True, True, True, False]


@given(st.lists(st.floats(0, 600), max_size=200), st.integers(1, 240), st.integers(1, 10))
def test_no_timing_beats_the_rate_limit(times: list[float], per_minute: int, burst: int) -> None:
    limit = RateLimit(per_minute, burst)
    allowed = sum(limit.allow(now) for now in sorted(times))
    assert allowed <= burst + (max(times) - min(times)) * per_minute / 60 + 1e-6 if times else True


def test_a_clock_that_jumps_back_gains_nothing() -> None:
    limit = RateLimit(per_minute=1, burst=1)
    assert limit.allow(100.0)
    assert not limit.allow(50.0)
    assert not limit.allow(100.0)


@given(st.binary(max_size=800))
def test_the_request_parser_refuses_or_gives_back_the_same_bytes(data: bytes) -> None:
    for sample in (data, b"\x01\x01" + data, b"\x01\x02" + data):
        try:
            request = Request.decode(sample)
        except ProtocolViolation:
            continue
        assert request.encode() == sample


@given(st.binary(max_size=60))
def test_the_reply_parser_refuses_or_gives_back_the_same_bytes(data: bytes) -> None:
    for sample in (data, b"\x01\x00" + data):
        try:
            reply = Reply.decode(sample)
        except ProtocolViolation:
            continue
        assert reply.encode() == sample


def test_no_key_in_a_repr() -> None:
    assert "k" * 8 not in repr(Reply(Status.OK, 1, key=b"k" * 32))
    assert "w" * 8 not in repr(Request(Operation.PIN, 1, bytes(16), bytes(8), b"w" * 113, b"info"))
