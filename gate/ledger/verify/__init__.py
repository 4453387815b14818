"""Verification of a log. Shares no code with the writer: own schema table, own hashing, own notes.

Steps, numbered in the problems that `Report` lists:
    1  the newest checkpoint carries a valid signature of this key
    2  its origin is the name of the key
    3  its size is the number of entries
    4  sequence numbers run from 0 without a gap
    5  every record fits the closed schema and is in its one canonical encoding
    6  the root, computed by the recursive definition of RFC 9162 section 2.1.1, is the signed one
    7  every earlier checkpoint is signed, in order, and its root is a prefix of this log
    8  the same for every checkpoint that the auditor kept from before
    9  records stand in an order that a gate can produce: nothing moves without a grant, each grant
       has one movement, nothing between stop and start
   10  the file or folder holds nothing else

It reads only, and works while the gate writes: SQLite gives it one moment's state.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from gate.errors import LedgerFault
from gate.ledger.verify.order import Order
from gate.ledger.verify.proofs import Key, Tree, parse_vkey
from gate.ledger.verify.report import Problems, Report
from gate.ledger.verify.schema import parse_json, read_record

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
_TABLES: Final = frozenset({"log", "entries", "checkpoints", "cosigned"})


def verify_store(path: Path, vkey: str, kept: Sequence[str] = ()) -> Report:
    """Verify a gate's log file, also while the gate is writing it.

    Args:
        path: the SQLite file.
        vkey: the verifier key, obtained from elsewhere than the file.
        kept: signed checkpoints of this log that the auditor kept from earlier. They show a log
            that was replaced or cut short, which no log can show by itself.

    Raises:
        LedgerFault: no such file, or it cannot be read at all.
        ConfigError: `vkey` is not a verifier key.
    """
    key = parse_vkey(vkey)
    at_rest = _at_rest(path)
    report = _verify_file(path, at_rest, vkey, key, kept)
    if at_rest and not report.ok and not _at_rest(path):
        # A gate started to write while the file was read as one that nobody writes.
        return _verify_file(path, False, vkey, key, kept)
    return report


def _verify_file(path: Path, at_rest: bool, vkey: str, key: Key, kept: Sequence[str]) -> Report:
    with _snapshot(path, at_rest) as db:
        problems = Problems()
        try:
            if (tables := _tables(db)) != _TABLES:
                problems.add(10, "the file has other tables than a log has")
            if (marks := _marks(db)) != (0x434F4E53, 1):
                problems.add(10, f"the file is marked {marks}, not as a version 1 log")
            if tables >= {"log", "entries", "checkpoints"}:
                if db.execute("SELECT id, vkey FROM log").fetchall() != [(1, vkey)]:
                    problems.add(10, "the file names another verifier key")
                notes = db.execute("SELECT size, note FROM checkpoints ORDER BY size").fetchall()
                rows = db.execute("SELECT seq, body FROM entries ORDER BY seq")
                return _verify(rows, notes, key, kept, problems)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _CANNOT_READ:
                raise LedgerFault(f"cannot read the log {path}", _ADVICE) from None
            problems.add(10, "the file is not a whole SQLite file")
        except UnicodeError:
            problems.add(10, "a text in the file is not text")
        return problems.report(0, b"", Counter(), (), (False,) * len(kept))


def verify_export(folder: Path, vkey: str, kept: Sequence[str] = ()) -> Report:
    """Verify an exported log: `entries.jsonl`, `checkpoint`, `checkpoints.jsonl`, `vkey`.

    Raises:
        LedgerFault: a file is missing or cannot be read.
        ConfigError: `vkey` is not a verifier key.
    """
    key = parse_vkey(vkey)
    problems = Problems()
    names = ("entries.jsonl", "checkpoint", "checkpoints.jsonl", "vkey")
    try:
        entries, newest, earlier, named = [(folder / name).read_bytes() for name in names]
        others = sorted({item.name for item in folder.iterdir()} - {*names, "README.txt"})
    except OSError as error:
        raise LedgerFault(
            f"cannot read the exported log {folder}: {error.strerror}", "export it again"
        ) from None
    if others:
        problems.add(10, f"the folder holds {len(others)} other files")
    if named != vkey.encode() + b"\n":
        problems.add(10, "the folder names another verifier key")
    rows: list[tuple[int, bytes]] = []
    if entries and not entries.endswith(b"\n"):
        problems.add(5, "entries.jsonl does not end with a line feed")
    for seq, line in enumerate(entries.split(b"\n")[:-1]):
        rows.append((seq, line))
    notes: list[tuple[object, object]] = []
    for line in earlier.split(b"\n")[:-1]:
        note = parse_json(line)
        if not isinstance(note, str) or json.dumps(note).encode() != line:
            problems.add(7, "checkpoints.jsonl has a line that is not one note")
        else:
            size = note.split("\n")[1] if note.count("\n") > 1 else ""
            notes.append((int(size) if re.fullmatch(r"[0-9]{1,16}", size) else -1, note))
    if earlier and not earlier.endswith(b"\n"):
        problems.add(7, "checkpoints.jsonl does not end with a line feed")
    if not notes or str(notes[-1][1]).encode() != newest:
        problems.add(7, "the newest of checkpoints.jsonl is not the checkpoint")
    notes.append((len(rows), newest.decode(errors="replace")))
    # The newest checkpoint stands in both files.
    if len(notes) > 1 and notes[-2][1] == notes[-1][1]:
        del notes[-2]
    return _verify(rows, notes, key, kept, problems)


def _verify(
    rows: Iterable[tuple[object, object]],
    notes: Sequence[tuple[object, object]],
    key: Key,
    kept: Sequence[str],
    problems: Problems,
) -> Report:
    tree, order = Tree(), Order(problems)
    for place, (seq, body) in enumerate(rows):
        if seq != place:
            problems.add(4, f"entry {place} has another sequence number")
        raw = body if isinstance(body, bytes) else b""
        tree.add(raw)
        found = read_record(raw)
        if found is None:
            problems.add(5, f"entry {place} does not fit the closed schema")
            continue
        if found["seq"] != place:
            problems.add(4, f"entry {place} says another sequence number")
        order.take(place, found)
    order.end()

    size, root = tree.size, tree.root(tree.size)
    if not notes:
        problems.add(1, "there is no checkpoint")
    previous = -1
    for index, (row_size, note) in enumerate(notes):
        newest = index == len(notes) - 1
        name = "the newest checkpoint" if newest else f"earlier checkpoint {index}"
        signed = key.open(note if isinstance(note, str) else "")
        if signed is None:
            problems.add(1 if newest else 7, f"{name} is not signed by this key")
            continue
        origin, signed_size, signed_root = signed
        if origin != key.name:
            problems.add(2, f"{name} speaks for another log")
        if signed_size != row_size or signed_size <= previous:
            problems.add(7, f"{name} is out of order")
        previous = signed_size
        if newest and signed_size != size:
            problems.add(3, f"{name} is for {signed_size} entries, but there are {size}")
        if signed_size > size:
            problems.add(3, f"{name} is for {signed_size} entries, but there are {size}")
        elif tree.root(signed_size) != signed_root:
            problems.add(6 if newest else 7, f"{name} has another root than the entries")
    fits: list[bool] = []
    for index, note in enumerate(kept):
        signed = key.open(note)
        fits.append(False)
        if signed is None or signed[0] != key.name:
            problems.add(8, f"kept checkpoint {index} is not signed by this log")
        elif signed[1] > size:
            problems.add(8, f"the log was cut: {signed[1]} entries were signed, {size} are left")
        elif tree.root(signed[1]) != signed[2]:
            problems.add(8, f"the log was rewritten: kept checkpoint {index} has another root")
        else:
            fits[-1] = True
    order.counts["checkpoints"] = len(notes)
    return problems.report(size, root, order.counts, tuple(order.policies), tuple(fits))


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
        db = sqlite3.connect(f"file:{quote(str(path.resolve()))}?{mode}", uri=True)
    except sqlite3.Error:
        raise LedgerFault(f"cannot read the log {path}", _ADVICE) from None
    with closing(db):
        db.isolation_level = None
        db.execute("PRAGMA query_only = ON")
        db.execute("BEGIN")
        yield db


def _tables(db: sqlite3.Connection) -> frozenset[str]:
    return frozenset(name for (name,) in db.execute("SELECT name FROM sqlite_master"))


def _marks(db: sqlite3.Connection) -> tuple[int, int]:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return application, version
