"""What an issuer must keep to be able to revoke: credential id, status index, expiry, state.

No biometrics, no name, and nothing that tells a card with a template from one without. The only
free field is an opaque reference that the issuer may choose to find a lost card's id again.
Rows of expired cards are deleted, so what is no longer needed is not kept.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path

from enrollment.errors import EnrolmentRefused, UnknownCard
from gate.errors import ConfigError

CAPACITY = 1 << 16
"""Entries of one status list: two bits each, 16 kB before compression."""
MAX_REFERENCE_CHARS = 64
_SCHEMA = """
CREATE TABLE credential (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  status_index INTEGER NOT NULL UNIQUE CHECK (status_index BETWEEN 0 AND 65535),
  expires INTEGER NOT NULL,
  state INTEGER NOT NULL CHECK (state IN (0, 1, 3)),
  reference TEXT CHECK (length(reference) BETWEEN 1 AND 64)
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
"""


class State(IntEnum):
    """The status types of Token Status List, section 7.1, that this product uses."""

    VALID = 0
    REVOKED = 1
    CONSENT_WITHDRAWN = 3
    """Application specific: the template must not be opened; card and PIN still work."""


@dataclass(frozen=True)
class Entry:
    """One credential as the issuer knows it."""

    credential_id: bytes
    status_index: int
    expires: datetime
    state: State
    reference: str | None


class Registry:
    """The issuer's table, in one SQLite file of mode 0600."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def create(cls, path: Path) -> Registry:
        """Make an empty registry.

        Raises:
            ConfigError: the file exists or cannot be created.
        """
        try:
            path.touch(mode=0o600, exist_ok=False)
        except OSError as error:
            raise ConfigError(
                f"registry: cannot create {path} ({error.strerror})", "choose a new folder"
            ) from None
        registry = cls(path)
        with registry._open() as connection:
            connection.executescript(_SCHEMA)
        return registry

    def add(
        self,
        credential_id: bytes,
        expires: datetime,
        random_bytes: Callable[[int], bytes],
        reference: str | None = None,
    ) -> int:
        """Reserve a status index, drawn at random so that indexes tell nothing about order.

        Raises:
            EnrolmentRefused: the list is full, or the reference is not an opaque short string.
            ConfigError: the file cannot be read or written.
        """
        if reference is not None and not (
            0 < len(reference) <= MAX_REFERENCE_CHARS and reference.isprintable()
        ):
            raise EnrolmentRefused(
                "the staff reference is empty, too long or not printable",
                f"use at most {MAX_REFERENCE_CHARS} characters and no name",
            )
        with self._open() as connection:
            taken = {row[0] for row in connection.execute("SELECT status_index FROM credential")}
            if len(taken) >= CAPACITY:
                raise EnrolmentRefused(
                    "the status list is full", "revoked cards leave it when they expire"
                )
            index = int.from_bytes(random_bytes(8)) % CAPACITY
            while index in taken:
                index = (index + 1) % CAPACITY
            connection.execute(
                "INSERT INTO credential VALUES (?, ?, ?, ?, ?)",
                (credential_id, index, int(expires.timestamp()), State.VALID, reference),
            )
        return index

    def set_state(self, credential_id: bytes, state: State) -> None:
        """Revoke a credential or note that its consent was withdrawn. Revoking is final.

        Raises:
            EnrolmentRefused: unknown here, or already revoked.
            ConfigError: the file cannot be read or written.
        """
        if self.find(credential_id).state is State.REVOKED:
            raise EnrolmentRefused("this card is revoked already", "nothing is left to do")
        with self._open() as connection:
            connection.execute(
                "UPDATE credential SET state = ? WHERE id = ?", (state, credential_id)
            )

    def find(self, credential_id: bytes) -> Entry:
        """Return one entry.

        Raises:
            UnknownCard: this site did not issue it, or it expired and was forgotten.
            ConfigError: the file cannot be read.
        """
        with self._open() as connection:
            row = connection.execute(
                "SELECT * FROM credential WHERE id = ?", (credential_id,)
            ).fetchone()
        if row is None:
            raise UnknownCard(
                "this site's registry does not know the card", "was it issued by this site?"
            )
        return _entry(row)

    def find_reference(self, reference: str) -> list[Entry]:
        """Return what carries the issuer's reference: how a lost card is revoked."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT * FROM credential WHERE reference = ?", (reference,)
            ).fetchall()
        return [_entry(row) for row in rows]

    def statuses(self) -> list[int]:
        """Return the status of each of the CAPACITY indexes."""
        found = [int(State.VALID)] * CAPACITY
        with self._open() as connection:
            for index, state in connection.execute("SELECT status_index, state FROM credential"):
                found[index] = state
        return found

    def forget_expired(self, now: datetime) -> int:
        """Delete the rows of cards that have expired; return how many."""
        with self._open() as connection:
            return connection.execute(
                "DELETE FROM credential WHERE expires < ?", (int(now.timestamp()),)
            ).rowcount

    def _open(self) -> _Transaction:
        return _Transaction(self._path)


class _Transaction:
    """One connection, one write lock, one commit; every SQLite error becomes a ConfigError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._connection = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=rw", uri=True, timeout=10
            )
        except sqlite3.Error as error:
            raise self._fault(error) from None
        try:
            # Withdrawn and forgotten rows must not stay readable in free pages.
            self._connection.execute("PRAGMA secure_delete = ON")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self._connection.close()
            raise self._fault(error) from None
        return self._connection

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with closing(self._connection):
            if error is None:
                try:
                    self._connection.commit()
                except sqlite3.Error as failure:
                    raise self._fault(failure) from None
            else:
                self._connection.rollback()
        if isinstance(error, sqlite3.Error):
            raise self._fault(error) from None

    def _fault(self, error: sqlite3.Error) -> ConfigError:
        # The class name only: SQLite's text can quote a value.
        return ConfigError(
            f"registry: {self._path} cannot be used ({type(error).__name__})",
            "is this the folder of a site, writable and with free space?",
        )


def _entry(row: tuple[bytes, int, int, int, str | None]) -> Entry:
    credential_id, index, expires, state, reference = row
    return Entry(
        credential_id, index, datetime.fromtimestamp(expires, UTC), State(state), reference
    )
