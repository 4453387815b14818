"""The consent record: what a person agreed to, signed, without saying who the person is.

Modelled on the consent record and receipt of ISO/IEC TS 27560. The record travels on the card,
so it is small: deterministic CBOR (RFC 8949, 4.2.1) with integer keys in a COSE_Sign1 (RFC 9052)
with EdDSA. The receipt spells the same fields out, holds the text that was shown, and verifies
on the person's own device with nothing but the site's public consent key.

Withdrawing makes a new signed record of the same id. Its hash differs, so a template sealed
under the consent that was given no longer opens with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from enrollment.errors import ConsentInvalid
from enrollment.notice import Language, Notice
from gate.card.cbor import MalformedCbor, encode, load

SCHEMA_VERSION = 1
RECORD_ID_BYTES = 16
MAX_RECORD_BYTES = 1024
PURPOSE = "entry-1to1-verification"
ITEMS = ("face-template",)

_PROTECTED = encode({1: -8})
"""COSE header: alg = EdDSA."""
_SIGNATURE_BYTES = 64


class State(Enum):
    """The consent state of TS 27560 that this product uses. Refusal is never recorded."""

    GIVEN = "given"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class ConsentRecord:
    """One verified or just signed record. `signed` is the COSE_Sign1 that travels."""

    record_id: bytes
    """16 random bytes; not the credential's id and not derived from a person."""
    state: State
    language: Language
    notice_sha256: bytes
    """Hash of the explanation exactly as it was shown."""
    given_at: datetime
    expires_at: datetime
    """End of retention."""
    withdrawn_at: datetime | None
    demo: bool
    signed: bytes

    @property
    def sha256(self) -> bytes:
        """What the sealed template is bound to."""
        return hashlib.sha256(self.signed).digest()


def give(
    notice: Notice,
    *,
    now: datetime,
    expires: datetime,
    demo: bool,
    key: Ed25519PrivateKey,
    random_bytes: Callable[[int], bytes],
) -> ConsentRecord:
    """Return the signed record of a consent that was just given.

    Args:
        notice: the explanation as it was shown.
        now: aware.
        expires: aware; when the card ends.
        demo: marks the record of a demonstration.
        key: the site's consent key.
        random_bytes: cryptographic randomness.

    Raises:
        ConsentInvalid: it would end before it begins.
    """
    if int(expires.timestamp()) <= int(now.timestamp()):
        raise ConsentInvalid("consent would end before it begins", "choose a later end date")
    fields = _Fields(
        random_bytes(RECORD_ID_BYTES),
        State.GIVEN,
        notice.language,
        notice.sha256,
        int(now.timestamp()),
        int(expires.timestamp()),
        None,
        demo,
    )
    return _sign(fields, key)


def withdraw(record: ConsentRecord, *, now: datetime, key: Ed25519PrivateKey) -> ConsentRecord:
    """Return the signed record of the same consent, withdrawn.

    Raises:
        ConsentInvalid: it was withdrawn before, or the clock is behind the consent.
    """
    if record.state is State.WITHDRAWN:
        raise ConsentInvalid("this consent was withdrawn before", "nothing is left to withdraw")
    if now < record.given_at:
        raise ConsentInvalid(
            "this consent is dated in the future", "set this machine's clock and try again"
        )
    fields = _Fields(
        record.record_id,
        State.WITHDRAWN,
        record.language,
        record.notice_sha256,
        int(record.given_at.timestamp()),
        int(record.expires_at.timestamp()),
        int(now.timestamp()),
        record.demo,
    )
    return _sign(fields, key)


def verify(signed: bytes, public_key: Ed25519PublicKey) -> ConsentRecord:
    """Return the record, or refuse it. Only the one deterministic encoding is accepted.

    Raises:
        ConsentInvalid: not a record of this version, or not signed by this key.
    """
    message = _decode(signed)
    match message:
        case [bytes(protected), dict(unprotected), bytes(payload), bytes(signature)] if (
            protected == _PROTECTED and not unprotected and len(signature) == _SIGNATURE_BYTES
        ):
            pass
        case _:
            raise ConsentInvalid("not a COSE_Sign1 with EdDSA", "is this a consent record?")
    try:
        public_key.verify(signature, _to_be_signed(payload))
    except InvalidSignature:
        raise ConsentInvalid(
            "the consent record is not signed by this site's consent key",
            "use the public key of the site that issued the card",
        ) from None
    return _record(_Fields.parse(_decode(payload)), signed)


