"""Verification of a log. Shares no code with the writer: own schema table, own hashing, own notes.

Steps, numbered in the problems that `Report` lists:
    1  the newest checkpoint carries a valid signature of this key
    2  its origin is the name of the key
    3  its size is the number of entries
    4  sequence numbers run from 0 without a gap; bodies are missing exactly as far as the log
       says that it was pruned, and the leaf hash of each of these is there
    5  every record fits the closed schema, is in its one canonical encoding, and names only
       policies that the auditor knows, when he gave some
    6  the root, computed by the recursive definition of RFC 9162 section 2.1.1, is the signed one
    7  every earlier checkpoint is signed, in order, and its root is a prefix of this log
    8  the same for every checkpoint that the auditor kept from before
    9  records stand in an order that a gate can produce: nothing moves without a grant, each grant
       has one movement and had its key, pseudonyms count up, nothing between stop and start,
       nothing in the auditor's future
   10  the file or folder holds nothing else, and what a folder holds twice says the same
   11  co-signed checkpoints are of this log, and as many witnesses as were asked for vouch for it

It reads only, and works while the gate writes: SQLite gives it one moment's state.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

from gate.errors import LedgerFault
from gate.ledger.verify.audit import Asked, Found, audit
from gate.ledger.verify.folder import read_folder
from gate.ledger.verify.proofs import HASH_BYTES, Key, parse_vkey
from gate.ledger.verify.report import Problems, Report
from gate.ledger.verify.schema import TILE
from gate.ledger.verify.witness import NOTES_MAX, choose

__all__ = ["Report", "verify_export", "verify_store"]

_ADVICE: Final = "run as the gate's user, or verify an export"
_CANNOT_READ: Final = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
    }
)
_TABLES: Final = {
    name: f"CREATE TABLE {name} ({columns}) STRICT{more}"
    for name, columns, more in (
        ("log", "id INTEGER PRIMARY KEY CHECK (id = 1), vkey TEXT NOT NULL", ""),
        ("entries", "seq INTEGER PRIMARY KEY, body BLOB NOT NULL", ""),
        ("leaf_tiles", "tile INTEGER PRIMARY KEY, hashes BLOB NOT NULL", ""),
        ("checkpoints", "size INTEGER PRIMARY KEY, note TEXT NOT NULL", ""),
        (
            "cosigned",
            "witness TEXT PRIMARY KEY, size INTEGER NOT NULL, note TEXT NOT NULL",
            ", WITHOUT ROWID",
        ),
    )
}
"""The statements that a log is made with, to the letter."""


def verify_store(
    path: Path,
    vkey: str,
    kept: Sequence[str] = (),
    *,
    policies: Collection[str] = (),
    now: datetime | None = None,
    witnesses: Sequence[str] = (),
    witnesses_needed: int | None = None,
) -> Report:
    """Verify a gate's log file, also while the gate is writing it.

    Args:
        path: the SQLite file.
        vkey: the verifier key, obtained from elsewhere than the file.
        kept: signed checkpoints of this log that the auditor kept from earlier. They show a log
            that was replaced or cut short, which no log can show by itself.
        policies: SHA-256 of every policy that was published, in hexadecimal. Any other is a
            problem then. Without them the report says how many the log names.
        now: the auditor's clock, to find times that have not come yet.
        witnesses: verifier keys of witnesses whom the auditor trusts. They show a log that tells
            two people two histories.
        witnesses_needed: how many of them must have co-signed; all of them when None.

    Raises:
        LedgerFault: no such file, or it cannot be read at all.
        ConfigError: `vkey` or a witness's key is none, or more are needed than named.
    """
    key = parse_vkey(vkey)
    at_rest = _at_rest(path)
    asked = Asked(kept, frozenset(policies), now, *choose(witnesses, witnesses_needed))
    report = _verify_file(path, at_rest, vkey, key, asked)
    if at_rest and not report.ok and not _at_rest(path):
        # A gate started to write while the file was read as one that nobody writes.
        return _verify_file(path, False, vkey, key, asked)
    return report


def _verify_file(path: Path, at_rest: bool, vkey: str, key: Key, asked: Asked) -> Report:
    with _snapshot(path, at_rest) as db:
        problems = Problems()
        try:
            shape = _shape(db)
            if shape != _TABLES:
                problems.add(10, "the file has other tables than a log has")
            if (marks := _marks(db)) != (0x434F4E53, 1):
                problems.add(10, f"the file is marked {marks}, not as a version 1 log")
            # Nothing else is read: a view may be without end, a column may hold anything.
            if shape == _TABLES:
                if db.execute("SELECT id, vkey FROM log").fetchmany(2) != [(1, vkey)]:
                    problems.add(10, "the file names another verifier key")
                notes = db.execute("SELECT size, note FROM checkpoints ORDER BY size").fetchall()
                rows = db.execute("SELECT seq, body FROM entries ORDER BY seq")
                query = "SELECT witness, size, note FROM cosigned ORDER BY size DESC, witness"
                cosigned = db.execute(query).fetchmany(NOTES_MAX + 1)
                found = Found(rows, notes, _leaves(db, problems), cosigned)
                return audit(found, key, asked, problems)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _CANNOT_READ:
                raise LedgerFault(f"cannot read the log {path}", _ADVICE) from None
            problems.add(10, "the file is not a whole SQLite file")
        except UnicodeError:
            problems.add(10, "a text in the file is not text")
        return problems.report(0, b"", Counter(), (), (False,) * len(asked.kept))


def verify_export(
    folder: Path,
    vkey: str,
    kept: Sequence[str] = (),
    *,
    policies: Collection[str] = (),
    now: datetime | None = None,
    witnesses: Sequence[str] = (),
    witnesses_needed: int | None = None,
) -> Report:
    """Verify an exported log; the arguments are those of `verify_store`.

    Raises:
        LedgerFault: a file is missing or cannot be read.
        ConfigError: see `verify_store`.
    """
    key = parse_vkey(vkey)
    problems = Problems()
    asked = Asked(kept, frozenset(policies), now, *choose(witnesses, witnesses_needed))
    try:
        with read_folder(folder, vkey, problems) as found:
            return audit(found, key, asked, problems)
    except OSError as error:
        raise LedgerFault(
            f"cannot read the exported log {folder}: {error.strerror}", "export it again"
        ) from None


def _at_rest(path: Path) -> bool:
    """Whether nobody writes the file: then SQLite left no -wal file beside it."""
    return not path.with_name(path.name + "-wal").exists()


@contextmanager
def _snapshot(path: Path, at_rest: bool) -> Iterator[sqlite3.Connection]:
    """Open one moment's state of a log for reading only."""
    if not path.is_file():
        raise LedgerFault(f"there is no log at {path}", "check the path")
    # SQLite would want to create a -wal file even for reading, unless told that none is needed.
    mode = "immutable=1" if at_rest else "mode=ro"
    try:
        db = sqlite3.connect(f"file:{quote(os.fsencode(path.resolve()))}?{mode}", uri=True)
    except sqlite3.Error:
        raise LedgerFault(f"cannot read the log {path}", _ADVICE) from None
    with closing(db):
        db.isolation_level = None
        db.execute("PRAGMA query_only = ON")
        db.execute("BEGIN")
        yield db


def _leaves(db: sqlite3.Connection, problems: Problems) -> Iterator[bytes]:
    """Yield the leaf hashes that stand for pruned bodies."""
    rows = db.execute("SELECT tile, hashes FROM leaf_tiles ORDER BY tile")
    for place, (tile, hashes) in enumerate(rows):
        if tile != place or not isinstance(hashes, bytes) or len(hashes) != TILE * HASH_BYTES:
            problems.add(4, f"tile {place} of leaf hashes is missing or not whole")
            return
        for start in range(0, len(hashes), HASH_BYTES):
            yield hashes[start : start + HASH_BYTES]


def _shape(db: sqlite3.Connection) -> dict[str, str]:
    rows = db.execute("SELECT name, sql FROM sqlite_master").fetchmany(len(_TABLES) + 1)
    return dict(rows)


def _marks(db: sqlite3.Connection) -> tuple[int, int]:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return application, version
