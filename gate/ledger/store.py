"""The log of one gate: one SQLite file, one writer, record and checkpoint in one transaction.

Tables:
    log         one row: the verifier key of this log
    entries     seq, body: the canonical records, see record.py
    leaf_tiles  tile, hashes: the 256 leaf hashes of a tile whose bodies were pruned, oldest first
    checkpoints size, note: the signed checkpoint of the empty log, of the last entry of each
                quarter of an hour, and of the newest entry
    cosigned    witness, size, note: for each witness the newest checkpoint that it co-signed

`append` returns only after the operating system said that the bytes are on the disk (write-ahead
log, synchronous=FULL), and that the paths still name the files that were written (open_files.py).
A failed append leaves the log as it was.

Pruned bodies are gone from the files, not only from the tables: see pruning.py.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from gate.errors import LedgerFault
from gate.ledger.checkpoint import Checkpoint, Signer, open_note
from gate.ledger.encoding import Entry, batch_of, decode, encode
from gate.ledger.merkle import HASH_BYTES, Frontier, leaf_hash
from gate.ledger.open_files import OpenFiles, create_private, moved
from gate.ledger.pruning import delete_bodies, oldest_young, truncate_wal
from gate.ledger.record import TILE, Pruned, Record

APPLICATION_ID: Final = 0x434F4E53
"""SQLite's file type mark: "CONS"."""
SCHEMA_VERSION: Final = 1
_SCHEMA: Final = (
    "CREATE TABLE log (id INTEGER PRIMARY KEY CHECK (id = 1), vkey TEXT NOT NULL) STRICT",
    "CREATE TABLE entries (seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT",
    "CREATE TABLE leaf_tiles (tile INTEGER PRIMARY KEY, hashes BLOB NOT NULL) STRICT",
    "CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT",
    "CREATE TABLE cosigned (witness TEXT PRIMARY KEY, size INTEGER NOT NULL, note TEXT NOT NULL)"
    " STRICT, WITHOUT ROWID",
)
COSIGNED_MAX: Final = 16
"""Witnesses whose newest co-signature is kept. More would be room for other things."""
_TAMPERED: Final = "keep the file as evidence, tell the auditor, and start a new log elsewhere"


