"""The closed record schema, version 1. Pure.

A record can hold enum words, booleans, bounded whole numbers and the SHA-256 of the policy, and
nothing else: no text, no bytes, no fractions, no identity, no score, no exact time. Whatever is
not listed here cannot be written, and `gate.ledger.verify` refuses it with a table of its own.

On the wire a record is canonical JSON (a subset of RFC 8785: ASCII keys in order, no spaces), so
that one record has exactly one encoding and one leaf hash.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

from firmware_bridge.ports import Crossing, OpenResult
from gate.errors import LedgerFault
from gate.passage.decision import Decision, DenyReason, Grant, Lane
from gate.verifier.certificate import DeathCertificate

VERSION: Final = 1
BATCH_S: Final = 900
"""All records of one quarter of an hour carry the same batch number: no exact time."""
BATCH_MAX: Final = 9_999_999
SEQ_MAX: Final = 2**53 - 1
"""The largest whole number that every JSON reader keeps exact (RFC 8785 section 3.2.2.3)."""
BODY_MAX_BYTES: Final = 1024


@dataclass(frozen=True)
class Within:
    """The closed range of a whole number."""

    low: int
    high: int

    def clamp(self, value: int) -> int:
        """Return the nearest value of the range; a bound then means "or beyond"."""
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Hex:
    """Lower-case hexadecimal of exactly `digits` digits."""

    digits: int


EXIT_CODE: Final = Within(-64, 255)
LIFETIME_DS: Final = Within(0, 6000)
THREADS: Final = Within(0, 255)
SECCOMP_MODE: Final = Within(0, 2)
LANDLOCK_ABI: Final = Within(0, 99)
PIPE_BYTES: Final = Within(0, 65_535)
COUNT: Final = Within(0, 65_535)


class Mode(Enum):
    """Whether this gate guards a door or shows how it would."""

    DEMO = "demo"
    PRODUCTION = "production"


class Pack(Enum):
    """Which family of face models runs."""

    BOOTSTRAP = "bootstrap"
    EDGE = "edge"
    OTHER = "other"


class FaultCode(Enum):
    """What failed. For the admin and the auditor."""

    CAMERA = "camera"
    CAMERA_LOST = "camera_lost"
    READER = "reader"
    TURNSTILE_OFFLINE = "turnstile_offline"
    TURNSTILE_WRONG_KEY = "turnstile_wrong_key"
    TAMPER = "tamper"
    FIRE = "fire"
    RELAY_UNKNOWN = "relay_unknown"
    VERIFIER_SPAWN = "verifier_spawn"
    VERIFIER_KILLED = "verifier_killed"
    VERIFIER_CONTRACT = "verifier_contract"
    KEY_AGENT_DEAD = "key_agent_dead"
    LEDGER_WAS_UNAVAILABLE = "ledger_was_unavailable"
    POLICY_EXPIRED = "policy_expired"
    DEPLOYMENT_EXPIRED = "deployment_expired"
    STATUS_LIST_STALE = "status_list_stale"
    INTERNAL = "internal"


class Act(Enum):
    """What an enrolment officer did with a credential. A person who declines leaves no record."""

    ISSUED = "issued"
    RENEWED = "renewed"
    WITHDRAWN = "withdrawn"
    REVOKED = "revoked"


class _Checked:
    """A record whose fields are checked when it is made."""

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True)
class Started(_Checked):
    """The gate began to work under one policy. A host condition is true only when it was shown."""

    mode: Mode
    pack: Pack
    policy: Annotated[str, Hex(64)]
    """SHA-256 of the signed policy, lower-case hexadecimal. The only free bits of the schema;
    the auditor compares them with the published policies."""
    sandbox_ok: bool
    key_agent_ok: bool
    init_on_free: bool = False
    swap_off: bool = False
    core_dumps_off: bool = False
    hibernation_off: bool = False


@dataclass(frozen=True)
class Decided(_Checked):
    """One passage was decided. `reason` is None exactly when it was granted."""

    granted: bool
    reason: DenyReason | None
    lane: Lane

    @classmethod
    def of(cls, decision: Decision) -> Decided:
        """Return the record of a decision."""
        if isinstance(decision, Grant):
            return cls(granted=True, reason=None, lane=decision.lane)
        return cls(granted=False, reason=decision.reason, lane=decision.lane)


@dataclass(frozen=True)
class Moved(_Checked):
    """What the turnstile did after a grant, and what its sensors saw."""

    result: OpenResult
    crossing: Crossing


@dataclass(frozen=True)
class VerifierDied(_Checked):
    """The death certificate of one verifier, coarse enough to tell nothing about a person.

    A number at the end of its range means "or beyond".
    """

    exit_code: Annotated[int, EXIT_CODE]
    lifetime_ds: Annotated[int, LIFETIME_DS]
    """Tenths of a second, rounded up."""
    threads: Annotated[int, THREADS]
    no_new_privs: bool
    seccomp_mode: Annotated[int, SECCOMP_MODE]
    landlock_abi: Annotated[int, LANDLOCK_ABI]
    dumpable: bool
    core_limit_zero: bool
    file_limit_zero: bool
    bytes_in: Annotated[int, PIPE_BYTES]
    bytes_out: Annotated[int, PIPE_BYTES]

    @classmethod
    def of(cls, certificate: DeathCertificate) -> VerifierDied:
        """Return the record of a certificate; numbers outside a range become its bound."""
        return cls(
            exit_code=EXIT_CODE.clamp(certificate.exit_code),
            lifetime_ds=LIFETIME_DS.clamp(-(-certificate.lifetime_ms // 100)),
            threads=THREADS.clamp(certificate.threads),
            no_new_privs=certificate.no_new_privs,
            seccomp_mode=SECCOMP_MODE.clamp(certificate.seccomp_mode),
            landlock_abi=LANDLOCK_ABI.clamp(certificate.landlock_abi),
            dumpable=certificate.dumpable,
            core_limit_zero=certificate.core_limit_bytes == 0,
            file_limit_zero=certificate.file_limit_bytes == 0,
            bytes_in=PIPE_BYTES.clamp(certificate.bytes_in),
            bytes_out=PIPE_BYTES.clamp(certificate.bytes_out),
        )


@dataclass(frozen=True)
class Faulted(_Checked):
    """Something of the gate failed."""

    code: FaultCode


@dataclass(frozen=True)
class Enrolled(_Checked):
    """A credential was issued or ended. It does not say whether a template is on it."""

    act: Act


@dataclass(frozen=True)
class Probed(_Checked):
    """A retention probe ran: how many needles it knew, controls it found, residues it found."""

    needles: Annotated[int, COUNT]
    controls_found: Annotated[int, COUNT]
    residues: Annotated[int, COUNT]


@dataclass(frozen=True)
class Stopped(_Checked):
    """The gate ended. `clean` is false when a passage was cut short."""

    clean: bool


Record = Started | Decided | Moved | VerifierDied | Faulted | Enrolled | Probed | Stopped

KINDS: Final[Mapping[str, type[Record]]] = {
    "started": Started,
    "decided": Decided,
    "moved": Moved,
    "verifier_died": VerifierDied,
    "faulted": Faulted,
    "enrolled": Enrolled,
    "probed": Probed,
    "stopped": Stopped,
}
_KIND_OF: Final = {record_type: kind for kind, record_type in KINDS.items()}


@dataclass(frozen=True)
class Entry:
    """One record at its place in the log."""

    seq: int
    batch: int
    record: Record


Rule = type[bool] | type[Enum] | Within | Hex


@dataclass(frozen=True)
class Column:
    """What one field may hold."""

    rule: Rule
    optional: bool = False


def _column(hint: Any) -> Column:
    if get_origin(hint) is Annotated:
        rule = get_args(hint)[1]
        assert isinstance(rule, Within | Hex)
        return Column(rule)
    if get_origin(hint) in {Union, types.UnionType}:
        (inner,) = [part for part in get_args(hint) if part is not type(None)]
        return Column(_column(inner).rule, optional=True)
    assert hint is bool or issubclass(hint, Enum), "the schema is closed"
    return Column(hint)


SCHEMA: Final[Mapping[type, Mapping[str, Column]]] = {
    record_type: {
        name: _column(hint)
        for name, hint in get_type_hints(record_type, include_extras=True).items()
        if name in {field.name for field in fields(record_type)}
    }
    for record_type in KINDS.values()
}


def _holds(column: Column, value: object) -> bool:
    """Whether a field's value is allowed. Exact types: a subclass could carry more."""
    match column.rule:
        case Within(low=low, high=high):
            return type(value) is int and low <= value <= high
        case Hex(digits=digits):
            return type(value) is str and bool(re.fullmatch(rf"[0-9a-f]{{{digits}}}", value))
        case rule:
            return type(value) is rule or (column.optional and value is None)


