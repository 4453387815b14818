"""The closed schema, once more, in a table of the verifier's own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

ENTRY_MAX_BYTES: Final = 1024


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


TILE: Final = 256
COUNT: Final = Whole(0, 65_535)
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
    """camera reader turnstile_offline turnstile_wrong_key tamper fire verifier_spawn
    verifier_killed verifier_contract key_agent_dead policy_expired deployment_expired
    status_list_stale internal"""
)
SCHEMA: Final[Mapping[str, Mapping[str, Words | Whole | Flag | Sha256]]] = {
    "started": {
        "mode": _words("demo production"),
        "pack": _words("bootstrap edge other"),
        "policy": Sha256(),
        "sandbox_ok": Flag(),
        "key_agent_ok": Flag(),
    },
    "host_seen": {
        "init_on_free": Flag(),
        "swap_off": Flag(),
        "core_dumps_off": Flag(),
        "hibernation_off": Flag(),
    },
    "self_tested": {
        "tried": Whole(0, 255),
        "held": Whole(0, 255),
        "landlock_abi": Whole(0, 99),
    },
    "decided": {"granted": Flag(), "reason": DENIALS, "lane": LANES, "card": COUNT},
    "card_key_destroyed": {"cards": COUNT},
    "key_used": {
        "purpose": _words("template pin"),
        "outcome": _words("released refused rate_limited second failed"),
    },
    "moved": {
        "result": _words("opened refused not_delivered unknown"),
        "crossing": _words("one tailgating nobody unobserved"),
    },
    "verifier_died": {
        "exit_code": Whole(-64, 255),
        "lifetime_ds": Whole(0, 600),
        "threads": Whole(0, 255),
        "no_new_privs": Flag(),
        "seccomp_mode": Whole(0, 2),
        "landlock_abi": Whole(0, 99),
        "dumpable": Flag(),
        "core_limit_zero": Flag(),
        "file_limit_zero": Flag(),
        "bytes_in": COUNT,
        "bytes_out": COUNT,
        "pages_left": COUNT,
    },
    "faulted": {"code": FAULTS},
    "cleared": {"code": FAULTS},
    "missed": {"records": Whole(1, 65_535)},
    "policy_changed": {"policy": Sha256()},
    "admin_acted": {
        "act": _words(
            """settings_changed deployment_replaced trust_replaced status_list_replaced
            template_keys_changed door_key_changed models_changed"""
        )
    },
    "enrolled": {"act": _words("issued renewed withdrawn revoked")},
    "probed": {
        "needles": COUNT,
        "controls_planted": COUNT,
        "controls_found": COUNT,
        "decoy_hits": COUNT,
        "residues": COUNT,
        "searched": COUNT,
        "not_searched": COUNT,
    },
    "pruned": {"below": Whole(TILE, 2**53 - 1)},
    "stopped": {"clean": Flag()},
}
COMMON: Final[Mapping[str, Whole]] = {
    "v": Whole(1, 1),
    "seq": Whole(0, 2**53 - 1),
    "batch": Whole(0, 9_999_999),
}
_LITERALS: Final = {None: "null", False: "false", True: "true"}


def read_record(raw: bytes) -> dict[str, Any] | None:
    """Return the members of a record, or None when it is not one."""
    found = parse_json(raw) if len(raw) <= ENTRY_MAX_BYTES else None
    if not isinstance(found, dict) or not isinstance(found.get("kind"), str):
        return None
    own = SCHEMA.get(found["kind"])
    if own is None or len(found) != 1 + len(COMMON) + len(own):
        return None
    for rules in (COMMON, own):
        for name, rule in rules.items():
            if name not in found or not rule.holds(found[name]):
                return None
    if not _agrees(found):
        return None
    # Other orders, spaces, doubled members and `1.0` for 1 end here.
    return found if _canonical(found) == raw else None


def _canonical(found: Mapping[str, Any]) -> bytes:
    """Return a record in its one encoding: RFC 8785 for words, whole numbers, booleans, null.

    Every member was checked: no word has a character that needs escaping.
    """
    members = [f'"{name}":{_text(found[name])}' for name in sorted(found)]
    return f"{{{','.join(members)}}}".encode("ascii")


def _text(value: object) -> str:
    if type(value) is str:
        return f'"{value}"'
    return _LITERALS[value] if value is None or type(value) is bool else str(value)


def _agrees(found: Mapping[str, Any]) -> bool:
    """Whether the members of one record can stand beside each other."""
    match found["kind"]:
        case "decided":
            grant = found["granted"]
            passed = found["lane"] != "none" and found["card"] == 0
            return grant is (found["reason"] is None) and (passed or not grant)
        case "self_tested":
            return bool(found["held"] <= found["tried"])
        case "pruned":
            return bool(found["below"] % TILE == 0)
        case "verifier_died":
            return bool(found["bytes_in"] % 1024 == 0 or found["bytes_in"] == COUNT.high)
    return True


def parse_json(raw: bytes) -> object:
    """Parse ASCII JSON; None when it is not."""
    try:
        return json.loads(raw.decode("ascii"))
    except (ValueError, RecursionError):
        return None
