"""The issuer's registry: revocable, minimal, private, and honest about a bad file."""

from __future__ import annotations

import sqlite3
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from enrollment.errors import EnrolmentRefused
from enrollment.private_files import make_private_folder, read_private, write_private
from enrollment.registry import CAPACITY, Registry, State
from gate.errors import ConfigError

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=365)
CARD, OTHER = b"\x01" * 16, b"\x02" * 16


def zeros(count: int) -> bytes:
    return bytes(count)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry.create(tmp_path / "registry.db")


def test_issue_find_revoke(registry: Registry) -> None:
    index = registry.add(CARD, LATER, zeros, reference="HR-17")
    entry = registry.find(CARD)
    assert (entry.status_index, entry.expires, entry.state) == (index, LATER, State.VALID)
    registry.set_state(CARD, State.REVOKED)
    assert registry.statuses()[index] == 1
    assert registry.statuses().count(0) == CAPACITY - 1
    assert [e.credential_id for e in registry.find_reference("HR-17")] == [CARD]
    assert registry.find_reference("HR-18") == []


def test_two_cards_never_share_an_index(registry: Registry) -> None:
    assert registry.add(CARD, LATER, zeros) != registry.add(OTHER, LATER, zeros)


def test_withdrawn_can_still_be_revoked_but_revoked_is_final(registry: Registry) -> None:
    registry.add(CARD, LATER, zeros)
    registry.set_state(CARD, State.CONSENT_WITHDRAWN)
    registry.set_state(CARD, State.REVOKED)
    with pytest.raises(EnrolmentRefused, match="revoked already"):
        registry.set_state(CARD, State.CONSENT_WITHDRAWN)
    assert registry.find(CARD).state is State.REVOKED


def test_unknown_cards_are_refused(registry: Registry) -> None:
    with pytest.raises(EnrolmentRefused, match="does not know"):
        registry.find(CARD)
    with pytest.raises(EnrolmentRefused, match="does not know"):
        registry.set_state(CARD, State.REVOKED)


@pytest.mark.parametrize("reference", ["", "x" * 65, "line\nbreak"])
def test_a_reference_is_short_and_opaque(registry: Registry, reference: str) -> None:
    with pytest.raises(EnrolmentRefused, match="reference"):
        registry.add(CARD, LATER, zeros, reference=reference)
    with pytest.raises(EnrolmentRefused):
        registry.find(CARD)


def test_expired_cards_are_forgotten_without_trace(registry: Registry, tmp_path: Path) -> None:
    registry.add(CARD, NOW, zeros, reference="to-be-forgotten")
    registry.add(OTHER, LATER, zeros)
    assert registry.forget_expired(NOW + timedelta(days=1)) == 1
    assert registry.find(OTHER).state is State.VALID
    assert b"to-be-forgotten" not in (tmp_path / "registry.db").read_bytes()


@pytest.mark.usefixtures("registry")
def test_the_columns_have_no_place_for_a_person(tmp_path: Path) -> None:
    columns = sqlite3.connect(tmp_path / "registry.db")
    names = [row[1] for row in columns.execute("PRAGMA table_info(credential)")]
    columns.close()
    assert names == ["id", "status_index", "expires", "state", "reference"]


def test_the_file_is_private_and_made_once(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    registry.add(CARD, LATER, zeros)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(ConfigError, match="cannot create"):
        Registry.create(path)


@pytest.mark.parametrize("content", [None, b"not a database at all, just text" * 40, b""])
def test_a_bad_file_is_one_clear_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="registry"):
        Registry(path).find(CARD)
    assert path.exists() is (content is not None)


def test_a_failed_write_changes_nothing(registry: Registry) -> None:
    registry.add(CARD, LATER, zeros)
    with pytest.raises(ConfigError, match="IntegrityError"):
        registry.add(CARD, LATER, zeros)
    assert registry.find(CARD).state is State.VALID


def test_private_files(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    make_private_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    path = folder / "key"
    write_private(path, b"one")
    write_private(path, b"two")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_private(path, "key") == b"two"
    assert [p.name for p in folder.iterdir()] == ["key"]
    with pytest.raises(ConfigError, match="too large"):
        read_private(path, "key", max_bytes=2)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="other users"):
        read_private(path, "key")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_private(tmp_path / "absent" / "key", b"x")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot be created"):
        make_private_folder(tmp_path / "file" / "sub")
