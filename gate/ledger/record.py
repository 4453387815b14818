"""The closed record schema, version 1: what a log can say. Pure.

A record can hold enum words, booleans, bounded whole numbers and the SHA-256 of the policy, and
nothing else: no text, no bytes, no fractions, no identity, no score, no exact time. Whatever is
not listed here cannot be written, and `gate.ledger.verify` refuses it with a table of its own.
How a record becomes bytes stands in `gate.ledger.encoding`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Final

from firmware_bridge.ports import Crossing, OpenResult
from gate.ledger.columns import Column, Hex, Within, columns_of
from gate.passage.decision import Decision, DenyReason, Grant, Lane
from gate.template.outcome import KeyOutcome
from gate.verifier.certificate import DeathCertificate

SEQ_MAX: Final = 2**53 - 1
"""The largest whole number that every JSON reader keeps exact (RFC 8785 section 3.2.2.3)."""
TILE: Final = 256
"""Records in one whole tile (C2SP tlog-tiles)."""

EXIT_CODE: Final = Within(-64, 255)
LIFETIME_DS: Final = Within(0, 600)
THREADS: Final = Within(0, 255)
TESTS: Final = Within(0, 255)
SECCOMP_MODE: Final = Within(0, 2)
LANDLOCK_ABI: Final = Within(0, 99)
PIPE_BYTES: Final = Within(0, 65_535)
KIB: Final = 1024
COUNT: Final = Within(0, 65_535)
MISSED: Final = Within(1, 65_535)
BELOW: Final = Within(TILE, SEQ_MAX)


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
    READER = "reader"
    TURNSTILE_OFFLINE = "turnstile_offline"
    TURNSTILE_WRONG_KEY = "turnstile_wrong_key"
    TAMPER = "tamper"
    FIRE = "fire"
    VERIFIER_SPAWN = "verifier_spawn"
    VERIFIER_KILLED = "verifier_killed"
    VERIFIER_CONTRACT = "verifier_contract"
    KEY_AGENT_DEAD = "key_agent_dead"
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


class KeyPurpose(Enum):
    """What a content key that the key agent was asked for opens."""

    TEMPLATE = "template"
    PIN = "pin"


class AdminAct(Enum):
    """What somebody who administers this gate changed since the log last spoke of it."""

    SETTINGS_CHANGED = "settings_changed"
    DEPLOYMENT_REPLACED = "deployment_replaced"
    TRUST_REPLACED = "trust_replaced"
    STATUS_LIST_REPLACED = "status_list_replaced"
    TEMPLATE_KEYS_CHANGED = "template_keys_changed"
    DOOR_KEY_CHANGED = "door_key_changed"
    MODELS_CHANGED = "models_changed"


class _Checked:
    """A record whose fields are checked when it is made."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Started(_Checked):
    """The gate began to work under one policy."""

    mode: Mode
    pack: Pack
    policy: Annotated[str, Hex(64)]
    """SHA-256 of the signed policy, lower-case hexadecimal. The only free bits of the schema;
    the auditor compares them with the published policies."""
    sandbox_ok: bool
    """Whether every escape of the start-up self-test was held."""
    key_agent_ok: bool


@dataclass(frozen=True)
class HostSeen(_Checked):
    """What the host does with memory, at the start and whenever it changed.

    A condition is true only when it was shown.
    """

    init_on_free: bool
    swap_off: bool
    core_dumps_off: bool
    hibernation_off: bool


@dataclass(frozen=True)
class SelfTested(_Checked):
    """The verifier's sandbox was attacked from inside: escapes tried, and how many it held."""

    tried: Annotated[int, TESTS]
    held: Annotated[int, TESTS]
    landlock_abi: Annotated[int, LANDLOCK_ABI]


@dataclass(frozen=True)
class Decided(_Checked):
    """One passage was decided. `reason` is None exactly when it was granted."""

    granted: bool
    reason: DenyReason | None
    lane: Lane
    card: Annotated[int, COUNT] = 0
    """The pseudonym of a card that was denied: the how-manieth different card it is since the
    day's key was made (1, 2, 3, ...). 0 for a grant, and when no card was authenticated. It shows
    a card that is tried again and again; whoever passes leaves no number, so nothing links the
    passages of a day. Counting up leaves no free bits. Only the gate's memory can tell which card
    it was, until that key is destroyed."""

    @classmethod
    def of(cls, decision: Decision, card: int = 0) -> Decided:
        """Return the record of a decision; a denial names the day's `card`."""
        if isinstance(decision, Grant):
            return cls(granted=True, reason=None, lane=decision.lane)
        return cls(granted=False, reason=decision.reason, lane=decision.lane, card=card)


@dataclass(frozen=True)
class CardKeyDestroyed(_Checked):
    """The key behind the pseudonyms is gone: nobody can tell any more whose they were."""

    cards: Annotated[int, COUNT]
    """How many different cards it named."""


@dataclass(frozen=True)
class KeyUsed(_Checked):
    """The key agent was asked for one content key."""

    purpose: KeyPurpose
    outcome: KeyOutcome


@dataclass(frozen=True)
class Moved(_Checked):
    """What the turnstile did after a grant, and what its sensors saw."""

    result: OpenResult
    crossing: Crossing


