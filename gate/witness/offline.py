"""Co-sign without a network: an auditor reads a whole export and signs what he verified."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from gate.errors import LedgerFault
from gate.ledger.cosignature import Cosigner
from gate.ledger.verify import Report, verify_export
from gate.ledger.verify.proofs import parse_vkey
from gate.witness.state import Seen, WitnessState


def cosign_export(
    folder: Path,
    vkey: str,
    cosigner: Cosigner,
    state: WitnessState,
    time_s: Callable[[], int],
    kept: Sequence[str] = (),
) -> tuple[Report, str | None]:
    """Verify an export as a whole, and co-sign its newest checkpoint when all of it holds.

    What this witness co-signed before counts as a kept checkpoint: an export that does not go on
    from it is not co-signed, and its checkpoint is kept in the state as a lead.

    Args:
        folder: made by `gate ledger export`.
        vkey: the log's verifier key, from elsewhere than the folder.
        cosigner: the auditor's key.
        state: the auditor's memory.
        time_s: POSIX seconds now.
        kept: more checkpoints that the auditor kept.

    Returns:
        The report, and the co-signed checkpoint; None when there is a problem.

    Raises:
        LedgerFault, ConfigError: the folder or a key cannot be read.
        WitnessFault: the memory does not take it; nothing was signed.
    """
    key = parse_vkey(vkey)
    time_now_s = time_s()
    with state.turn() as turn:
        newest = turn.newest(key.name)
        before = [] if newest is None else [newest.note]
        report = verify_export(folder, vkey, [*before, *kept])
        note = _checkpoint(folder)
        signed = key.open(note)
        fits = signed is not None and signed[1:] == (report.size, bytes.fromhex(report.root_hex))
        if signed is None or (report.ok and not fits):
            raise LedgerFault("the checkpoint changed while it was read", "export the log again")
        seen = Seen(key.name, signed[1], signed[2], note, time_now_s)
        if not report.ok:
            if newest is not None and not report.kept[0]:
                turn.refuse(seen, proven=True)
            return report, None
        turn.keep(seen)
    text = note.rpartition("\n\n")[0] + "\n"
    return report, note + cosigner.cosign(text, time_now_s)


def _checkpoint(folder: Path) -> str:
    try:
        return (folder / "checkpoint").read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        raise LedgerFault(f"{folder} has no readable checkpoint", "export the log again") from None