@dataclass(frozen=True)
class _Fields:
    """The payload, as a map with these keys.

    1 schema version, 2 record id, 3 consent state, 4 notice language, 5 privacy notice hash,
    6 given at, 7 expires at, 8 withdrawn at, 9 purpose, 10 PII categories, 11 demo.
    """

    record_id: bytes
    state: State
    language: Language
    notice_sha256: bytes
    given_at: int
    expires_at: int
    withdrawn_at: int | None
    demo: bool

    def payload(self) -> bytes:
        content: dict[int, Any] = {
            1: SCHEMA_VERSION,
            2: self.record_id,
            3: self.state.value,
            4: self.language.value,
            5: self.notice_sha256,
            6: self.given_at,
            7: self.expires_at,
            9: PURPOSE,
            10: list(ITEMS),
            11: self.demo,
        }
        if self.withdrawn_at is not None:
            content[8] = self.withdrawn_at
        return encode(content)

    @staticmethod
    def parse(content: object) -> _Fields:
        match content:
            case {
                1: 1,
                2: bytes(record_id),
                3: str(state),
                4: str(language),
                5: bytes(notice_sha256),
                6: int(given_at),
                7: int(expires_at),
                9: str(purpose),
                10: list(items),
                11: bool(demo),
                **rest,
            }:
                pass
            case _:
                raise ConsentInvalid("not a version 1 consent record", "was it made by this site?")
        withdrawn_at: Any = rest.pop(8, None)
        if rest or purpose != PURPOSE or tuple(items) != ITEMS:
            raise ConsentInvalid("the consent record says more than version 1 knows")
        if len(record_id) != RECORD_ID_BYTES or len(notice_sha256) != 32:
            raise ConsentInvalid("an id or hash of the consent record has the wrong length")
        try:
            known_state, known_language = State(state), Language(language)
        except ValueError:
            raise ConsentInvalid("unknown state or language in the consent record") from None
        withdrawn = known_state is State.WITHDRAWN
        times = [given_at, expires_at, *([withdrawn_at] if withdrawn else [])]
        if withdrawn != (withdrawn_at is not None) or not all(_is_time(t) for t in times):
            raise ConsentInvalid("a date of the consent record is missing or impossible")
        if given_at >= expires_at or (withdrawn and withdrawn_at < given_at):
            raise ConsentInvalid("the dates of the consent record contradict each other")
        return _Fields(
            record_id,
            known_state,
            known_language,
            notice_sha256,
            given_at,
            expires_at,
            withdrawn_at,
            demo,
        )


def _is_time(value: object) -> bool:
    return type(value) is int and 0 <= value < 253_402_300_800  # year 10000


def _record(fields: _Fields, signed: bytes) -> ConsentRecord:
    def when(seconds: int) -> datetime:
        return datetime.fromtimestamp(seconds, UTC)

    return ConsentRecord(
        record_id=fields.record_id,
        state=fields.state,
        language=fields.language,
        notice_sha256=fields.notice_sha256,
        given_at=when(fields.given_at),
        expires_at=when(fields.expires_at),
        withdrawn_at=None if fields.withdrawn_at is None else when(fields.withdrawn_at),
        demo=fields.demo,
        signed=signed,
    )


def _sign(fields: _Fields, key: Ed25519PrivateKey) -> ConsentRecord:
    payload = fields.payload()
    signature = key.sign(_to_be_signed(payload))
    signed = encode([_PROTECTED, {}, payload, signature])
    return _record(fields, signed)


def _to_be_signed(payload: bytes) -> bytes:
    """Return the Sig_structure of RFC 9052, 4.4."""
    return encode(["Signature1", _PROTECTED, b"", payload])


def _decode(raw: bytes) -> object:
    """Return what `raw` says if it is deterministic CBOR: strict, and with one encoding only."""
    try:
        value: object = load(raw, max_bytes=MAX_RECORD_BYTES)
        same = encode(value) == raw
    except MalformedCbor as error:
        raise ConsentInvalid(f"the consent record is {error.what}", "is it whole?") from None
    if not same:
        raise ConsentInvalid("the consent record is not deterministic CBOR", "is it whole?")
    return value
