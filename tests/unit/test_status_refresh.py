"""A newer status list replaces an older one; never the other way, not even across a restart."""

from __future__ import annotations

import logging
import os
import random
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from enrollment import pki
from enrollment.status_issuer import sign_status_list
from gate.card.reader import Trust
from gate.card.status_list import MAX_TOKEN_BYTES, Status
from gate.errors import ConfigError
from gate.status_refresh import MEMORY_NAME, StatusRefresh, newest_seen

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)
RANDOM = random.Random(4).randbytes
URI = "https://cards.example/status/1"
SITE = pki.Site("Example Ministry")
BEGIN = NOW - 30 * DAY
IACA = pki.create_iaca(SITE, BEGIN, RANDOM)
SIGNER = pki.create_status_signer(IACA, BEGIN, RANDOM)
STRANGER = pki.create_status_signer(IACA, BEGIN, RANDOM)


def token(
    status: int, issued_at: datetime = NOW, *, signer: pki.StatusSigner = SIGNER, days: int = 30
) -> bytes:
    return sign_status_list([status] * 8, signer, URI, issued_at, days * DAY)


OLD = token(Status.VALID, NOW - 20 * DAY)
NEW = token(Status.INVALID, NOW - DAY)
NEWEST = token(Status.CONSENT_WITHDRAWN, NOW)


class Gate:
    """One start of a gate: what it does with its status list."""

    def __init__(self, folder: Path, now: datetime = NOW) -> None:
        self.path = folder / "list.cwt"
        pems = folder / "iaca.pem", folder / "signer.pem"
        for path, certificate in zip(pems, (IACA.certificate, SIGNER.certificate), strict=True):
            path.write_bytes(certificate.public_bytes(Encoding.PEM))
        self.trust = Trust.load(*pems, self.path)
        self.refresh = StatusRefresh(self.path, self.trust, folder, now)

    def put(self, content: bytes) -> None:
        fresh = self.path.with_name("fresh")
        fresh.write_bytes(content)
        fresh.replace(self.path)

    def says(self, now: datetime = NOW) -> int | None:
        """The status of one card, None when every card is refused."""
        self.refresh.refresh(now)
        found = self.trust.status_list(now)
        return found[3] if found is not None and found.is_fresh(now) else None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "list.cwt").write_bytes(NEW)
    return tmp_path


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING)
    return caplog


def test_a_newer_list_is_taken_and_remembered(folder: Path) -> None:
    gate = Gate(folder)
    assert newest_seen(folder) == NOW - DAY
    gate.put(NEWEST)
    assert gate.says() == Status.CONSENT_WITHDRAWN
    assert newest_seen(folder) == NOW
    assert stat.S_IMODE((folder / MEMORY_NAME).stat().st_mode) == 0o600
    gate.put(token(Status.VALID, NOW))  # the same second: the issuer published twice
    assert gate.says() == Status.VALID


def test_an_older_list_is_not_taken(folder: Path, said: pytest.LogCaptureFixture) -> None:
    gate = Gate(folder)
    gate.put(OLD)
    for _ in range(3):
        assert gate.says() == Status.INVALID
    (line,) = said.messages
    assert "is older than one seen before; the list in use stays until its own end" in line
    gate.put(NEWEST)
    assert gate.says() == Status.CONSENT_WITHDRAWN
    gate.put(NEW)
    assert gate.says() == Status.CONSENT_WITHDRAWN
    assert newest_seen(folder) == NOW


def test_a_list_that_is_kept_still_ends(folder: Path) -> None:
    gate = Gate(folder)
    gate.put(OLD)
    assert gate.says(NOW + 28 * DAY) == Status.INVALID
    assert gate.says(NOW + 30 * DAY) is None


def test_an_older_list_before_a_restart_counts_as_none(
    folder: Path, said: pytest.LogCaptureFixture
) -> None:
    Gate(folder).put(OLD)
    gate = Gate(folder)
    assert gate.says() is None
    (line,) = said.messages
    assert "is older than one seen before; every card is refused" in line
    assert gate.trust.status is None
    assert newest_seen(folder) == NOW - DAY
    gate.put(NEWEST)
    assert gate.says() == Status.CONSENT_WITHDRAWN


