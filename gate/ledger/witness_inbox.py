"""Co-signatures that come on a stick: files in a folder that the running gate looks into.

A file holds a co-signed checkpoint, as `gate ledger cosign` writes it. What a named witness
co-signed of this very log is kept and the file deleted; anything else is renamed to
`NAME.refused`, once, and said.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from gate.errors import ConfigError, LedgerFault
from gate.ledger.checkpoint import open_note
from gate.ledger.cosignature import WitnessKey, with_one_cosignature

FOLDER_NAME: Final = "witness-inbox"
"""In the gate's data_dir."""
_NOTE_BYTES_MAX: Final = 64 * 1024
_REFUSED: Final = ".refused"
_LOG = logging.getLogger(__name__)

RootOf = Callable[[int], bytes]
"""The root of the first n entries of this log; LedgerFault when it has fewer."""


class CosignedStore(Protocol):
    """Where co-signed checkpoints are kept: the ledger."""

    def keep_cosigned(self, witness: str, size: int, note: str) -> None:
        """See `gate.ledger.store.Ledger`."""
        ...


def accept(
    note: str, vkey: str, witnesses: Sequence[WitnessKey], root_of: RootOf
) -> list[tuple[WitnessKey, int, str]]:
    """Return witness, size and note for each named witness that co-signed a tree of this log.

    Raises:
        LedgerFault: not a checkpoint of this log, another history, or no named witness signed it.
    """
    checkpoint = open_note(note, vkey)
    if checkpoint.origin != vkey.partition("+")[0] or root_of(checkpoint.size) != checkpoint.root:
        raise LedgerFault("the co-signed checkpoint is of another history than this log")
    kept = [
        (witness, checkpoint.size, with_one_cosignature(note, vkey, witness))
        for witness in witnesses
        if witness.cosigned_at(note) is not None
    ]
    if not kept:
        raise LedgerFault(
            "no witness that this gate names co-signed the checkpoint",
            "name its key in [ledger] witnesses",
        )
    return kept


def note_of(path: Path) -> str:
    """Return the text of a file that should hold a co-signed checkpoint.

    Raises:
        ConfigError: it cannot be read.
        LedgerFault: it is no text, or too long.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            raw = file.read(_NOTE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", "check its path") from None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if not text or len(raw) > _NOTE_BYTES_MAX:
        raise LedgerFault(f"{path} does not hold a co-signed checkpoint")
    return text


class WitnessInbox:
    """The folder of one gate. Call `look` now and then, from one thread."""

    def __init__(
        self,
        folder: Path,
        store: CosignedStore,
        vkey: str,
        witnesses: Sequence[WitnessKey],
        root_of: RootOf,
    ) -> None:
        self._folder = folder
        self._store = store
        self._vkey = vkey
        self._witnesses = witnesses
        self._root_of = root_of

    def look(self) -> list[WitnessKey]:
        """Take every file once and return the witnesses whose co-signatures were kept.

        A fault of the disk leaves the file for the next look.
        """
        taken: list[WitnessKey] = []
        try:
            found = sorted(self._folder.iterdir())
        except OSError:
            return taken
        for path in found:
            if path.name.startswith(".") or path.suffix == _REFUSED or not path.is_file():
                continue
            try:
                taken += self._take(path)
            except (ConfigError, OSError) as error:
                said = error.diagnostics() if isinstance(error, ConfigError) else error.strerror
                _LOG.warning("witness inbox: %s", said)
        return taken

    def _take(self, path: Path) -> list[WitnessKey]:
        try:
            kept = accept(note_of(path), self._vkey, self._witnesses, self._root_of)
        except LedgerFault as fault:
            _LOG.warning("witness inbox: %s refused: %s", path.name, fault.diagnostics())
            path.rename(path.with_name(path.name + _REFUSED))
            return []
        try:
            for witness, size, note in kept:
                self._store.keep_cosigned(witness.ident, size, note)
        except LedgerFault as fault:
            _LOG.warning("witness inbox: %s", fault.diagnostics())
            return []
        path.unlink()
        return [witness for witness, _, _ in kept]
