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

import base64
import binascii
import hashlib
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gate.errors import ConfigError, LedgerFault

_PROBLEMS_SHOWN: Final = 50
_ENTRY_MAX_BYTES: Final = 1024
_CACHED_SUBTREE: Final = 256


@dataclass(frozen=True)
class Report:
    """What an audit found. `problems` is empty exactly when `ok`.

    `counts` has, among others: a number for each kind of record, `grants`, `denials`,
    `grants_without_movement` (a crash between record and act: nobody was let in by it, or the
    outcome is not known), `unclean_stops`, `clock_steps_back`, `checkpoints`, and
    `denied.<reason>`, `lane.<lane>`, `moved.<result>`, `crossing.<crossing>`, `fault.<code>`.
    `policies` are the policies the gate said it worked under, in order; compare them with the
    published ones.
    """

    ok: bool
    size: int
    root_hex: str
    problems: tuple[str, ...]
    counts: Mapping[str, int]
    policies: tuple[str, ...] = ()


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
    key = _parse_vkey(vkey)
    at_rest = _at_rest(path)
    report = _verify_file(path, at_rest, vkey, key, kept)
    if at_rest and not report.ok and not _at_rest(path):
        # A gate started to write while the file was read as one that nobody writes.
        return _verify_file(path, False, vkey, key, kept)
    return report


def _verify_file(path: Path, at_rest: bool, vkey: str, key: _Key, kept: Sequence[str]) -> Report:
    with _snapshot(path, at_rest) as db:
        problems = _Problems()
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
        return problems.report(0, b"", Counter(), ())


def verify_export(folder: Path, vkey: str, kept: Sequence[str] = ()) -> Report:
    """Verify an exported log: `entries.jsonl`, `checkpoint`, `checkpoints.jsonl`, `vkey`.

    Raises:
        LedgerFault: a file is missing or cannot be read.
        ConfigError: `vkey` is not a verifier key.
    """
    key = _parse_vkey(vkey)
    problems = _Problems()
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
        note = _json(line)
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
    key: _Key,
    kept: Sequence[str],
    problems: _Problems,
) -> Report:
    tree, order = _Tree(), _Order(problems)
    for place, (seq, body) in enumerate(rows):
        if seq != place:
            problems.add(4, f"entry {place} has another sequence number")
        raw = body if isinstance(body, bytes) else b""
        tree.add(raw)
        found = _read_record(raw)
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
    for index, note in enumerate(kept):
        signed = key.open(note)
        if signed is None or signed[0] != key.name:
            problems.add(8, f"kept checkpoint {index} is not signed by this log")
        elif signed[1] > size:
            problems.add(8, f"the log was cut: {signed[1]} entries were signed, {size} are left")
        elif tree.root(signed[1]) != signed[2]:
            problems.add(8, f"the log was rewritten: kept checkpoint {index} has another root")
    order.counts["checkpoints"] = len(notes)
    return problems.report(size, root, order.counts, tuple(order.policies))


# --- the schema, once more ------------------------------------------------------------------


@dataclass(frozen=True)
class Words:
    """One of these words (or null)."""

    words: frozenset[str]
    null: bool = False

    def holds(self, value: object) -> bool:
        """Whether the value fits."""
        return (value is None and self.null) or (type(value) is str and value in self.words)


@dataclass(frozen=True)
class Whole:
    """A whole number from low to high."""

    low: int
    high: int

    def holds(self, value: object) -> bool:
        """Whether the value fits."""
        return type(value) is int and self.low <= value <= self.high


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def holds(self, value: object) -> bool:
        """Whether the value fits."""
        return type(value) is bool


@dataclass(frozen=True)
class Sha256:
    """64 lower-case hexadecimal digits."""

    def holds(self, value: object) -> bool:
        """Whether the value fits."""
        return type(value) is str and re.fullmatch("[0-9a-f]{64}", value) is not None


def _words(text: str, *, null: bool = False) -> Words:
    return Words(frozenset(text.split()), null)


