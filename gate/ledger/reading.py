"""Reading a log file from beside its writer: never writes, never makes it wait.

What is read here is not judged: that is the work of `gate.ledger.verify`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from gate.errors import LedgerFault
from gate.ledger.merkle import leaf_hash
from gate.ledger.tiles import WIDTH, split_hashes


class LogView:
    """One moment's state of a log. Make it with `reading`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def size(self) -> int:
        """Return the number of entries."""
        (last,) = self._db.execute("SELECT max(seq) FROM entries").fetchone()
        return 0 if last is None else int(last) + 1

    def vkey(self) -> str:
        """Return the verifier key that the file names."""
        row = self._db.execute("SELECT vkey FROM log").fetchone()
        return str(row[0]) if row else ""

    def notes(self) -> list[tuple[int, str]]:
        """Return size and text of every kept checkpoint, oldest first."""
        return [
            (int(size), str(note))
            for size, note in self._db.execute("SELECT size, note FROM checkpoints ORDER BY size")
        ]

    def newest_note(self) -> str:
        """Return the newest signed checkpoint, or an empty text."""
        found = self._db.execute("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1")
        row = found.fetchone()
        return str(row[0]) if row else ""

    def cosigned(self) -> list[tuple[str, int, str]]:
        """Return witness, size and note of each witness's newest co-signature, newest first."""
        query = "SELECT witness, size, note FROM cosigned ORDER BY size DESC, witness"
        return [(str(who), int(size), str(note)) for who, size, note in self._db.execute(query)]

    def entries(self, first: int, end: int) -> Iterator[tuple[bytes | None, bytes]]:
        """Yield body and leaf hash of the entries `first` to `end` - 1; no body when pruned."""
        query = (
            "SELECT tile, hashes FROM leaf_tiles WHERE tile >= ? AND tile * 256 < ? ORDER BY tile"
        )
        for tile, hashes in self._db.execute(query, (first // WIDTH, end)):
            for place, leaf in enumerate(split_hashes(hashes), tile * WIDTH):
                if first <= place < end:
                    yield None, leaf
        query = "SELECT body FROM entries WHERE seq >= ? AND seq < ? ORDER BY seq"
        for (body,) in self._db.execute(query, (first, end)):
            yield body, leaf_hash(body)


@contextmanager
def reading(path: Path) -> Iterator[LogView]:
    """Open one moment's state of a log file, also while a gate writes it.

    Raises:
        LedgerFault: there is no log, or it cannot be read.
    """
    if not path.is_file():
        raise LedgerFault(f"there is no log at {path}", "check the path, or start the gate")
    # Without a -wal file nobody writes; SQLite would want to make one even for reading.
    at_rest = not path.with_name(path.name + "-wal").exists()
    uri = f"file:{quote(os.fsencode(path.resolve()))}?{'immutable=1' if at_rest else 'mode=ro'}"
    try:
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as db:
            db.execute("PRAGMA query_only = ON")
            db.execute("BEGIN")
            yield LogView(db)
    except sqlite3.Error:
        raise LedgerFault(f"cannot read the log {path}", "run as the gate's user") from None
