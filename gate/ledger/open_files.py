"""Whether the files of a log are still the ones that SQLite writes to.

A file may be deleted, moved or replaced while it is open. SQLite then goes on writing into an
inode that no path names, and says that every commit is durable: on the disk it is, but where
nobody finds it. So the identity (device, inode) of each file is compared with its path's.

Not seen: another file's content copied into the same inode. The next start finds that, because
every entry is hashed again (gate.ledger.store).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from gate.errors import LedgerFault

_WAL_MAGIC: Final = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
"""First bytes of a write-ahead log that holds a commit (sqlite.org/fileformat2, 4.1)."""

Identity = tuple[int, int]


class OpenFiles:
    """The database, its write-ahead log and that log's index, as they were at open."""

    def __init__(self, path: Path, database: Identity) -> None:
        """Remember the files of a log that SQLite has opened and read.

        Args:
            path: the SQLite file.
            database: its identity before SQLite opened it.

        Raises:
            LedgerFault: they were replaced while they were opened.
            OSError: the write-ahead log cannot be opened.
        """
        # The working folder may change, the files do not.
        self._path = path.absolute()
        wal, index = (self._path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))
        # A descriptor of the database itself must never be held: closing it would drop SQLite's
        # locks (sqlite.org/howtocorrupt, 2.2). The write-ahead log carries none.
        self._wal = os.open(wal, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            self._wanted = (
                (self._path, database),
                (wal, _identity(os.fstat(self._wal))),
                (index, _identity(index.lstat())),
            )
            self.check()
        except BaseException:
            self.close()
            raise

    def check(self) -> None:
        """Compare every path with the file that was opened.

        Raises:
            LedgerFault: one of them is gone or another file now.
        """
        for path, identity in self._wanted:
            try:
                found = path.lstat()
            except OSError:
                found = None
            if found is None or found.st_nlink < 1 or _identity(found) != identity:
                raise moved(self._path)

    def check_committed(self) -> None:
        """Check the files once more after a commit, and that the commit can be read again.

        A write-ahead log that was cut to nothing in place has a hole where its header was.

        Raises:
            LedgerFault: a file is gone, another one, or cut.
        """
        self.check()
        if os.pread(self._wal, 4, 0) not in _WAL_MAGIC:
            raise moved(self._path)

    def close(self) -> None:
        """Release the descriptor. Once only."""
        os.close(self._wal)


def moved(path: Path) -> LedgerFault:
    """Return the failure for a log whose files changed under the gate."""
    return LedgerFault(
        f"the log {path} was moved, replaced or deleted while the gate runs",
        "stop the gate, restore the file with its -wal, start again",
    )


def create_private(path: Path) -> Identity:
    """Make an empty 0600 file, or refuse one that others can change; return which file it is.

    SQLite gives the same mode to the files that it puts beside it.

    Raises:
        LedgerFault: it cannot be made, or other users can open it.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            found = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise LedgerFault(
            f"cannot open the log {path}: {error.strerror}", "check its owner and folder"
        ) from None
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise LedgerFault(f"other users can open the log {path}", f"chmod 600 {path}")
    return _identity(found)


def _identity(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino
