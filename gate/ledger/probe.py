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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final

from gate.errors import GateError
from gate.ledger.controls import plant, random_needles
from gate.ledger.needles import COUNT_UP_TO, Hit, Index, Kind, Needle
from gate.ledger.process_memory import read_memory, regions, resident
from gate.ledger.record import COUNT, Probed

__all__ = ["Hit", "Index", "Kind", "Needle", "ProbeFault", "ProbeReport", "Scan", "probe"]

CHUNK_BYTES: Final = 16 << 20
_TELL_BYTES: Final = 8 << 20
_AS_ROOT: Final = "run the probe as root, or as the user who owns the process"
_HELPER: Final = """\
import sys
size = int.from_bytes(sys.stdin.buffer.read(8), "big")
held = sys.stdin.buffer.read(size)
sys.stdout.write("+")
sys.stdout.flush()
sys.stdin.buffer.read()
"""


Progress = Callable[[str], None]
"""Is told, in a few words, what is searched and how far."""


def silent(_line: str) -> None:
    """Report no progress."""


class ProbeFault(GateError):
    """A target could not be searched. Never the same as "nothing found"."""


@dataclass(frozen=True)
class Scan:
    """What was searched in one target and found there.

    `bytes_skipped` are resident bytes that the kernel did not hand out (device memory).
    `uncounted` names the needles found so often (`COUNT_UP_TO`) that there may be more of them.
    """

    target: str
    bytes_scanned: int
    bytes_skipped: int
    hits: tuple[Hit, ...]
    uncounted: tuple[str, ...] = ()


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
    def uncounted(self) -> tuple[str, ...]:
        """What was found so often that there may be more: "needle in target"."""
        return tuple(f"{name} in {scan.target}" for scan in self.scans for name in scan.uncounted)

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
            controls_planted=COUNT.clamp(self.controls_planted),
            controls_found=COUNT.clamp(self.controls_found),
            decoy_hits=COUNT.clamp(len(self.decoy_hits)),
            residues=COUNT.clamp(len(self.hits)),
            searched=COUNT.clamp(len(self.scans)),
            not_searched=0,
        )


def probe(
    needles: Sequence[Needle],
    pids: Sequence[int] = (),
    paths: Sequence[Path] = (),
    *,
    random: Callable[[int], bytes],
    decoys: Sequence[Needle] = (),
    progress: Progress = silent,
) -> ProbeReport:
    """Search processes and files for needles, with controls and decoys.

    Args:
        needles: what must not remain.
        pids: processes other than this one (this one holds the needles).
        paths: files, or folders whose files are all searched.
        random: returns n unpredictable bytes, such as `os.urandom`.
        decoys: things like the needles that never were near the targets, such as the photo of
            another person; random ones are always added.
        progress: is told what is searched and how far.

    Raises:
        ProbeFault: a target could not be searched.
        ValueError: two needles have one name.
    """
    controls = random_needles("control", random)
    decoys = [*decoys, *random_needles("decoy", random)]
    progress(f"{len(needles)} needles")
    index = Index([*needles, *controls, *decoys])
    control_names = {needle.name for needle in controls}
    decoy_names = {needle.name for needle in decoys}

    planted = plant(controls)
    found = 0
    decoy_hits: list[Hit] = []
    with _helper(planted) as pid, tempfile.TemporaryDirectory() as folder:
        # A piece that lies across two chunks must be found as well.
        file = Path(folder) / "controls"
        file.write_bytes(bytes(CHUNK_BYTES - 40) + planted)
        progress("controls")
        for scan in (scan_process(pid, index), scan_files([file], index)):
            found += len(control_names & {hit.needle for hit in scan.hits})
            decoy_hits += [hit for hit in scan.hits if hit.needle in decoy_names]

    scans = [scan_process(pid, index, progress=progress) for pid in pids]
    if paths:
        scans.append(scan_files(paths, index, progress=progress))
    hits = [hit for scan in scans for hit in scan.hits]
    return ProbeReport(
        needles=len(needles),
        scans=tuple(scans),
        hits=tuple(h for h in hits if h.needle not in control_names | decoy_names),
        decoy_hits=(*decoy_hits, *(h for h in hits if h.needle in decoy_names)),
        controls_found=found,
        controls_planted=2 * len(controls),
    )


