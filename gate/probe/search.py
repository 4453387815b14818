"""Search the memory of processes, files and streams for needles, with controls and decoys.

A probe that finds nothing proves nothing unless it can find. So each search first plants pieces
of random needles (controls) in a helper process and in a file and must find them all, and looks in
every target for random needles that were never anywhere (decoys) and must find none of them.

Reading another process needs the right to trace it; without it there is an error, never a zero.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import IO, Final

from gate.ledger.record import COUNT, Probed
from gate.probe.controls import holding, plant, random_needles
from gate.probe.faults import ProbeFault, ProcessEnded
from gate.probe.needles import COUNT_UP_TO, Hit, Index, Needle
from gate.probe.process_memory import read_memory, regions, resident
from gate.probe.processes import memory_folder

CHUNK_BYTES: Final = 16 << 20
_TELL_BYTES: Final = 8 << 20
_TOLD_FROM_BYTES: Final = 1 << 20
_AS_ROOT: Final = "run the probe as root, or as the user who owns the process"

Progress = Callable[[str], None]
"""Is told, in a few words, what is searched and how far."""
MayRemain = Callable[[str, str], bool]
"""Whether a needle, by name, is expected in a target, by name."""


def silent(_line: str) -> None:
    """Report no progress."""


def nowhere(_needle: str, _target: str) -> bool:
    """Expect no needle anywhere."""
    return False


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
    files: int = 0


@dataclass(frozen=True)
class ProbeReport:
    """The outcome of one search. `expected` are the hits that `may_remain` allowed."""

    needles: int
    scans: tuple[Scan, ...]
    hits: tuple[Hit, ...]
    decoy_hits: tuple[Hit, ...]
    controls_found: int
    controls_planted: int
    expected: tuple[Hit, ...] = ()
    not_searched: tuple[tuple[str, str], ...] = ()
    """What could not be searched, and why."""

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
    def can_find(self) -> bool:
        """Whether the probe showed that it finds what is there, and only that."""
        return not self.decoy_hits and self.controls_found == self.controls_planted > 0

    @property
    def ok(self) -> bool:
        """No residue, and the probe showed that it would have found one."""
        return not self.hits and self.can_find

    def record(self) -> Probed:
        """Return the record for the log; a count at the end of its range means "or more"."""
        return Probed(
            needles=COUNT.clamp(self.needles),
            controls_planted=COUNT.clamp(self.controls_planted),
            controls_found=COUNT.clamp(self.controls_found),
            decoy_hits=COUNT.clamp(len(self.decoy_hits)),
            residues=COUNT.clamp(len(self.hits)),
            searched=COUNT.clamp(len(self.scans)),
            not_searched=COUNT.clamp(len(self.not_searched)),
        )


class Search:
    """One search: target by target, then the report.

    Args:
        needles: what must not remain.
        random: returns n unpredictable bytes, such as `os.urandom`.
        decoys: things like the needles that never were near the targets, such as a photograph
            that nobody showed; random ones are always added.
        may_remain: see `MayRemain`.
        progress: is told what is searched and how far.

    Raises:
        ValueError: two needles have one name.
        ProbeFault: the controls could not be planted.
    """

    def __init__(
        self,
        needles: Sequence[Needle],
        *,
        random: Callable[[int], bytes],
        decoys: Sequence[Needle] = (),
        may_remain: MayRemain = nowhere,
        progress: Progress = silent,
    ) -> None:
        controls = random_needles("control", random)
        decoys = [*decoys, *random_needles("decoy", random)]
        progress(f"{len(needles)} needles")
        self._needles = len(needles)
        self._index = Index([*needles, *controls, *decoys])
        self._control_names = {needle.name for needle in controls}
        self._decoy_names = {needle.name for needle in decoys}
        self._may_remain = may_remain
        self._progress = progress
        self._scans: list[Scan] = []
        self._decoy_hits: list[Hit] = []
        self._not_searched: list[tuple[str, str]] = []
        self._planted = 2 * len(controls)
        self._found = self._find_controls(plant(controls))

    def _find_controls(self, planted: bytes) -> int:
        found = 0
        self._progress("controls")
        with holding(planted) as pid, tempfile.TemporaryDirectory() as folder:
            # A piece that lies across two chunks must be found as well.
            file = Path(folder) / "controls"
            file.write_bytes(bytes(CHUNK_BYTES - 40) + planted)
            for scan in (scan_process(pid, self._index), scan_files([file], self._index)):
                found += len(self._control_names & {hit.needle for hit in scan.hits})
                self._decoy_hits += [h for h in scan.hits if h.needle in self._decoy_names]
        return found

    def process(self, pid: int, name: str | None = None) -> None:
        """Search one process.

        Raises:
            ProbeFault: see `scan_process`.
        """
        self._scans.append(scan_process(pid, self._index, progress=self._progress, name=name))

    def files(
        self, paths: Iterable[Path], name: str = "files", *, gone_is_clean: bool = False
    ) -> None:
        """Search files, and all files of folders, as one target.

        Raises:
            ProbeFault: see `scan_files`.
        """
        self._scans.append(
            scan_files(
                paths,
                self._index,
                progress=self._progress,
                name=name,
                gone_is_clean=gone_is_clean,
            )
        )

    def stream(self, stream: IO[bytes], name: str) -> None:
        """Search what a stream gives until its end."""
        self._scans.append(scan_stream(stream, self._index, name, progress=self._progress))

    def passed_over(self, what: str, why: str) -> None:
        """Note what was not searched."""
        self._not_searched.append((what, why))

    def report(self) -> ProbeReport:
        """Return what was found so far."""
        hits = [hit for scan in self._scans for hit in scan.hits]
        decoys = [hit for hit in hits if hit.needle in self._decoy_names]
        known = self._control_names | self._decoy_names
        hits = [hit for hit in hits if hit.needle not in known]
        return ProbeReport(
            needles=self._needles,
            scans=tuple(self._scans),
            hits=tuple(h for h in hits if not self._may_remain(h.needle, h.target)),
            decoy_hits=(*self._decoy_hits, *decoys),
            controls_found=self._found,
            controls_planted=self._planted,
            expected=tuple(h for h in hits if self._may_remain(h.needle, h.target)),
            not_searched=tuple(self._not_searched),
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
    """Search processes and files for needles: `Search` in one call.

    Args:
        needles: what must not remain.
        pids: processes other than this one (this one holds the needles).
        paths: files, or folders whose files are all searched.
        random: see `Search`.
        decoys: see `Search`.
        progress: see `Search`.

    Raises:
        ProbeFault: a target could not be searched.
        ValueError: two needles have one name.
    """
    search = Search(needles, random=random, decoys=decoys, progress=progress)
    for pid in pids:
        search.process(pid)
    if paths:
        search.files(paths)
    return search.report()


def scan_process(
    pid: int,
    index: Index,
    chunk_bytes: int = CHUNK_BYTES,
    progress: Progress = silent,
    name: str | None = None,
) -> Scan:
    """Search all resident and swapped-out memory of another process, while it runs.

    Raises:
        ProcessEnded: no such process, or it ended meanwhile.
        ProbeFault: it is this one, or no right to read it.
    """
    if pid == os.getpid():
        raise ProbeFault("a probe cannot search itself: it holds the needles", "use a child")
    target = name or f"process {pid}"
    hits: list[Hit] = []
    found: Counter[str] = Counter()
    scanned = skipped = 0
    try:
        folder = memory_folder(pid)
        with (
            (folder / "maps").open("rb") as maps,
            FileIO(str(folder / "pagemap")) as pagemap,
            FileIO(str(folder / "mem")) as memory,
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
            if not ranges or not (folder / "maps").read_bytes():
                raise ProcessLookupError
    except PermissionError:
        raise ProbeFault(f"no right to read the memory of {target}", _AS_ROOT) from None
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessEnded(f"{target} ended before it was searched", "probe it again") from None
    return Scan(target, scanned, skipped, _once(hits), _uncounted(found))


def scan_files(
    paths: Iterable[Path],
    index: Index,
    chunk_bytes: int = CHUNK_BYTES,
    progress: Progress = silent,
    name: str = "files",
    *,
    gone_is_clean: bool = False,
) -> Scan:
    """Search files, block devices, and all files of folders; links only when they are given.

    `gone_is_clean`: others may remove files meanwhile, and those hold nothing any more.

    Raises:
        ProbeFault: a file is missing or cannot be read.
    """
    hits: list[Hit] = []
    uncounted: set[str] = set()
    scanned = files = 0
    for path in paths:
        try:
            for file in _files(path):
                found: Counter[str] = Counter()
                tell = _Told(progress, file.name, file.stat().st_size)
                with file.open("rb") as stream:
                    scanned += _scan(stream, str(file), index, chunk_bytes, hits, found, tell)
                files += 1
                uncounted |= set(_uncounted(found))
        except FileNotFoundError:
            if not gone_is_clean:
                raise ProbeFault(f"cannot search {path}: it is not there", "check it") from None
        except OSError as error:
            raise ProbeFault(f"cannot search {path}: {error.strerror}", "check the path") from None
    return Scan(name, scanned, 0, _once(hits), tuple(sorted(uncounted)), files)


def scan_stream(stream: IO[bytes], index: Index, name: str, progress: Progress = silent) -> Scan:
    """Search what a stream gives until its end."""
    hits: list[Hit] = []
    found: Counter[str] = Counter()
    scanned = _scan(stream, name, index, CHUNK_BYTES, hits, found, _Told(progress, name, 0))
    return Scan(name, scanned, 0, _once(hits), _uncounted(found))


def _scan(
    stream: IO[bytes],
    target: str,
    index: Index,
    chunk_bytes: int,
    hits: list[Hit],
    found: Counter[str],
    tell: _Told,
) -> int:
    start, tail = 0, b""
    while data := stream.read(chunk_bytes):
        tell.at(start)
        hits += index.search(tail + data, target, start - len(tail), found)
        start += len(data)
        tail = (tail + data)[-index.overlap_bytes :]
    return start


def _uncounted(found: Counter[str]) -> tuple[str, ...]:
    return tuple(sorted(name for name, count in found.items() if count >= COUNT_UP_TO))


class _Told:
    """Tells how much of a target was searched, at its start and after every few megabytes."""

    def __init__(self, progress: Progress, target: str, size: int) -> None:
        self._progress, self._target, self._size = progress, target, size
        # Small targets are done before anybody could read their names.
        self._next = 0 if size >= _TOLD_FROM_BYTES or not size else size + 1

    def at(self, searched: int) -> None:
        if searched >= self._next:
            of = f" of {self._size / 1e6:.0f}" if self._size else ""
            self._progress(f"{self._target}, {searched / 1e6:.0f}{of} MB")
            self._next = searched + _TELL_BYTES


def _files(path: Path) -> Iterator[Path]:
    mode = path.lstat().st_mode
    if stat.S_ISDIR(mode):
        for item in sorted(path.iterdir()):
            if not item.is_symlink():
                yield from _files(item)
    elif stat.S_ISREG(mode) or stat.S_ISBLK(mode) or _is_open_file(path):
        yield path


def _is_open_file(path: Path) -> bool:
    """Whether a path is an open file of a process: a link of /proc that leads to it by itself."""
    return path.parts[:2] == ("/", "proc") and path.is_symlink()


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