LANES: Final = _words("face pin none")
DENIALS: Final = _words(
    """card_unreadable card_untrusted card_expired card_not_yet_valid card_tampered card_cloned
    card_revoked status_unknown not_allowed_here no_match no_face multiple_faces
    presentation_attack low_quality consent_withdrawn template_rejected wrong_pin pin_locked
    pin_timeout no_pin_on_card timed_out key_unavailable verifier_fault camera_fault
    turnstile_offline ledger_unavailable shutting_down internal_fault""",
    null=True,
)
FAULTS: Final = _words(
    """camera camera_lost reader turnstile_offline turnstile_wrong_key tamper fire relay_unknown
    verifier_spawn verifier_killed verifier_contract key_agent_dead ledger_was_unavailable
    policy_expired deployment_expired status_list_stale internal"""
)
SCHEMA: Final[Mapping[str, Mapping[str, Words | Whole | Flag | Sha256]]] = {
    "started": {
        "mode": _words("demo production"),
        "pack": _words("bootstrap edge other"),
        "policy": Sha256(),
        "sandbox_ok": Flag(),
        "key_agent_ok": Flag(),
        "init_on_free": Flag(),
        "swap_off": Flag(),
        "core_dumps_off": Flag(),
        "hibernation_off": Flag(),
    },
    "decided": {"granted": Flag(), "reason": DENIALS, "lane": LANES},
    "moved": {
        "result": _words("opened refused not_delivered unknown"),
        "crossing": _words("one tailgating nobody unobserved"),
    },
    "verifier_died": {
        "exit_code": Whole(-64, 255),
        "lifetime_ds": Whole(0, 6000),
        "threads": Whole(0, 255),
        "no_new_privs": Flag(),
        "seccomp_mode": Whole(0, 2),
        "landlock_abi": Whole(0, 99),
        "dumpable": Flag(),
        "core_limit_zero": Flag(),
        "file_limit_zero": Flag(),
        "bytes_in": Whole(0, 65_535),
        "bytes_out": Whole(0, 65_535),
    },
    "faulted": {"code": FAULTS},
    "enrolled": {"act": _words("issued renewed withdrawn revoked")},
    "probed": {
        "needles": Whole(0, 65_535),
        "controls_found": Whole(0, 65_535),
        "residues": Whole(0, 65_535),
    },
    "stopped": {"clean": Flag()},
}
COMMON: Final[Mapping[str, Whole]] = {
    "v": Whole(1, 1),
    "seq": Whole(0, 2**53 - 1),
    "batch": Whole(0, 9_999_999),
}


def _read_record(raw: bytes) -> dict[str, Any] | None:
    """Return the members of a record, or None when it is not one."""
    found = _json(raw) if len(raw) <= _ENTRY_MAX_BYTES else None
    if not isinstance(found, dict) or not isinstance(found.get("kind"), str):
        return None
    own = SCHEMA.get(found["kind"])
    if own is None or found.keys() != {"kind", *COMMON, *own}:
        return None
    if not all(rule.holds(found[name]) for name, rule in {**COMMON, **own}.items()):
        return None
    if found["kind"] == "decided" and (
        found["granted"] is not (found["reason"] is None)
        or (found["granted"] and found["lane"] == "none")
    ):
        return None
    members = ",".join(f"{json.dumps(name)}:{json.dumps(found[name])}" for name in sorted(found))
    return found if f"{{{members}}}".encode() == raw else None


def _json(raw: bytes) -> object:
    """Parse ASCII JSON; None when it is not."""
    try:
        return json.loads(raw.decode("ascii"))
    except (ValueError, RecursionError):
        return None


# --- the order of records -------------------------------------------------------------------


@dataclass
class _Order:
    """Step 9, record by record, and the counts."""

    problems: _Problems
    counts: Counter[str] = field(default_factory=Counter)
    policies: list[str] = field(default_factory=list)
    running: bool = False
    grant: int | None = None
    """The place of a grant whose movement was not recorded yet."""
    batch: int = 0

    def take(self, place: int, record: Mapping[str, Any]) -> None:
        """Follow the gate by one record."""
        kind = record["kind"]
        self.counts[kind] += 1
        if record["batch"] < self.batch:
            # Not a problem by itself: clocks get corrected. The auditor sees how often.
            self.counts["clock_steps_back"] += 1
        self.batch = record["batch"]
        # An enrolment station writes to a log of its own that no gate starts or stops.
        if not self.running and kind not in {"started", "enrolled"}:
            self.problems.add(9, f"entry {place} ({kind}) stands where no gate was running")
        _STEPS[kind](self, place, record)

    def started(self, _place: int, record: Mapping[str, Any]) -> None:
        if self.running:
            self.counts["unclean_stops"] += 1
            self._abandon()
        self.running = True
        if not self.policies or self.policies[-1] != record["policy"]:
            self.policies.append(record["policy"])

    def decided(self, place: int, record: Mapping[str, Any]) -> None:
        if self.grant is not None:
            self.problems.add(9, f"grant {self.grant} has no movement before decision {place}")
            self.grant = None
        self.counts[f"lane.{record['lane']}"] += 1
        if record["granted"]:
            self.counts["grants"] += 1
            self.grant = place
        else:
            self.counts["denials"] += 1
            self.counts[f"denied.{record['reason']}"] += 1

    def moved(self, place: int, record: Mapping[str, Any]) -> None:
        if self.grant is None:
            self.problems.add(9, f"movement {place} has no grant")
        self.grant = None
        self.counts[f"moved.{record['result']}"] += 1
        self.counts[f"crossing.{record['crossing']}"] += 1

    def faulted(self, _place: int, record: Mapping[str, Any]) -> None:
        self.counts[f"fault.{record['code']}"] += 1

    def probed(self, _place: int, record: Mapping[str, Any]) -> None:
        self.counts["residues"] += record["residues"]

    def stopped(self, _place: int, record: Mapping[str, Any]) -> None:
        if self.grant is not None and record["clean"]:
            self.problems.add(9, f"grant {self.grant} has no movement before a clean stop")
            self.grant = None
        self._abandon()
        self.running = False

    def other(self, _place: int, _record: Mapping[str, Any]) -> None:
        """A record that may stand anywhere while a gate runs."""

    def end(self) -> None:
        """The log may end while a passage is on its way."""
        self._abandon()

    def _abandon(self) -> None:
        if self.grant is not None:
            self.counts["grants_without_movement"] += 1
            self.grant = None


