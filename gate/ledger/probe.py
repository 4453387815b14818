"""The retention probe: search the memory of processes, and files, for what must not remain.

A probe that finds nothing proves nothing unless it can find. So each run first plants pieces of
random needles (controls) in a helper process and in a file and must find them all, and searches
every target for random needles that were never anywhere (decoys) and must find none of them.

Reading another process needs the right to trace it; without it there is an error, never a zero.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final

import numpy as np

from gate.errors import GateError
from gate.ledger.needles import PIECE, Hit, Index, Kind, Needle, fragments
from gate.ledger.record import COUNT, Probed

__all__ = ["Hit", "Index", "Kind", "Needle", "ProbeFault", "ProbeReport", "Scan", "probe"]

CHUNK_BYTES: Final = 16 << 20
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_UNREADABLE: Final = frozenset({"[vvar]", "[vvar_vclock]", "[vsyscall]"})
"""Pages of the kernel that every process shares; they hold the clock, and no data."""
_PRESENT: Final = np.uint64(1 << 63)
_SWAPPED: Final = np.uint64(1 << 62)
_AS_ROOT: Final = "run the probe as root, or as the user who owns the process"
_HELPER: Final = """\
import sys
size = int.from_bytes(sys.stdin.buffer.read(8), "big")
held = sys.stdin.buffer.read(size)
sys.stdout.write("+")
sys.stdout.flush()
sys.stdin.buffer.read()
"""


class ProbeFault(GateError):
    """A target could not be searched. Never the same as "nothing found"."""


@dataclass(frozen=True)
class Scan:
    """What was searched in one target and found there.

    `bytes_skipped` are resident bytes that the kernel did not hand out (device memory).
    """

    target: str
    bytes_scanned: int
    bytes_skipped: int
    hits: tuple[Hit, ...]


@dataclass(frozen=True)
class ProbeReport:
    """The outcome of one probe."""

    needles: int
    scans: tuple[Scan, ...]
    hits: tuple[Hit, ...]
    decoy_hits: tuple[Hit, ...]
    controls_found: int
    controls_planted: int

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of what was searched."""
        return tuple(scan.target for scan in self.scans)

    @property
    def bytes_scanned(self) -> int:
        """How much was searched, without the controls."""
        return sum(scan.bytes_scanned for scan in self.scans)

    @property
    def ok(self) -> bool:
        """No residue, and the probe showed that it would have found one."""
        return (
            not self.hits
            and not self.decoy_hits
            and self.controls_found == self.controls_planted > 0
        )

    def record(self) -> Probed:
        """Return the record for the log; a count at the end of its range means "or more"."""
        return Probed(
            needles=COUNT.clamp(self.needles),
            controls_found=COUNT.clamp(self.controls_found),
            residues=COUNT.clamp(len(self.hits)),
        )


def probe(
    needles: Sequence[Needle],
    pids: Sequence[int] = (),
    paths: Sequence[Path] = (),
    *,
    random: Callable[[int], bytes],
    decoys: Sequence[Needle] = (),
) -> ProbeReport:
    """Search processes and files for needles, with controls and decoys.

    Args:
        needles: what must not remain.
        pids: processes other than this one (this one holds the needles).
        paths: files, or folders whose files are all searched.
        random: returns n unpredictable bytes, such as `os.urandom`.
        decoys: things like the needles that never were near the targets, such as the photo of
            another person; random ones are always added.

    Raises:
        ProbeFault: a target could not be searched.
        ValueError: two needles have one name.
    """
    controls = _random_needles("control", random)
    decoys = [*decoys, *_random_needles("decoy", random)]
    index = Index([*needles, *controls, *decoys])
    control_names = {needle.name for needle in controls}
    decoy_names = {needle.name for needle in decoys}

    plant = _plant(controls)
    found = 0
    decoy_hits: list[Hit] = []
    with _helper(plant) as pid, tempfile.TemporaryDirectory() as folder:
        # A piece that lies across two chunks must be found as well.
        file = Path(folder) / "controls"
        file.write_bytes(bytes(CHUNK_BYTES - 40) + plant)
        for scan in (scan_process(pid, index), scan_files([file], index)):
            found += len(control_names & {hit.needle for hit in scan.hits})
            decoy_hits += [hit for hit in scan.hits if hit.needle in decoy_names]

    scans = [scan_process(pid, index) for pid in pids]
    if paths:
        scans.append(scan_files(paths, index))
    hits = [hit for scan in scans for hit in scan.hits]
    return ProbeReport(
        needles=len(needles),
        scans=tuple(scans),
        hits=tuple(h for h in hits if h.needle not in control_names | decoy_names),
        decoy_hits=(*decoy_hits, *(h for h in hits if h.needle in decoy_names)),
        controls_found=found,
        controls_planted=2 * len(controls),
    )


def scan_process(pid: int, index: Index, chunk_bytes: int = CHUNK_BYTES) -> Scan:
    """Search all resident and swapped-out memory of another process, while it runs.

    Raises:
        ProbeFault: no such process, it ended meanwhile, it is this one, or no right to read it.
    """
    if pid == os.getpid():
        raise ProbeFault("a probe cannot search itself: it holds the needles", "use a child")
    target = f"process {pid}"
    hits: list[Hit] = []
    scanned = skipped = 0
    try:
        with (
            Path(f"/proc/{pid}/maps").open("rb") as maps,
            FileIO(f"/proc/{pid}/pagemap") as pagemap,
            FileIO(f"/proc/{pid}/mem") as memory,
        ):
            regions = list(_regions(maps))
            for low, high in (run for region in regions for run in _resident(pagemap, *region)):
                for start in range(low, high, chunk_bytes):
                    end = min(start + chunk_bytes + index.overlap_bytes, high)
                    data, unread = _read_memory(memory, start, end)
                    scanned += min(start + chunk_bytes, high) - start - unread
                    skipped += unread
                    hits += index.search(data, target, start)
            # The memory of a process that has ended reads as nothing: that is not "0 found".
            if not regions or not Path(f"/proc/{pid}/maps").read_bytes():
                raise ProcessLookupError
    except PermissionError:
        raise ProbeFault(f"no right to read the memory of {target}", _AS_ROOT) from None
    except (FileNotFoundError, ProcessLookupError):
        raise ProbeFault(f"{target} ended before it was searched", "probe it again") from None
    return Scan(target, scanned, skipped, _once(hits))