def _check(record: object) -> None:
    """Refuse a record that does not fit the schema. The message never holds the value."""
    schema = SCHEMA.get(type(record))
    if schema is None:
        raise ValueError("not a record of the closed schema")
    if set(vars(record)) != set(schema):
        raise ValueError(f"{type(record).__name__} has a field that its schema does not have")
    for name, column in schema.items():
        if not _holds(column, getattr(record, name)):
            raise ValueError(f"{type(record).__name__}.{name} does not fit the closed schema")
    if isinstance(record, Decided) and (
        record.granted is not (record.reason is None)
        or (record.granted and record.lane is Lane.NONE)
    ):
        raise ValueError("Decided: a grant has a lane and no reason, a denial has a reason")


def batch_of(now: datetime) -> int:
    """Return the quarter of an hour that a moment belongs to: floor(Unix time / 900 s).

    Raises:
        LedgerFault: the moment has no time zone, or the clock is outside 1970..2255.
    """
    if now.tzinfo is None:
        raise LedgerFault("a moment without a time zone", "pass an aware datetime")
    batch = int(now.timestamp() // BATCH_S)
    if not 0 <= batch <= BATCH_MAX:
        raise LedgerFault("the clock is far outside any plausible date", "set the clock")
    return batch


def encode(seq: int, batch: int, record: Record) -> bytes:
    """Return the one canonical encoding of a record: at most 1024 bytes of ASCII JSON.

    Raises:
        ValueError: a field, the sequence or the batch does not fit the schema.
    """
    _check(record)
    if not (type(seq) is int and 0 <= seq <= SEQ_MAX):
        raise ValueError("seq is out of range")
    if not (type(batch) is int and 0 <= batch <= BATCH_MAX):
        raise ValueError("batch is out of range")
    body: dict[str, object] = {
        "batch": batch,
        "kind": _KIND_OF[type(record)],
        "seq": seq,
        "v": VERSION,
    }
    for name in SCHEMA[type(record)]:
        value = getattr(record, name)
        body[name] = value.value if isinstance(value, Enum) else value
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode("ascii")


def decode(body: bytes) -> Entry:
    """Return the entry that `encode` made.

    Raises:
        LedgerFault: not a version 1 record, or not in its canonical encoding.
    """
    entry = _decode(body)
    if entry is None:
        raise LedgerFault("a record does not fit the closed schema, version 1")
    return entry


def _decode(body: bytes) -> Entry | None:
    if len(body) > BODY_MAX_BYTES:
        return None
    try:
        found = json.loads(body.decode("ascii"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.pop("v", None) != VERSION:
        return None
    kind, seq, batch = (found.pop(name, None) for name in ("kind", "seq", "batch"))
    record_type = KINDS.get(kind) if isinstance(kind, str) else None
    if record_type is None or set(found) != set(SCHEMA[record_type]):
        return None
    try:
        values = {name: _read(column, found[name]) for name, column in SCHEMA[record_type].items()}
        record = record_type(**values)
        again = encode(seq, batch, record)
    except (ValueError, TypeError):
        return None
    # Duplicate keys, spaces, `1.0`, `true` for 1 and the like all end here.
    return Entry(seq, batch, record) if again == body else None


def _read(column: Column, value: object) -> Any:
    if isinstance(column.rule, type) and issubclass(column.rule, Enum) and value is not None:
        return column.rule(value)
    return value