_STEPS: Final[Mapping[str, Callable[[_Order, int, Mapping[str, Any]], None]]] = {
    "started": _Order.started,
    "decided": _Order.decided,
    "moved": _Order.moved,
    "verifier_died": _Order.other,
    "faulted": _Order.faulted,
    "enrolled": _Order.other,
    "probed": _Order.probed,
    "stopped": _Order.stopped,
}


# --- hashing and signatures -----------------------------------------------------------------


class _Tree:
    """The Merkle tree by its recursive definition, RFC 9162 section 2.1.1."""

    def __init__(self) -> None:
        self.size = 0
        self._leaves = bytearray()
        self._cache: dict[tuple[int, int], bytes] = {}

    def add(self, entry: bytes) -> None:
        """Add d(n): MTH({d(0)}) = HASH(0x00 || d(0))."""
        self._leaves += hashlib.sha256(b"\x00" + entry).digest()
        self.size += 1

    def root(self, size: int) -> bytes:
        """Return MTH(D[0:size])."""
        return self._mth(0, size) if size else hashlib.sha256(b"").digest()

    def _mth(self, start: int, end: int) -> bytes:
        n = end - start
        if n == 1:
            return bytes(self._leaves[32 * start : 32 * end])
        known = self._cache.get((start, end))
        if known is not None:
            return known
        k = 1
        while k * 2 < n:
            k *= 2
        parts = self._mth(start, start + k) + self._mth(start + k, end)
        root = hashlib.sha256(b"\x01" + parts).digest()
        # A complete subtree never changes; without this, earlier checkpoints take too long.
        if n == 2 * k and n >= _CACHED_SUBTREE:
            self._cache[start, end] = root
        return root


@dataclass(frozen=True)
class _Key:
    """A verifier key: name, key id (4 bytes), Ed25519 public key (32 bytes)."""

    name: str
    key_id: bytes
    public: bytes

    def open(self, note: str) -> tuple[str, int, bytes] | None:
        """Return origin, size and root of a note signed by this key, or None.

        Source: C2SP signed-note, C2SP tlog-checkpoint.
        """
        text, found, signatures = note.rpartition("\n\n")
        lines = text.split("\n")
        if not found or len(lines) != 3 or not signatures.endswith("\n"):
            return None
        valid = False
        for line in signatures.removesuffix("\n").split("\n"):
            match = re.fullmatch(r"\u2014 ([^ +]+) ([A-Za-z0-9+/]+={0,2})", line)
            raw = _base64(match[2]) if match else None
            if match is None or raw is None:
                return None
            if match[1] != self.name or raw[:4] != self.key_id:
                continue
            try:
                public = Ed25519PublicKey.from_public_bytes(self.public)
                public.verify(raw[4:], f"{text}\n".encode())
            except (InvalidSignature, ValueError):
                return None
            valid = True
        root = _base64(lines[2])
        size_ok = re.fullmatch("0|[1-9][0-9]{0,15}", lines[1], re.ASCII)
        if not valid or not size_ok or root is None or len(root) != 32:
            return None
        return lines[0], int(lines[1]), root


def _parse_vkey(vkey: str) -> _Key:
    match = re.fullmatch(r"([!-*,-~]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)", vkey)
    raw = _base64(match[3]) if match else None
    if match is not None and raw is not None and len(raw) == 33 and raw[0] == 1:
        key_id = hashlib.sha256(f"{match[1]}\n".encode() + raw).digest()[:4]
        if key_id.hex() == match[2]:
            return _Key(match[1], key_id, raw[1:])
    raise ConfigError("not an Ed25519 verifier key", "copy the line from the log's vkey file")


def _base64(text: str) -> bytes | None:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64.b64encode(raw).decode() == text else None


# --- the file -------------------------------------------------------------------------------

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
_TABLES: Final = frozenset({"log", "entries", "checkpoints"})


class _Problems:
    """The problems found, in words, with the number of the step. Never a record's content."""

    def __init__(self) -> None:
        self._shown: list[str] = []
        self._more = 0

    def add(self, step: int, what: str) -> None:
        """Note one problem."""
        if len(self._shown) < _PROBLEMS_SHOWN:
            self._shown.append(f"step {step}: {what}")
        else:
            self._more += 1

    def report(
        self, size: int, root: bytes, counts: Counter[str], policies: tuple[str, ...]
    ) -> Report:
        """Return the report."""
        shown = [*self._shown, f"and {self._more} more"] if self._more else self._shown
        return Report(
            not shown, size, root.hex(), tuple(shown), MappingProxyType(dict(counts)), policies
        )


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
