"""`gate ledger add-cosignature`: checks a co-signed checkpoint and puts it into the inbox."""

from __future__ import annotations

from pathlib import Path

from gate.errors import ConfigError
from gate.ledger.reading import reading
from gate.ledger.witness_inbox import FOLDER_NAME, accept, note_of
from gate.ledger.witness_site import parse_sites
from gate.ledger.witnessing import Growth
from gate.settings import load_settings
from gate.whole_file import PRIVATE, write_whole


def hand_in(file: Path, config: Path) -> list[str]:
    """Put a co-signed checkpoint where the gate finds it; return a line for each co-signature.

    Raises:
        ConfigError: the file, the configuration or the folder does not allow it.
        LedgerFault: it is not of this log, or no named witness signed it.
    """
    settings = load_settings(config)
    sites = parse_sites(settings.ledger.witnesses)
    note = note_of(file)
    with reading(settings.ledger.path) as log:
        vkey = log.vkey()
    kept = accept(note, vkey, [s.key for s in sites], Growth(settings.ledger.path).root)
    inbox = settings.gate.data_dir / FOLDER_NAME
    try:
        inbox.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Under its size: two stations that hand in one checkpoint do not collide with others.
        write_whole(inbox / f"{kept[0][1]}-{kept[0][0].key.key_id.hex()}", note.encode(), PRIVATE)
    except OSError as error:
        raise ConfigError(
            f"cannot write into {inbox}: {error.strerror}", "run as the gate's user"
        ) from None
    return [f"{witness.name}: {size} records, handed to the gate" for witness, size, _ in kept]
