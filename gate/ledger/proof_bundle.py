"""Proofs about a log that stand alone: one file each, checked offline with the log's vkey.

Inclusion: C2SP tlog-proof v1. The record itself stands in its `extra` line, so nothing else is
needed; where the record was pruned, the line is missing and the auditor brings the record.

Consistency: no standard has a file of its own for this, so ours says the same in the same words:

    consentgate-consistency-proof@v1
    <hash in base64>        none or more, RFC 9162 section 2.1.4.1
                            an empty line
    <older checkpoint>      signed note, with its final line feed
                            an empty line
    <newer checkpoint>      signed note
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from gate.errors import GateError, LedgerFault
from gate.ledger.checkpoint import Checkpoint
from gate.ledger.consistency import Mth, consistency_path
from gate.ledger.merkle import HASH_BYTES
from gate.ledger.reading import reading
from gate.ledger.tile_source import FolderTiles, LogFileTiles, Subtrees, TileSource
from gate.ledger.tiles import WIDTH, TileName, bundle_entry

INCLUSION: Final = "c2sp.org/tlog-proof@v1"
CONSISTENCY: Final = "consentgate-consistency-proof@v1"


class NoProof(GateError):
    """What was to be proved is not so."""


class ProvableLog(Protocol):
    """What proofs are made from."""

    @property
    def tiles(self) -> TileSource:
        """The tiles of the log."""
        ...

    def notes(self) -> Sequence[str]:
        """Return the signed checkpoints at hand, oldest first."""
        ...


class FileLog:
    """A gate's log file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.tiles: TileSource = LogFileTiles(path)

    def notes(self) -> Sequence[str]:
        """Return the kept checkpoints."""
        with reading(self._path) as log:
            return [note for _, note in log.notes()]


class FolderLog:
    """An export, or a mirror of the tiles that a gate serves."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.tiles: TileSource = FolderTiles(folder)

    def notes(self) -> Sequence[str]:
        """Return the kept checkpoints; of a mirror its one."""
        listed = self._folder / "checkpoints.jsonl"
        try:
            if not listed.exists():
                return [(self._folder / "checkpoint").read_text(encoding="utf-8")]
            found = [json.loads(line) for line in listed.read_bytes().splitlines()]
        except OSError:
            raise LedgerFault(
                f"{self._folder} is not a log", "name a log file, an export or a mirror"
            ) from None
        except ValueError:
            found = [None]
        if not all(isinstance(note, str) for note in found):
            raise LedgerFault(f"{self._folder} is damaged", "verify it, then export it again")
        return found


def claims(note: str) -> Checkpoint:
    """Return what a checkpoint says, without judging its signature: `check` will.

    Raises:
        LedgerFault: it is not a checkpoint.
    """
    text, found, _ = note.partition("\n\n")
    lines = text.split("\n")
    try:
        root = base64.b64decode(lines[2], validate=True) if len(lines) == 3 else b""
    except ValueError:
        root = b""
    if not found or len(root) != HASH_BYTES or not re.fullmatch("[0-9]{1,16}", lines[1], re.A):
        raise LedgerFault(
            "that is not a signed checkpoint", "name the file 'checkpoint' of an export"
        )
    return Checkpoint(lines[0], int(lines[1]), root)


def prove_inclusion(log: ProvableLog, seq: int, at: str) -> str:
    """Return the proof that the record `seq` is in the log.

    Args:
        log: the log.
        seq: the record's sequence number.
        at: the signed checkpoint that the proof shall lead to.

    Raises:
        NoProof: the log has no such record, or does not lead to that checkpoint.
        LedgerFault: the log cannot be read, or `at` is not a checkpoint.
    """
    checkpoint = claims(at)
    if not 0 <= seq < checkpoint.size:
        raise NoProof(f"that checkpoint has no record {seq}, only {checkpoint.size} from 0 on")
    tree = _tree(log, checkpoint)
    lines = [INCLUSION]
    body = _body(log, seq, checkpoint.size)
    if body is not None:
        lines.append(f"extra {base64.b64encode(body).decode()}")
    lines.append(f"index {seq}")
    lines += _encoded(inclusion_path(tree.mth, seq, checkpoint.size))
    return "\n".join(lines) + "\n\n" + at


def prove_consistency(log: ProvableLog, old: str, new: str) -> str:
    """Return the proof that the log of the newer checkpoint only adds to that of the older one.

    Raises:
        NoProof: it does not.
        LedgerFault: the log cannot be read, or a note is not a checkpoint.
    """
    first, second = claims(old), claims(new)
    if first.size > second.size:
        raise NoProof(f"the older checkpoint has {first.size} records, the newer {second.size}")
    tree = _tree(log, second)
    if first.size and tree.mth(0, first.size) != first.root:
        raise NoProof("this log does not continue that older checkpoint: one was rewritten")
    lines = [CONSISTENCY, *_encoded(consistency_path(tree.mth, first.size, second.size))]
    return "\n".join(lines) + f"\n\n{old}\n{new}"


def inclusion_path(mth: Mth, index: int, size: int) -> list[bytes]:
    """Return the audit path of leaf `index`, nearest sibling first.

    Source: RFC 9162 section 2.1.3.1.
    """
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + (1 << ((end - start - 1).bit_length() - 1))
        if index < middle:
            path.append(mth(middle, end))
            end = middle
        else:
            path.append(mth(start, middle))
            start = middle
    return path[::-1]


def _tree(log: ProvableLog, checkpoint: Checkpoint) -> Subtrees:
    tree = Subtrees(log.tiles, checkpoint.size)
    if checkpoint.size and tree.mth(0, checkpoint.size) != checkpoint.root:
        raise NoProof("the records do not lead to that checkpoint: verify the log")
    return tree


def _body(log: ProvableLog, seq: int, size: int) -> bytes | None:
    number = seq // WIDTH
    width = min(WIDTH, size - number * WIDTH)
    found = log.tiles.tile(TileName(None, number, width))
    return None if found is None else bundle_entry(found, seq % WIDTH)


def _encoded(hashes: Sequence[bytes]) -> list[str]:
    return [base64.b64encode(one).decode() for one in hashes]