class Ledger:
    """The one writer of a log. Thread safe. Make it with `Ledger.open`."""

    def __init__(self, path: Path, signer: Signer, db: sqlite3.Connection, lock: int) -> None:
        self._path = path
        self._signer = signer
        self._db = db
        self._lock = lock
        self._guard = threading.Lock()
        self._frontier = Frontier()
        self._last_batch = -1
        self._note = ""
        self._doubt = False
        self._files: OpenFiles | None = None
        self._lost = False
        self._below = 0
        self._traces = False

    @classmethod
    def open(cls, path: Path, signer: Signer, origin: str) -> Ledger:
        """Open a log, or begin one where no file is.

        Every entry is hashed again and compared with the newest checkpoint.

        Args:
            path: the SQLite file. Two more files (-wal, -shm) and a .lock stand beside it.
            signer: the log's key; its name is the origin.
            origin: who speaks, such as "consentgate.example/main-entrance".

        Raises:
            LedgerFault: another gate writes it, it cannot be read or written, it was made with
                another key, or it does not match its newest checkpoint.
        """
        if signer.name != origin:
            raise LedgerFault(
                f"the log key belongs to {signer.name}, not to {origin}",
                "use the key that was made for this gate",
            )
        lock = _take_lock(path)
        try:
            identity = create_private(path)
            with _translated(path):
                # Autocommit: transactions are opened by hand, where they can be seen.
                db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            ledger = cls(path, signer, db, lock)
        except BaseException:
            os.close(lock)
            raise
        try:
            with _translated(path):
                ledger._prepare()
                ledger._load()
                ledger._files = OpenFiles(path, identity)
        except BaseException:
            ledger.close()
            raise
        return ledger

    def append(self, record: Record, now: datetime) -> int:
        """Make one record durable and return its sequence number (0 for the first).

        Only the quarter of an hour of `now` is kept.

        Raises:
            LedgerFault: it could not be made durable. The caller must not act on it. The log is
                as before, and a later append works once the cause is gone; except when the files
                were moved, replaced or deleted: then every append fails until the log is opened
                again, and this record may turn up in what was moved away.
            ValueError: the record does not fit the closed schema.
        """
        with self._guard, _translated(self._path):
            return self._append(record, batch_of(now))

    def prune(self, below: int, now: datetime) -> int:
        """Delete the bodies of all entries before `below`, keep their hashes, and say so.

        The deletion and its `Pruned` record are durable together or not at all. See `traces_left`
        for the bytes.

        Args:
            below: a multiple of 256, more than was pruned before, at most the size of the log.
            now: as in `append`.

        Returns:
            The sequence number of the record.

        Raises:
            LedgerFault: as in `append`.
            ValueError: `below` is out of range.
        """
        record = Pruned(below)
        with self._guard, _translated(self._path):
            if not self._below < below <= self._frontier.size:
                raise ValueError("prune more than before, and not more than there is")
            seq = self._append(record, batch_of(now), below)
            self._remove_traces()
            return seq

    def prunable(self, before: datetime) -> int:
        """Return up to where whole tiles hold only entries older than `before`; 0 for nowhere.

        The age of an entry is its quarter of an hour.

        Raises:
            LedgerFault: the log cannot be read.
        """
        with self._guard, _translated(self._path):
            young = oldest_young(self._db, batch_of(before))
            below = (self._frontier.size if young is None else young) // TILE * TILE
            return below if below > self._below else 0

    def pruned_below(self) -> int:
        """Return the number of entries whose bodies were deleted."""
        with self._guard:
            return self._below

    def traces_left(self) -> bool:
        """Whether bytes of pruned bodies may still stand in the write-ahead log.

        So it is while somebody else reads an older state of the log. Each append, and each call
        of this, tries again to remove them.
        """
        with self._guard, _translated(self._path):
            self._remove_traces()
            return self._traces

    def _append(self, record: Record, batch: int, below: int = 0) -> int:
        """Append under the guard; prune below `below` in the same transaction."""
        self._check_files()
        if self._doubt:
            self._load()
            self._doubt = False
        seq = self._frontier.size
        if self._last_batch == batch + 1:
            # Two threads, or a clock put right by a moment: no quarter of an hour goes back by
            # one, so that this tells nothing.
            batch = self._last_batch
        body = encode(seq, batch, record)
        frontier = self._frontier.copy()
        frontier.append(leaf_hash(body))
        note = self._sign(frontier)
        # Until the commit is known to stand, memory and disk may differ.
        self._doubt = True
        with self._transaction():
            if below:
                delete_bodies(self._db, below)
            self._db.execute("INSERT INTO entries VALUES (?, ?)", (seq, body))
            if batch == self._last_batch:
                # One checkpoint for each quarter of an hour is kept, and the newest.
                self._db.execute("DELETE FROM checkpoints WHERE size = ?", (seq,))
            self._db.execute("INSERT INTO checkpoints VALUES (?, ?)", (seq + 1, note))
        self._traces = self._traces or below > 0
        self._check_files(committed=True)
        self._frontier, self._note, self._last_batch = frontier, note, batch
        self._below = max(self._below, below)
        self._doubt = False
        if self._traces and not below:
            self._remove_traces()
        return seq

    def _remove_traces(self) -> None:
        """Cut the write-ahead log, where pruned bodies may still stand. Never raises.

        The record is durable already, so a failure here must not say otherwise.
        """
        if self._traces:
            with contextlib.suppress(sqlite3.Error):
                self._traces = not truncate_wal(self._db)

    def size(self) -> int:
        """Return the number of entries."""
        with self._guard:
            return self._frontier.size

    def newest(self, n: int) -> tuple[Entry, ...]:
        """Return up to `n` entries, newest first."""
        with self._guard, _translated(self._path):
            rows = self._db.execute("SELECT body FROM entries ORDER BY seq DESC LIMIT ?", (n,))
            return tuple(decode(body) for (body,) in rows)

    def checkpoint_note(self) -> str:
        """Return the newest signed checkpoint (C2SP tlog-checkpoint). Publish it elsewhere."""
        with self._guard:
            return self._note

    def settled_note(self, now: datetime) -> str:
        """Return the newest signed checkpoint of a quarter of an hour that is over.

        A witness's clock is exact. Over this checkpoint it says no more than the log does.
        """
        with self._guard, _translated(self._path):
            if batch_of(now) > self._last_batch:
                return self._note
            rows = self._db.execute(
                "SELECT note FROM checkpoints WHERE size < ? ORDER BY size DESC LIMIT 1",
                (self._frontier.size,),
            )
            return str((rows.fetchone() or (self._note,))[0])

    def keep_cosigned(self, witness: str, size: int, note: str) -> None:
        """Keep a checkpoint that a witness co-signed, in place of that witness's one before.

        An older one than is there is not kept.

        Args:
            witness: name and key id, see `gate.ledger.cosignature.WitnessKey.ident`.
            size: of the checkpoint.
            note: the checkpoint with this log's signature and the co-signature, both verified.

        Raises:
            LedgerFault: it could not be made durable.
        """
        with self._guard, _translated(self._path):
            self._check_files()
            with self._transaction():
                self._db.execute(
                    "INSERT INTO cosigned VALUES (?, ?, ?) ON CONFLICT (witness) DO UPDATE"
                    " SET size = excluded.size, note = excluded.note"
                    " WHERE excluded.size >= cosigned.size",
                    (witness, size, note),
                )
                self._db.execute(
                    "DELETE FROM cosigned WHERE witness NOT IN"
                    " (SELECT witness FROM cosigned ORDER BY size DESC, witness LIMIT ?)",
                    (COSIGNED_MAX,),
                )

    def cosigned(self) -> list[tuple[str, int, str]]:
        """Return witness, size and note of each witness's newest co-signature, newest first."""
        with self._guard, _translated(self._path):
            rows = self._db.execute(
                "SELECT witness, size, note FROM cosigned ORDER BY size DESC, witness"
            )
            return rows.fetchall()

    def close(self) -> None:
        """Release the file and its lock. Idempotent."""
        with self._guard:
            if self._lock < 0:
                return
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            if self._files is not None:
                self._files.close()
            os.close(self._lock)
            self._lock = -1

    def _check_files(self, *, committed: bool = False) -> None:
        """Refuse to write into files that no path names any more, from the first sight on."""
        if self._lost:
            raise moved(self._path)
        if self._files is None or self._lock < 0:
            return
        try:
            self._files.check_committed() if committed else self._files.check()
        except LedgerFault:
            self._lost = True
            raise

    def _prepare(self) -> None:
        """Set SQLite up, and write the schema and a checkpoint of nothing into a new file."""
        self._db.execute("PRAGMA synchronous = FULL")
        # What is deleted is overwritten with zeros.
        self._db.execute("PRAGMA secure_delete = ON")
        self._db.execute("PRAGMA trusted_schema = OFF")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if (version, application, tables) == (0, 0, 0):
            # SQLite says by its answer alone that a disk did not take the change.
            (mode,) = self._db.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise LedgerFault(
                    f"the disk did not take the new log {self._path}",
                    "free space on its disk, check the disk's health, start again",
                )
            with self._transaction():
                for statement in _SCHEMA:
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                self._db.execute("INSERT INTO log VALUES (1, ?)", (self._signer.vkey,))
                note = self._sign(Frontier())
                self._db.execute("INSERT INTO checkpoints VALUES (0, ?)", (note,))
            _sync_folder(self._path.parent)
        elif (version, application) != (SCHEMA_VERSION, APPLICATION_ID):
            raise LedgerFault(
                f"{self._path} is not a log of this version", "name another file in [ledger] path"
            )
        (mode,) = self._db.execute("PRAGMA journal_mode").fetchone()
        if mode != "wal":
            raise LedgerFault(f"{self._path} is not in write-ahead mode", _TAMPERED)
        # A gate that was killed right after it pruned left the bytes in the write-ahead log.
        self._traces = not truncate_wal(self._db)

    def _load(self) -> None:
        """Hash every entry again and compare with the newest checkpoint."""
        tampered = f"{self._path} does not match its newest checkpoint"
        (vkey,) = self._db.execute("SELECT vkey FROM log").fetchone() or ("",)
        if vkey != self._signer.vkey:
            raise LedgerFault(
                f"{self._path} was written with another key",
                "use the key file that belongs to it, or name a new file in [ledger] path",
            )
        frontier, last = Frontier(), b""
        for tile, hashes in self._db.execute("SELECT tile, hashes FROM leaf_tiles ORDER BY tile"):
            if tile * TILE != frontier.size or len(hashes) != TILE * HASH_BYTES:
                raise LedgerFault(tampered, _TAMPERED)
            for start in range(0, len(hashes), HASH_BYTES):
                frontier.append(hashes[start : start + HASH_BYTES])
        below = frontier.size
        for seq, body in self._db.execute("SELECT seq, body FROM entries ORDER BY seq"):
            if seq != frontier.size:
                raise LedgerFault(tampered, _TAMPERED)
            frontier.append(leaf_hash(body))
            last = body
        newest = self._db.execute("SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1")
        size, note = newest.fetchone() or (0, "")
        try:
            found = open_note(note, self._signer.vkey)
        except LedgerFault:
            raise LedgerFault(tampered, _TAMPERED) from None
        if found != self._checkpoint(frontier) or size != found.size:
            raise LedgerFault(tampered, _TAMPERED)
        self._frontier, self._note = frontier, note
        self._last_batch = decode(last).batch if last else -1
        self._below = below

    def _checkpoint(self, frontier: Frontier) -> Checkpoint:
        return Checkpoint(self._signer.name, frontier.size, frontier.root())

    def _sign(self, frontier: Frontier) -> str:
        return self._signer.sign(self._checkpoint(frontier))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # SQLite may have rolled back by itself already (disk full).
            with contextlib.suppress(sqlite3.Error):
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            raise


