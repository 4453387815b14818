"""Deleting the oldest bodies of a log, whole tiles at a time, so that the bytes are really gone.

The leaf hash of each deleted body stays, so the tree, every checkpoint and every proof still
check. Three places hold a body: its page, the page's free space, and the write-ahead log. The
page is overwritten with zeros in place before the row goes (a row that SQLite moves between pages
while it deletes is then zeros already), `secure_delete` clears what becomes free, and the
write-ahead log is cut.

Not reached: what the file system or a flash disk keeps of overwritten blocks. Encrypt the disk.
"""

from __future__ import annotations

import json
import sqlite3

from gate.ledger.merkle import HASH_BYTES, leaf_hash
from gate.ledger.record import TILE


def delete_bodies(db: sqlite3.Connection, below: int) -> None:
    """Replace the bodies of all entries before `below` by their leaf hashes.

    Args:
        db: a log, inside a transaction, with `secure_delete` on.
        below: a multiple of 256, at most the number of entries.
    """
    hashes = bytearray()
    for seq, body in db.execute(
        "SELECT seq, body FROM entries WHERE seq < ? ORDER BY seq", (below,)
    ):
        hashes += leaf_hash(body)
        if (seq + 1) % TILE == 0:
            assert len(hashes) == TILE * HASH_BYTES, "entries have no gap: Ledger hashed them all"
            db.execute("INSERT INTO leaf_tiles VALUES (?, ?)", (seq // TILE, bytes(hashes)))
            hashes.clear()
    db.execute("UPDATE entries SET body = zeroblob(length(body)) WHERE seq < ?", (below,))
    db.execute("DELETE FROM entries WHERE seq < ?", (below,))


def oldest_young(db: sqlite3.Connection, batch: int) -> int | None:
    """Return the first entry that does not belong before `batch`, or None when all do."""
    for seq, body in db.execute("SELECT seq, body FROM entries ORDER BY seq"):
        if json.loads(body)["batch"] >= batch:
            return int(seq)
    return None


def truncate_wal(db: sqlite3.Connection) -> bool:
    """Move everything into the database file and cut the write-ahead log to nothing.

    Returns:
        False when somebody else reads an older state meanwhile. Waits for nobody.
    """
    (wait_ms,) = db.execute("PRAGMA busy_timeout").fetchone()
    db.execute("PRAGMA busy_timeout = 0")
    try:
        (busy, _frames, _moved) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        db.execute(f"PRAGMA busy_timeout = {int(wait_ms)}")
    return not busy