def scan_process(
    pid: int, index: Index, chunk_bytes: int = CHUNK_BYTES, progress: Progress = silent
) -> Scan:
    """Search all resident and swapped-out memory of another process, while it runs.

    Raises:
        ProbeFault: no such process, it ended meanwhile, it is this one, or no right to read it.
    """
    if pid == os.getpid():
        raise ProbeFault("a probe cannot search itself: it holds the needles", "use a child")
    target = f"process {pid}"
    hits: list[Hit] = []
    found: Counter[str] = Counter()
    scanned = skipped = 0
    try:
        with (
            Path(f"/proc/{pid}/maps").open("rb") as maps,
            FileIO(f"/proc/{pid}/pagemap") as pagemap,
            FileIO(f"/proc/{pid}/mem") as memory,
        ):
            ranges = list(regions(maps))
            runs = [run for low, high in ranges for run in resident(pagemap, low, high)]
            tell = _Told(progress, target, sum(high - low for low, high in runs))
            for low, high in runs:
                for start in range(low, high, chunk_bytes):
                    tell.at(scanned + skipped)
                    end = min(start + chunk_bytes + index.overlap_bytes, high)
                    data, unread = read_memory(memory, start, end)
                    scanned += min(start + chunk_bytes, high) - start - unread
                    skipped += unread
                    hits += index.search(data, target, start, found)
            # The memory of a process that has ended reads as nothing: that is not "0 found".
            if not ranges or not Path(f"/proc/{pid}/maps").read_bytes():
                raise ProcessLookupError
    except PermissionError:
        raise ProbeFault(f"no right to read the memory of {target}", _AS_ROOT) from None
    except (FileNotFoundError, ProcessLookupError):
        raise ProbeFault(f"{target} ended before it was searched", "probe it again") from None
    return Scan(target, scanned, skipped, _once(hits), _uncounted(found))


def scan_files(
    paths: Iterable[Path],
    index: Index,
    chunk_bytes: int = CHUNK_BYTES,
    progress: Progress = silent,
) -> Scan:
    """Search files, and all regular files of folders. Symbolic links are not followed.

    Raises:
        ProbeFault: a file is missing or cannot be read.
    """
    hits: list[Hit] = []
    uncounted: set[str] = set()
    scanned = 0
    for path in paths:
        try:
            for file in _files(path):
                found: Counter[str] = Counter()
                tell = _Told(progress, file.name, file.stat().st_size)
                scanned += _scan_file(file, index, chunk_bytes, hits, found, tell)
                uncounted |= set(_uncounted(found))
        except OSError as error:
            raise ProbeFault(f"cannot search {path}: {error.strerror}", "check the path") from None
    return Scan("files", scanned, 0, _once(hits), tuple(sorted(uncounted)))


def _scan_file(
    path: Path,
    index: Index,
    chunk_bytes: int,
    hits: list[Hit],
    found: Counter[str],
    tell: _Told,
) -> int:
    start, tail = 0, b""
    with path.open("rb") as file:
        while data := file.read(chunk_bytes):
            tell.at(start)
            hits += index.search(tail + data, str(path), start - len(tail), found)
            start += len(data)
            tail = (tail + data)[-index.overlap_bytes :]
    return start


def _uncounted(found: Counter[str]) -> tuple[str, ...]:
    return tuple(sorted(name for name, count in found.items() if count >= COUNT_UP_TO))


class _Told:
    """Tells how much of a target was searched, at its start and after every few megabytes."""

    def __init__(self, progress: Progress, target: str, size: int) -> None:
        self._progress, self._target, self._size = progress, target, size
        self._next = 0

    def at(self, searched: int) -> None:
        if searched >= self._next:
            mb = f"{searched / 1e6:.0f} of {self._size / 1e6:.0f} MB"
            self._progress(f"{self._target}, {mb}")
            self._next = searched + _TELL_BYTES


def _files(path: Path) -> Iterator[Path]:
    mode = path.lstat().st_mode
    if stat.S_ISDIR(mode):
        for item in sorted(path.iterdir()):
            yield from _files(item)
    elif stat.S_ISREG(mode):
        yield path


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


@contextmanager
def _helper(planted: bytes) -> Iterator[int]:
    """Run a process that holds the bytes of `planted` and nothing else of a needle."""
    command = [sys.executable, "-I", "-S", "-c", _HELPER]
    with subprocess.Popen(  # noqa: S603 - our own interpreter and our own text
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(len(planted).to_bytes(8, "big") + planted)
            child.stdin.flush()
            if child.stdout.read(1) != b"+":
                raise ProbeFault("the probe's helper process did not start", "check memory")
            yield child.pid
        except BrokenPipeError:
            raise ProbeFault("the probe's helper process died", "check memory") from None
        finally:
            child.kill()