@dataclass(frozen=True)
class VerifierDied(_Checked):
    """The death certificate of one verifier, coarse enough to tell nothing about a person.

    A number at the end of its range means "or beyond". Each number is as coarse as its use
    allows: the fewer values it has, the less a lying gate can say with it.
    """

    exit_code: Annotated[int, EXIT_CODE]
    lifetime_ds: Annotated[int, LIFETIME_DS]
    """Tenths of a second, rounded up, to one minute."""
    threads: Annotated[int, THREADS]
    no_new_privs: bool
    seccomp_mode: Annotated[int, SECCOMP_MODE]
    landlock_abi: Annotated[int, LANDLOCK_ABI]
    dumpable: bool
    core_limit_zero: bool
    file_limit_zero: bool
    bytes_in: Annotated[int, PIPE_BYTES]
    """Rounded up to whole KiB."""
    bytes_out: Annotated[int, PIPE_BYTES]
    pages_left: Annotated[int, COUNT]
    """Memory pages it still had when its pipe had ended."""

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
            bytes_in=PIPE_BYTES.clamp(-(-certificate.bytes_in // KIB) * KIB),
            bytes_out=PIPE_BYTES.clamp(certificate.bytes_out),
            pages_left=COUNT.clamp(certificate.pages_left),
        )


@dataclass(frozen=True)
class Faulted(_Checked):
    """Something of the gate failed, or raised an alarm."""

    code: FaultCode


@dataclass(frozen=True)
class Cleared(_Checked):
    """A fault or alarm is over."""

    code: FaultCode


@dataclass(frozen=True)
class Missed(_Checked):
    """The log was not writable for a while, and so many records are lost. Nobody entered then."""

    records: Annotated[int, MISSED]


@dataclass(frozen=True)
class PolicyChanged(_Checked):
    """From here on another signed policy rules this gate."""

    policy: Annotated[str, Hex(64)]


@dataclass(frozen=True)
class AdminActed(_Checked):
    """Somebody who administers this gate changed something. Not who: that stands in their log."""

    act: AdminAct


@dataclass(frozen=True)
class Enrolled(_Checked):
    """A credential was issued or ended. It does not say whether a template is on it."""

    act: Act


@dataclass(frozen=True)
class Probed(_Checked):
    """A retention probe ran: what it looked for, that it can find, and what it found."""

    needles: Annotated[int, COUNT]
    controls_planted: Annotated[int, COUNT]
    controls_found: Annotated[int, COUNT]
    decoy_hits: Annotated[int, COUNT]
    residues: Annotated[int, COUNT]
    searched: Annotated[int, COUNT]
    """Processes and sets of files that were searched."""
    not_searched: Annotated[int, COUNT]


@dataclass(frozen=True)
class Pruned(_Checked):
    """The bodies of all records before `below` were deleted; their hashes stay."""

    below: Annotated[int, BELOW]
    """A multiple of 256, the width of a tile."""


@dataclass(frozen=True)
class Stopped(_Checked):
    """The gate ended. `clean` is false when a passage was cut short."""

    clean: bool


Record = (
    Started
    | HostSeen
    | SelfTested
    | Decided
    | CardKeyDestroyed
    | KeyUsed
    | Moved
    | VerifierDied
    | Faulted
    | Cleared
    | Missed
    | PolicyChanged
    | AdminActed
    | Enrolled
    | Probed
    | Pruned
    | Stopped
)

KINDS: Final[Mapping[str, type[Record]]] = {
    "started": Started,
    "host_seen": HostSeen,
    "self_tested": SelfTested,
    "decided": Decided,
    "card_key_destroyed": CardKeyDestroyed,
    "key_used": KeyUsed,
    "moved": Moved,
    "verifier_died": VerifierDied,
    "faulted": Faulted,
    "cleared": Cleared,
    "missed": Missed,
    "policy_changed": PolicyChanged,
    "admin_acted": AdminActed,
    "enrolled": Enrolled,
    "probed": Probed,
    "pruned": Pruned,
    "stopped": Stopped,
}
KIND_OF: Final = {record_type: kind for kind, record_type in KINDS.items()}
SCHEMA: Final[Mapping[type, Mapping[str, Column]]] = {
    record_type: columns_of(record_type) for record_type in KINDS.values()
}


def check(record: object) -> None:
    """Refuse a record that does not fit the schema.

    Raises:
        ValueError: it does not. The message never holds the value.
    """
    schema = SCHEMA.get(type(record))
    if schema is None:
        raise ValueError("not a record of the closed schema")
    if set(vars(record)) != set(schema):
        raise ValueError(f"{type(record).__name__} has a field that its schema does not have")
    for name, column in schema.items():
        if not column.holds(getattr(record, name)):
            raise ValueError(f"{type(record).__name__}.{name} does not fit the closed schema")
    if isinstance(record, Decided) and (
        record.granted is not (record.reason is None)
        or (record.granted and (record.lane is Lane.NONE or record.card))
    ):
        raise ValueError("Decided: a grant has a lane, no reason and no card; a denial a reason")
    if isinstance(record, SelfTested) and record.held > record.tried:
        raise ValueError("SelfTested: more held than tried")
    if isinstance(record, Pruned) and record.below % TILE:
        raise ValueError("Pruned: only whole tiles are pruned")
    if isinstance(record, VerifierDied) and not (
        record.bytes_in % KIB == 0 or record.bytes_in == PIPE_BYTES.high
    ):
        raise ValueError("VerifierDied: bytes_in is rounded up to whole KiB")
