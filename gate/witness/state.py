"""What a witness remembers: of each log the largest tree that it co-signed. One SQLite file.

The promise of a witness is this memory. So it is made once, together with the key, and a witness
whose memory is gone does not start: it would sign a second history like the first.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from gate.errors import ConfigError, GateError

APPLICATION_ID: Final = 0x434F5349
"""SQLite's file type mark: "COSI"."""
SCHEMA_VERSION: Final = 1
REFUSED_MAX: Final = 100
"""Kept for each log. One is enough to ask questions."""
UNPROVEN_MAX: Final = 50
"""Of those, how many anybody could have made: they must not use up the room for proofs."""
_SCHEMA: Final = (
    "CREATE TABLE witness (id INTEGER PRIMARY KEY CHECK (id = 1), vkey TEXT NOT NULL) STRICT",
    "CREATE TABLE logs (origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL,"
    " note TEXT NOT NULL, time_s INTEGER NOT NULL) STRICT",
    "CREATE TABLE refused (origin TEXT NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL,"
    " note TEXT NOT NULL, time_s INTEGER NOT NULL, PRIMARY KEY (origin, size, root)) STRICT",
)


class WitnessFault(GateError):
    """The witness's memory cannot be read or written. Nothing is co-signed."""


@dataclass(frozen=True)
class Seen:
    """A tree of one log: co-signed, or refused. `time_s` is POSIX time."""

    origin: str
    size: int
    root: bytes
    note: str
    time_s: int


class Turn:
    """One decision about one log, alone with the memory."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def newest(self, origin: str) -> Seen | None:
        """Return the largest tree co-signed of this log."""
        rows = self._db.execute(
            "SELECT origin, size, root, note, time_s FROM logs WHERE origin = ?", (origin,)
        )
        row = rows.fetchone()
        return None if row is None else Seen(*row)

    def keep(self, seen: Seen) -> None:
        """Put a tree in the place of the newest."""
        self._db.execute(
            "INSERT OR REPLACE INTO logs VALUES (?, ?, ?, ?, ?)",
            (seen.origin, seen.size, seen.root, seen.note, seen.time_s),
        )

    def refuse(self, seen: Seen, *, proven: bool) -> bool:
        """Keep a signed tree that did not fit, as a lead for an inquiry; whether it is new.

        `proven` says that it is a second tree of a size that was co-signed.
        """
        row = self._db.execute("SELECT count(*) FROM refused WHERE origin = ?", (seen.origin,))
        if row.fetchone()[0] >= (REFUSED_MAX if proven else UNPROVEN_MAX):
            return False
        return (
            self._db.execute(
                "INSERT OR IGNORE INTO refused VALUES (?, ?, ?, ?, ?)",
                (seen.origin, seen.size, seen.root, seen.note, seen.time_s),
            ).rowcount
            > 0
        )


class WitnessState:
    """The memory of one witness. Thread safe; several processes take turns."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self._path = path
        self._db = db
        self._guard = threading.Lock()

    @classmethod
    def create(cls, path: Path, vkey: str) -> None:
        """Make the empty memory of a new witness, never over another one.

        Raises:
            ConfigError: the file exists or cannot be made.
        """
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        except OSError as error:
            raise ConfigError(
                f"cannot create {path}: {error.strerror}", "name a new file for a new witness"
            ) from None
        try:
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                db.execute("BEGIN IMMEDIATE")
                for statement in _SCHEMA:
                    db.execute(statement)
                db.execute("INSERT INTO witness VALUES (1, ?)", (vkey,))
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                db.execute("COMMIT")
        except sqlite3.Error:
            path.unlink(missing_ok=True)
            raise ConfigError(f"cannot write {path}", "free some space") from None

    @classmethod
    def open(cls, path: Path, vkey: str) -> Self:
        """Open the memory that was made with this key.

        Raises:
            ConfigError: there is none, it is another key's, or it cannot be read.
        """
        if not path.is_file():
            raise ConfigError(
                f"the witness's memory {path} is gone",
                "restore its newest copy; without one retire this key: it could sign two histories",
            )
        try:
            db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
            db.execute("PRAGMA synchronous = FULL")
            (version,) = db.execute("PRAGMA user_version").fetchone()
            (application,) = db.execute("PRAGMA application_id").fetchone()
            row = db.execute("SELECT vkey FROM witness").fetchone()
        except sqlite3.Error:
            raise ConfigError(f"{path} is not a witness's memory", "check --state") from None
        if (version, application) != (SCHEMA_VERSION, APPLICATION_ID) or row != (vkey,):
            db.close()
            raise ConfigError(f"{path} belongs to another key or version", "check --state")
        return cls(path, db)

    @contextlib.contextmanager
    def turn(self) -> Iterator[Turn]:
        """Decide about one log: what is kept inside is on the disk when the block ends.

        Raises:
            WitnessFault: the disk did not take it; nothing has changed.
        """
        with self._guard:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield Turn(self._db)
                    self._db.execute("COMMIT")
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):
                        if self._db.in_transaction:
                            self._db.execute("ROLLBACK")
                    raise
            except sqlite3.Error:
                raise WitnessFault(
                    f"the witness's memory {self._path} cannot be used", "check disk and owner"
                ) from None

    def logs(self) -> list[tuple[Seen, int]]:
        """Return the newest tree of each log, and how many trees of it were refused."""
        with self._guard:
            try:
                rows = self._db.execute(
                    "SELECT origin, size, root, note, time_s,"
                    " (SELECT count(*) FROM refused WHERE refused.origin = logs.origin)"
                    " FROM logs ORDER BY origin"
                ).fetchall()
            except sqlite3.Error:
                raise WitnessFault(f"{self._path} cannot be read", "check disk and owner") from None
        return [(Seen(*row[:5]), int(row[5])) for row in rows]

    def close(self) -> None:
        """Close the file. Idempotent."""
        with self._guard:
            self._db.close()