def scan_files(paths: Iterable[Path], index: Index, chunk_bytes: int = CHUNK_BYTES) -> Scan:
    """Search files, and all regular files of folders. Symbolic links are not followed.

    Raises:
        ProbeFault: a file is missing or cannot be read.
    """
    hits: list[Hit] = []
    scanned = 0
    for path in paths:
        try:
            for file in _files(path):
                scanned += _scan_file(file, index, chunk_bytes, hits)
        except OSError as error:
            raise ProbeFault(f"cannot search {path}: {error.strerror}", "check the path") from None
    return Scan("files", scanned, 0, _once(hits))


def _scan_file(path: Path, index: Index, chunk_bytes: int, hits: list[Hit]) -> int:
    start, tail = 0, b""
    with path.open("rb") as file:
        while data := file.read(chunk_bytes):
            hits += index.search(tail + data, str(path), start - len(tail))
            start += len(data)
            tail = (tail + data)[-index.overlap_bytes :]
    return start


def _files(path: Path) -> Iterator[Path]:
    mode = path.lstat().st_mode
    if stat.S_ISDIR(mode):
        for item in sorted(path.iterdir()):
            yield from _files(item)
    elif stat.S_ISREG(mode):
        yield path


def _regions(maps: Iterable[bytes]) -> Iterator[tuple[int, int]]:
    """Yield the address ranges of /proc/PID/maps (proc_pid_maps(5))."""
    for line in maps:
        parts = line.split(maxsplit=5)
        name = parts[5].strip().decode(errors="replace") if len(parts) == 6 else ""
        if name not in _UNREADABLE:
            low, _, high = parts[0].partition(b"-")
            yield int(low, 16), int(high, 16)


def _resident(pagemap: FileIO, low: int, high: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a range that are in memory or in swap (proc_pid_pagemap(5))."""
    raw = os.pread(pagemap.fileno(), (high - low) // _PAGE_BYTES * 8, low // _PAGE_BYTES * 8)
    there = (np.frombuffer(raw, "<u8") & (_PRESENT | _SWAPPED)) != 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(np.int8)))
    for first, past in zip(edges[::2], edges[1::2], strict=True):
        yield low + int(first) * _PAGE_BYTES, low + int(past) * _PAGE_BYTES


def _read_memory(memory: FileIO, start: int, end: int) -> tuple[bytes, int]:
    """Read a range. What cannot be read (unmapped meanwhile, device memory) becomes zeros.

    Returns: the bytes, and how many of them could not be read.
    """
    parts, skipped = [], 0
    while start < end:
        try:
            part = os.pread(memory.fileno(), end - start, start)
        except PermissionError:
            raise
        except OSError:
            part = b""
        if not part:
            part = bytes(min(_PAGE_BYTES - start % _PAGE_BYTES, end - start))
            skipped += len(part)
        parts.append(part)
        start += len(part)
    return b"".join(parts), skipped


def _once(hits: Sequence[Hit]) -> tuple[Hit, ...]:
    """Join the hits that the overlap of two chunks found twice, or in two parts."""
    joined: list[Hit] = []
    for hit in sorted(hits, key=lambda h: (h.target, h.needle, h.offset)):
        last = joined[-1] if joined else None
        if (
            last is not None
            and (last.target, last.needle) == (hit.target, hit.needle)
            and hit.offset < last.offset + last.length
        ):
            end = max(last.offset + last.length, hit.offset + hit.length)
            joined[-1] = Hit(last.needle, last.target, last.offset, end - last.offset)
        else:
            joined.append(hit)
    return tuple(joined)


def _random_needles(name: str, random: Callable[[int], bytes]) -> list[Needle]:
    sizes = {Kind.IMAGE: 4096, Kind.VECTOR: 2048, Kind.KEY: 32, Kind.TEXT: 16}
    return [Needle(f"{name} {kind.value}", kind, random(size)) for kind, size in sizes.items()]


def _plant(controls: Sequence[Needle]) -> bytes:
    """Return one smallest piece of each control, at odd places between zeros."""
    held = bytearray()
    for control in controls:
        pieces = fragments(control)
        size = PIECE[control.kind].min_bytes if control.kind in PIECE else len(control.data)
        held += bytes(13) + pieces[len(pieces) // 2].data[:size]
    return bytes(held)


@contextmanager
def _helper(plant: bytes) -> Iterator[int]:
    """Run a process that holds the bytes of `plant` and nothing else of a needle."""
    command = [sys.executable, "-I", "-S", "-c", _HELPER]
    with subprocess.Popen(  # noqa: S603 - our own interpreter and our own text
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(len(plant).to_bytes(8, "big") + plant)
            child.stdin.flush()
            if child.stdout.read(1) != b"+":
                raise ProbeFault("the probe's helper process did not start", "check memory")
            yield child.pid
        except BrokenPipeError:
            raise ProbeFault("the probe's helper process died", "check memory") from None
        finally:
            child.kill()