@pytest.mark.parametrize(
    "content",
    [
        b"",
        NEWEST[:-1],
        NEWEST[:-1] + bytes([NEWEST[-1] ^ 1]),
        token(Status.VALID, signer=STRANGER),
        b"x" * (MAX_TOKEN_BYTES + 2),
    ],
    ids=["empty", "torn", "flipped", "stranger", "too large"],
)
def test_a_file_that_does_not_verify_changes_nothing(
    folder: Path, said: pytest.LogCaptureFixture, content: bytes
) -> None:
    gate = Gate(folder)
    gate.put(content)
    for _ in range(3):
        assert gate.says() == Status.INVALID
    (line,) = said.messages
    assert "\n" not in line
    gate.put(NEWEST)
    assert gate.says() == Status.CONSENT_WITHDRAWN


def test_a_list_from_the_future_waits_for_its_time(
    folder: Path, said: pytest.LogCaptureFixture
) -> None:
    """Taking it would refuse every card now, and every honest list until then."""
    gate = Gate(folder)
    gate.put(token(Status.SUSPENDED, NOW + DAY))
    for _ in range(3):
        assert gate.says() == Status.INVALID
    assert len(said.messages) == 1
    assert newest_seen(folder) == NOW - DAY
    assert gate.says(NOW + DAY) == Status.SUSPENDED
    assert newest_seen(folder) == NOW + DAY


def test_a_start_with_a_list_from_the_future(folder: Path) -> None:
    (folder / "list.cwt").write_bytes(token(Status.SUSPENDED, NOW + DAY))
    gate = Gate(folder)
    assert gate.says() is None
    assert newest_seen(folder) is None
    assert gate.says(NOW + DAY) == Status.SUSPENDED
    assert newest_seen(folder) == NOW + DAY


def test_a_start_without_a_list_that_verifies(folder: Path) -> None:
    (folder / "list.cwt").write_bytes(b"\xd2\x84")
    gate = Gate(folder)
    assert gate.says() is None
    assert newest_seen(folder) is None
    gate.put(NEW)
    assert gate.says() == Status.INVALID


def test_a_file_that_vanishes_changes_nothing(folder: Path) -> None:
    gate = Gate(folder)
    gate.path.unlink()
    assert gate.says() == Status.INVALID
    gate.put(NEWEST)
    assert gate.says() == Status.CONSENT_WITHDRAWN


def pipe(path: Path) -> None:
    os.mkfifo(path)


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(8 << 30)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [pipe, huge, endless, Path.mkdir])
def test_what_is_no_file_of_that_size_is_not_read(
    folder: Path, said: pytest.LogCaptureFixture, make: object
) -> None:
    assert callable(make)
    gate = Gate(folder)
    gate.path.unlink()
    make(gate.path)
    look = threading.Thread(target=gate.says, daemon=True)
    look.start()
    look.join(20.0)
    assert not look.is_alive()
    assert gate.says() == Status.INVALID
    assert len(said.messages) == 1
    with pytest.raises(ConfigError, match="cannot be read"):
        Gate(folder)


def test_a_link_may_be_switched(folder: Path) -> None:
    gate = Gate(folder)
    (folder / "a.cwt").write_bytes(NEWEST)
    gate.path.unlink()
    gate.path.symlink_to(folder / "a.cwt")
    assert gate.says() == Status.CONSENT_WITHDRAWN


@pytest.mark.parametrize("content", [b"", b"x\n", b"-1\n", b"1", b"9" * 40, b"\xff\n"])
def test_a_memory_that_says_nothing_stops_the_start(folder: Path, content: bytes) -> None:
    (folder / MEMORY_NAME).write_bytes(content)
    with pytest.raises(ConfigError, match="does not hold the date of a status list") as refused:
        Gate(folder)
    assert "\n" not in refused.value.diagnostics()


def test_a_memory_that_cannot_be_kept(folder: Path, said: pytest.LogCaptureFixture) -> None:
    """At the start: no start. Later the newer list counts all the same, and somebody is told."""
    gate = Gate(folder)
    memory = folder / MEMORY_NAME
    memory.unlink()
    memory.mkdir()
    gate.put(NEWEST)
    for _ in range(3):
        assert gate.says() == Status.CONSENT_WITHDRAWN
    (line,) = said.messages
    assert "cannot be written" in line
    with pytest.raises(ConfigError, match="cannot be read"):
        Gate(folder)
    memory.rmdir()
    gate.says()
    assert newest_seen(folder) == NOW
