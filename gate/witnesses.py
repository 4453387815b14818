"""The witnesses that a gate's settings name, ready to be started."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from gate.ledger.store import Ledger
from gate.ledger.witness_client import ask
from gate.ledger.witness_inbox import FOLDER_NAME
from gate.ledger.witness_site import parse_sites
from gate.ledger.witnessing import Growth, Witnessing
from gate.settings import Settings


def witnesses_of(
    settings: Settings,
    ledger: Ledger,
    vkey: str,
    utc_now: Callable[[], datetime],
    random_bytes: Callable[[int], bytes],
) -> Witnessing:
    """Return the witnesses, not started. Make it after the first record of a start.

    Args:
        settings: of the gate.
        ledger: open, with a first record.
        vkey: the log's verifier key.
        utc_now: an aware moment.
        random_bytes: returns n unpredictable bytes.
    """
    return Witnessing(
        ledger,
        Growth(settings.ledger.path),
        vkey,
        parse_sites(settings.ledger.witnesses),
        settings.gate.data_dir / FOLDER_NAME,
        ask=ask,
        utc_now=utc_now,
        spread=random_bytes(1)[0],
    )