def _take_lock(path: Path) -> int:
    """Hold `path`.lock until the descriptor is closed or the process dies."""
    name = path.with_name(path.name + ".lock")
    try:
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise LedgerFault(
            f"cannot open {name}: {error.strerror}", "create its folder, owned by the gate's user"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise LedgerFault(
            f"another gate writes {path}", "stop it, or name another file in [ledger] path"
        ) from None
    return lock


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system say into one clear line."""
    try:
        yield
    except sqlite3.Error as error:
        raise _fault(path, error) from None
    except OSError as error:
        raise LedgerFault(f"cannot write the log {path}: {error.strerror}", "check it") from None


def _fault(path: Path, error: sqlite3.Error) -> LedgerFault:
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return LedgerFault(f"no space left to write the log {path}", "free space on its disk")
        case sqlite3.SQLITE_IOERR:
            return LedgerFault(
                f"the disk did not take the log {path}",
                "free space on its disk, check file size limits and the disk's health",
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
            return LedgerFault(f"the log {path} cannot be written", "check its owner and folder")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return LedgerFault(f"another program blocks the log {path}", "close that program")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return LedgerFault(f"{path} is not a whole SQLite file", _TAMPERED)
    return LedgerFault(
        f"the log {path} cannot be used ({getattr(error, 'sqlite_errorname', 'closed')})",
        "restart the gate",
    )
