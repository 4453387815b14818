"""A log in a folder: an export, or a mirror of the tiles that a gate serves.

An export has `checkpoint`, `tile/` (C2SP tlog-tiles), `entries.jsonl`, `checkpoints.jsonl`,
`cosigned.jsonl` and `vkey`; a mirror has only the first two. Whatever is there must say the same
(step 10): each entry bundle fits its hash tile, each tile of a higher level fits the tiles below,
each line of `entries.jsonl` is the entry of the bundle. Where the log was pruned a bundle is
missing, its lines are empty, and only the hashes of its entries are left.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import chain
from pathlib import Path, PurePath
from typing import IO, Final

from gate.errors import LedgerFault
from gate.ledger.verify.audit import Found
from gate.ledger.verify.proofs import HASH_BYTES
from gate.ledger.verify.report import Problems
from gate.ledger.verify.schema import ENTRY_MAX_BYTES, TILE, parse_json
from gate.ledger.verify.witness import NOTES_MAX

_NOTE_BYTES_MAX: Final = 64 * 1024
_LINE_BYTES_MAX: Final = 2 * _NOTE_BYTES_MAX
_BUNDLE_BYTES_MAX: Final = TILE * (2 + ENTRY_MAX_BYTES)
_FOR_PEOPLE: Final = frozenset({"entries.jsonl", "checkpoints.jsonl", "cosigned.jsonl", "vkey"})
_ALLOWED: Final = _FOR_PEOPLE | {"checkpoint", "tile", "README.txt"}

Row = tuple[int, bytes | None, bytes]
"""Place, body (None where it was pruned) and leaf hash of an entry."""
Note = tuple[object, object]
"""The size that a checkpoint is listed under, and its text."""


@contextmanager
def read_folder(folder: Path, vkey: str, problems: Problems) -> Iterator[Found]:
    """Open a folder as a log. It is checked while its leaves and rows are read, in this order.

    Raises:
        LedgerFault: it is no log folder.
        OSError: it cannot be read.
    """
    names = {item.name for item in folder.iterdir()}
    newest = read_plain(folder / "checkpoint", _NOTE_BYTES_MAX)
    if newest is None:
        raise LedgerFault(
            f"{folder} has no checkpoint", "name an export, or a mirror of a gate's tiles"
        )
    if others := names - _ALLOWED:
        problems.add(10, f"the folder holds {len(others)} other files")
    if names & _FOR_PEOPLE and not names >= _FOR_PEOPLE:
        problems.add(10, f"the folder lacks {', '.join(sorted(_FOR_PEOPLE - names))}")
    if "vkey" in names and read_plain(folder / "vkey", _NOTE_BYTES_MAX) != vkey.encode() + b"\n":
        problems.add(10, "the folder names another verifier key")
    text = newest.decode(errors="replace")
    size = _size_of(text)
    notes: list[Note] = []
    if "checkpoints.jsonl" in names:
        notes = _notes(folder / "checkpoints.jsonl", text, problems)
    # The newest checkpoint stands in both files.
    if notes and notes[-1][1] == text:
        del notes[-1]
    notes.append((size, text))
    rows = _rows(folder, size, "entries.jsonl" in names, problems)
    with closing(rows):
        parts = _Parts(rows, problems)
        cosigned = _cosigned(folder, problems) if "cosigned.jsonl" in names else []
        yield Found(parts.rows(), notes, parts.leaves(), cosigned, mirror=not names & _FOR_PEOPLE)


def _cosigned(folder: Path, problems: Problems) -> list[tuple[object, object, object]]:
    """Return the co-signed checkpoints: each line witness, size and note as one JSON array."""
    found: list[tuple[object, object, object]] = []
    raw = read_plain(folder / "cosigned.jsonl", NOTES_MAX * _LINE_BYTES_MAX) or b""
    lines = raw.split(b"\n")
    for line in lines[:-1][: NOTES_MAX + 1]:
        row = parse_json(line)
        if not isinstance(row, list) or len(row) != 3 or json.dumps(row).encode() != line:
            problems.add(11, "cosigned.jsonl has a line that is not witness, size and note")
        else:
            found.append((row[0], row[1], row[2]))
    if lines[-1]:
        problems.add(11, "cosigned.jsonl does not end with a line feed")
    return found


class _Parts:
    """The entries of a folder: first those that were pruned, then the others."""

    def __init__(self, entries: Iterator[Row], problems: Problems) -> None:
        self._entries = entries
        self._problems = problems
        self._waiting: list[Row] = []

    def leaves(self) -> Iterator[bytes]:
        """Yield the leaf hashes of the entries before the first one that has a body."""
        for row in self._entries:
            if row[1] is not None:
                self._waiting.append(row)
                return
            yield row[2]

    def rows(self) -> Iterator[tuple[object, object]]:
        """Yield place and body of the other entries."""
        for place, body, _ in chain(self._waiting, self._entries):
            if body is None:
                self._problems.add(4, f"entry {place} is missing between others")
            yield place, body


def tile_path(level: int | None, number: int, width: int = TILE) -> str:
    """Return the path of a tile or (level None) bundle. Source: C2SP tlog-tiles."""
    digits = str(number)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    place = "/".join([f"x{part}" for part in parts[:-1]] + parts[-1:])
    level_text = "entries" if level is None else str(level)
    return f"tile/{level_text}/{place}" + (f".p/{width}" if width < TILE else "")


def _rows(folder: Path, size: int, listed: bool, problems: Problems) -> Generator[Row, None, None]:
    seen: set[str] = set()
    roots: list[bytes] = []
    with ExitStack() as open_files:
        lines: IO[bytes] | None = None
        if listed:
            lines = open_files.enter_context(_opened(folder / "entries.jsonl"))
        for first in range(0, max(size, 0), TILE):
            width = min(TILE, size - first)
            leaves = _tile(folder, 0, first // TILE, width, problems, seen)
            if leaves is None:
                return
            bodies = _bundle(folder, first // TILE, width, problems, seen)
            for at, body in enumerate(bodies):
                leaf = leaves[at]
                if body is not None and hashlib.sha256(b"\x00" + body).digest() != leaf:
                    problems.add(10, f"the tiles hold another hash than that of entry {first + at}")
                if lines is not None and lines.readline(_LINE_BYTES_MAX) != (body or b"") + b"\n":
                    problems.add(10, f"entries.jsonl says otherwise about entry {first + at}")
                    lines = None
                yield first + at, body, leaf
            if width == TILE:
                roots.append(_root(leaves))
        if lines is not None and lines.read(1):
            problems.add(10, "entries.jsonl goes on behind the last entry")
    _check_higher(folder, roots, problems, seen)
    _check_others(folder, size, problems, seen)


def _tile(
    folder: Path, level: int, number: int, width: int, problems: Problems, seen: set[str]
) -> list[bytes] | None:
    """Return the hashes of a tile, or None when it is not there or of another length."""
    name = tile_path(level, number, width)
    seen.add(name)
    found = read_plain(folder / name, TILE * HASH_BYTES)
    if found is None or len(found) != width * HASH_BYTES:
        problems.add(10, f"{name} is missing or not {width} hashes long")
        return None
    return [found[at : at + HASH_BYTES] for at in range(0, len(found), HASH_BYTES)]


def _bundle(
    folder: Path, number: int, width: int, problems: Problems, seen: set[str]
) -> list[bytes | None]:
    """Return the entries of a bundle; all None when it is not there."""
    name = tile_path(None, number, width)
    seen.add(name)
    if not (folder / name).exists():
        return [None] * width
    entries = split_bundle(read_plain(folder / name, _BUNDLE_BYTES_MAX) or b"", width)
    if entries is None:
        problems.add(10, f"{name} is not a bundle of {width} entries")
        return [b""] * width
    return list(entries)


def split_bundle(raw: bytes, width: int) -> list[bytes] | None:
    """Return the entries of a bundle, or None when it does not hold exactly `width` of them."""
    entries: list[bytes] = []
    at = 0
    while len(entries) < width:
        begin = at + 2
        end = begin + int.from_bytes(raw[at:begin], "big")
        if begin > len(raw) or end > len(raw):
            return None
        entries.append(raw[begin:end])
        at = end
    return entries if at == len(raw) else None


def _check_higher(folder: Path, roots: list[bytes], problems: Problems, seen: set[str]) -> None:
    level = 1
    while roots:
        above: list[bytes] = []
        for first in range(0, len(roots), TILE):
            below = roots[first : first + TILE]
            found = _tile(folder, level, first // TILE, len(below), problems, seen)
            if found is not None and found != below:
                problems.add(10, f"{tile_path(level, first // TILE, len(below))} is wrong")
            if len(below) == TILE:
                above.append(_root(below))
        roots, level = above, level + 1


def _check_others(folder: Path, size: int, problems: Problems, seen: set[str]) -> None:
    """Allow narrower tiles of earlier sizes, as a mirror collects them, when they fit."""
    known = {parent.as_posix() for path in seen for parent in PurePath(path).parents}
    for here, inner, names in os.walk(folder / "tile"):
        for name in inner:
            place = Path(here) / name
            # A partial tile of an earlier size stands, or stood, in a folder of its own.
            earlier = re.fullmatch(r"x?[0-9]{3}(\.p)?", name, re.ASCII)
            if place.is_symlink() or not (earlier or place.relative_to(folder).as_posix() in known):
                problems.add(10, "the folder holds a folder that does not belong to this log")
        for name in names:
            path = (Path(here) / name).relative_to(folder).as_posix()
            if path not in seen and not _fits_wider(folder, path, size):
                problems.add(10, "the folder holds a tile that does not belong to this log")


def _fits_wider(folder: Path, path: str, size: int) -> bool:
    match = re.fullmatch(
        r"tile/(entries|[0-9]{1,2})/((?:x[0-9]{3}/){0,5}[0-9]{3})\.p/([0-9]{1,3})", path
    )
    if match is None:
        return False
    level = None if match[1] == "entries" else int(match[1])
    number, width = int(re.sub("[x/]", "", match[2])), int(match[3])
    wide = min(TILE, (size >> 8 * (level or 0)) - number * TILE)
    if not 0 < width < wide or tile_path(level, number, width) != path:
        return False
    narrow = read_plain(folder / path, _BUNDLE_BYTES_MAX)
    whole = read_plain(folder / tile_path(level, number, wide), _BUNDLE_BYTES_MAX)
    if narrow is None or whole is None or not whole.startswith(narrow):
        return False
    if level is None:
        return split_bundle(narrow, width) is not None
    return len(narrow) == width * HASH_BYTES


def _root(hashes: list[bytes]) -> bytes:
    """Return the root above a power of two of hashes."""
    while len(hashes) > 1:
        pairs = zip(hashes[::2], hashes[1::2], strict=True)
        hashes = [hashlib.sha256(b"\x01" + left + right).digest() for left, right in pairs]
    return hashes[0]


def _notes(path: Path, newest: str, problems: Problems) -> list[Note]:
    notes: list[Note] = []
    ended = True
    with _opened(path) as lines:
        while line := lines.readline(_LINE_BYTES_MAX):
            ended = line.endswith(b"\n")
            note = parse_json(line.removesuffix(b"\n"))
            if not isinstance(note, str) or json.dumps(note).encode() + b"\n" != line:
                problems.add(7, "checkpoints.jsonl has a line that is not one note")
            else:
                notes.append((_size_of(note), note))
    if not ended:
        problems.add(7, "checkpoints.jsonl does not end with a line feed")
    if not notes or notes[-1][1] != newest:
        problems.add(7, "the newest of checkpoints.jsonl is not the checkpoint")
    return notes


def _size_of(note: str) -> int:
    lines = note.split("\n", 2)
    text = lines[1] if len(lines) > 2 else ""
    return int(text) if re.fullmatch("[0-9]{1,16}", text, re.ASCII) else -1


def _opened(path: Path) -> IO[bytes]:
    """Open a plain file. A named pipe would let us wait for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise LedgerFault(f"{path} is not a plain file", "export the log again")
    return os.fdopen(descriptor, "rb")


def read_plain(path: Path, limit: int) -> bytes | None:
    """Return a plain file's content; None when it is absent or longer than `limit`.

    Raises:
        LedgerFault: it is a pipe, a device or a folder.
        OSError: it cannot be read, or is a symbolic link.
    """
    try:
        file = _opened(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with file:
        found = file.read(limit + 1)
    return found if len(found) <= limit else None
