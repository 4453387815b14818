"""Sign a Token Status List in CWT form, two bits a credential.

Source: draft-ietf-oauth-status-list; the meaning of each value is in gate.card.status_list.Status.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from enrollment.pki import StatusSigner
from gate.card import cbor, cose
from gate.card.cose import Sign1
from gate.card.status_list import (
    CLAIM_EXP,
    CLAIM_IAT,
    CLAIM_STATUS_LIST,
    CLAIM_SUB,
    COSE_SIGN1_TAG,
    MEDIA_TYPE,
)

BITS: Final = 2


def pack_statuses(statuses: Sequence[int], bits: int = BITS) -> bytes:
    """Pack status values, the first into the lowest bits of the first byte.

    Raises:
        ValueError: a value that does not fit.
    """
    per_byte = 8 // bits
    packed = bytearray(-(-len(statuses) // per_byte))
    for index, status in enumerate(statuses):
        if not 0 <= status < 1 << bits:
            raise ValueError(f"status {status} does not fit into {bits} bits")
        packed[index // per_byte] |= status << (index % per_byte * bits)
    return bytes(packed)


def compress(packed: bytes, bits: int = BITS) -> dict[str, object]:
    """Return the StatusList map."""
    return {"bits": bits, "lst": zlib.compress(packed, 9)}


def sign_status_list(
    statuses: Sequence[int],
    signer: StatusSigner,
    uri: str,
    issued_at: datetime,
    valid: timedelta,
) -> bytes:
    """Return the signed status list token of `statuses`; index i is entry i.

    Args:
        statuses: gate.card.status_list.Status values.
        signer: the certificate that gates pin.
        uri: name of this list, as cards refer to it.
        issued_at: timezone-aware.
        valid: gates refuse every card once this has passed and no newer list came.
    """
    claims = {
        CLAIM_SUB: uri,
        CLAIM_IAT: int(issued_at.timestamp()),
        CLAIM_EXP: int((issued_at + valid).timestamp()),
        CLAIM_STATUS_LIST: compress(pack_statuses(statuses)),
    }
    message = Sign1.create(signer.key, cbor.encode(claims), protected={cose.HEADER_TYP: MEDIA_TYPE})
    return COSE_SIGN1_TAG + cbor.encode(message.to_cbor())
