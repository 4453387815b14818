"""A log as plain files: `entries.jsonl`, `checkpoint`, `checkpoints.jsonl`, `vkey`.

For a record whose body was pruned `entries.jsonl` has an empty line, and its leaf hash stands in
`tile/0/`, 256 of 32 bytes a file (C2SP tlog-tiles).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Final

from gate.ledger.verify.audit import Found
from gate.ledger.verify.proofs import HASH_BYTES
from gate.ledger.verify.report import Problems
from gate.ledger.verify.schema import ENTRY_MAX_BYTES, TILE, parse_json

_NAMES: Final = frozenset({"entries.jsonl", "checkpoint", "checkpoints.jsonl", "vkey"})
_NOTES_MAX_BYTES: Final = 1 << 28
_SMALL_MAX_BYTES: Final = 1 << 16


@contextmanager
def read_folder(folder: Path, vkey: str, problems: Problems) -> Iterator[Found]:
    """Open an exported log. The entries are read while they are asked for.

    Raises:
        OSError: a file is missing or cannot be read.
    """
    with ExitStack() as stack:
        opened = {name: stack.enter_context((folder / name).open("rb")) for name in _NAMES}
        others = {item.name for item in folder.iterdir()} - _NAMES - {"tile", "README.txt"}
        if others:
            problems.add(10, f"the folder holds {len(others)} other files")
        if opened["vkey"].read(_SMALL_MAX_BYTES) != vkey.encode() + b"\n":
            problems.add(10, "the folder names another verifier key")
        newest = opened["checkpoint"].read(_SMALL_MAX_BYTES)
        notes = _notes(opened["checkpoints.jsonl"].read(_NOTES_MAX_BYTES), newest, problems)
        pruned = _empty_lines(opened["entries.jsonl"])
        rows = _rows(opened["entries.jsonl"], pruned, problems)
        yield Found(rows, notes, _leaves(folder / "tile" / "0", pruned, problems))


def _empty_lines(file: BufferedReader) -> int:
    """Read over the lines that stand for pruned bodies and return their number."""
    pruned = 0
    while file.peek(1)[:1] == b"\n":
        file.read(1)
        pruned += 1
    return pruned


def _leaves(folder: Path, pruned: int, problems: Problems) -> Iterator[bytes]:
    for tile in range(-(-pruned // TILE)):
        hashes = (folder / _tile_name(tile)).read_bytes()
        if len(hashes) != TILE * HASH_BYTES:
            problems.add(4, f"tile {tile} of leaf hashes is not whole")
            return
        for place in range(min(TILE, pruned - tile * TILE)):
            yield hashes[HASH_BYTES * place : HASH_BYTES * (place + 1)]


def _tile_name(number: int) -> str:
    """Return "x001/x234/567" for 1234567. Source: C2SP tlog-tiles."""
    groups = [f"{number % 1000:03d}"]
    while number := number // 1000:
        groups.insert(0, f"x{number % 1000:03d}")
    return "/".join(groups)


def _rows(file: IO[bytes], first: int, problems: Problems) -> Iterator[tuple[int, bytes]]:
    place = first
    while line := file.readline(ENTRY_MAX_BYTES + 2):
        if not line.endswith(b"\n"):
            problems.add(5, f"entry {place} does not end with a line feed")
        yield place, line.removesuffix(b"\n")
        place += 1


def _notes(raw: bytes, newest: bytes, problems: Problems) -> list[tuple[object, object]]:
    notes: list[tuple[object, object]] = []
    for line in raw.split(b"\n")[:-1]:
        note = parse_json(line)
        if not isinstance(note, str) or json.dumps(note).encode() != line:
            problems.add(7, "checkpoints.jsonl has a line that is not one note")
        else:
            size = note.split("\n")[1] if note.count("\n") > 1 else ""
            notes.append((int(size) if re.fullmatch(r"[0-9]{1,16}", size) else -1, note))
    if raw and not raw.endswith(b"\n"):
        problems.add(7, "checkpoints.jsonl does not end with a line feed")
    # The newest checkpoint stands in both files.
    text = newest.decode(errors="replace")
    if not notes or notes[-1][1] != text:
        problems.add(7, "the newest of checkpoints.jsonl is not the checkpoint")
        lines = text.split("\n")
        size = lines[1] if len(lines) > 1 else ""
        notes.append((int(size) if re.fullmatch(r"[0-9]{1,16}", size) else -1, text))
    return notes
