"""Reads a gate's log for the pages: never writes, works while the gate writes."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from gate.errors import LedgerFault
from gate.ledger.encoding import BATCH_S, Entry, batch_of, decode
from gate.ledger.record import Decided

MINIMUM_COUNT = 5
"""A smaller group of people is shown as "fewer than 5": nobody is to be counted out of it."""
BATCHES_A_DAY = 24 * 3600 // BATCH_S


@dataclass(frozen=True)
class Tally:
    """How many decisions, never fewer than MINIMUM_COUNT by number.

    `shown` is 0, a number of at least MINIMUM_COUNT, or None for a few.
    """

    shown: int | None

    @classmethod
    def of(cls, count: int) -> Tally:
        """Return what may be shown of a count."""
        return cls(None if 0 < count < MINIMUM_COUNT else count)


@dataclass(frozen=True)
class Day:
    """The decisions of one local day. `grants` and `denials` have one Tally per quarter hour."""

    grants: tuple[Tally, ...]
    denials: tuple[Tally, ...]
    granted: Tally
    denied: Tally
    reasons: tuple[tuple[str, Tally], ...]
    """DenyReason values, most frequent first; a few last, in the order of their names."""


class Logbook:
    """One log file, opened anew for each question.

    Every method raises LedgerFault when the file is absent or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def checkpoint_note(self) -> str:
        """Return the newest signed checkpoint, not verified here."""
        with self._reading() as db:
            found = db.execute("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1")
            row = found.fetchone()
        return str(row[0]) if row else ""

    def newest(self, limit: int) -> list[Entry]:
        """Return up to `limit` entries, newest first."""
        with self._reading() as db:
            rows = db.execute("SELECT body FROM entries ORDER BY seq DESC LIMIT ?", (limit,))
            return [decode(body) for (body,) in rows]

    def day(self, now: datetime) -> Day:
        """Return the tallies of the day of `now` in its own time zone."""
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        first = batch_of(midnight)
        grants: Counter[int] = Counter()
        denials: Counter[int] = Counter()
        reasons: Counter[str] = Counter()
        with self._reading() as db:
            for (body,) in db.execute("SELECT body FROM entries ORDER BY seq DESC"):
                entry = decode(body)
                if entry.batch < first:
                    break
                match entry.record:
                    case Decided(granted=True):
                        grants[entry.batch - first] += 1
                    case Decided(reason=reason) if reason is not None:
                        denials[entry.batch - first] += 1
                        reasons[reason.value] += 1
        many = [(name, n) for name, n in reasons.most_common() if n >= MINIMUM_COUNT]
        few = sorted((name, n) for name, n in reasons.items() if n < MINIMUM_COUNT)
        return Day(
            grants=tuple(Tally.of(grants[slot]) for slot in range(BATCHES_A_DAY)),
            denials=tuple(Tally.of(denials[slot]) for slot in range(BATCHES_A_DAY)),
            granted=Tally.of(grants.total()),
            denied=Tally.of(denials.total()),
            reasons=tuple((name, Tally.of(n)) for name, n in [*many, *few]),
        )

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if not self._path.is_file():
            raise LedgerFault("there is no log yet", "start the gate, or check [ledger] path")
        # Without a -wal file nobody writes; SQLite would want to make one even for reading.
        at_rest = not self._path.with_name(self._path.name + "-wal").exists()
        mode = "immutable=1" if at_rest else "mode=ro"
        try:
            place = quote(os.fsencode(self._path.resolve()))
            db = sqlite3.connect(f"file:{place}?{mode}", uri=True)
            with closing(db):
                db.execute("PRAGMA query_only = ON")
                yield db
        except sqlite3.Error:
            raise LedgerFault("the log cannot be read", "verify it and check its owner") from None


def quarter(batch: int, here: datetime) -> tuple[datetime, datetime]:
    """Return begin and end of a batch in the time zone of `here`."""
    begin = datetime.fromtimestamp(batch * BATCH_S, tz=here.tzinfo)
    return begin, begin + timedelta(seconds=BATCH_S)
