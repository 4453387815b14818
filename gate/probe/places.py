"""Where, beside memory, something could remain: files written meanwhile, swap, dumps, journal."""

from __future__ import annotations

import glob
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PAGE: Final = 4096
FILE_MAX_BYTES: Final = 4 << 30
_SHOWN: Final = 200
"""So much of a path that cannot be listed is shown."""
_DUMP_FOLDERS: Final = (
    "/var/lib/systemd/coredump",
    "/var/crash",
    "/var/spool/abrt",
    "/var/lib/apport/coredump",
)
_PACKED: Final = frozenset({".zst", ".lz4", ".xz", ".gz"})
_NOT_FILES: Final = ("/proc", "/sys", "/dev")


@dataclass(frozen=True)
class Found:
    """Files to search, and what is there but cannot be searched: (what, why)."""

    files: tuple[Path, ...] = ()
    passed_over: tuple[tuple[str, str], ...] = ()


def written_since(roots: Iterable[Path], since_s: float, leave_out: Iterable[Path] = ()) -> Found:
    """Return every regular file below `roots` that was made or changed since a moment.

    Change is by ctime, which no program sets back. Symbolic links are not followed.

    Args:
        roots: folders; those that do not exist are skipped, nested ones searched once.
        since_s: Unix time.
        leave_out: files and folders that hold the canary's pictures on purpose.
    """
    seen: set[tuple[int, int]] = set()
    left_out = {str(path.resolve()) for path in leave_out} | set(_NOT_FILES)
    files: list[Path] = []
    passed_over: list[tuple[str, str]] = []
    for root in roots:
        for path, facts in _walk(str(root.resolve()), left_out, passed_over):
            if facts.st_ctime < since_s and facts.st_mtime < since_s:
                continue
            if (facts.st_dev, facts.st_ino) in seen:
                continue
            seen.add((facts.st_dev, facts.st_ino))
            if facts.st_size > FILE_MAX_BYTES:
                passed_over.append((path, "larger than 4 GiB"))
            elif not os.access(path, os.R_OK):
                passed_over.append((path, "no right to read"))
            elif facts.st_size:
                files.append(Path(path))
    return Found(tuple(files), tuple(passed_over))


def _walk(
    folder: str, left_out: set[str], passed_over: list[tuple[str, str]]
) -> Iterator[tuple[str, os.stat_result]]:
    todo = [folder]
    while todo:
        current = todo.pop()
        if current in left_out:
            continue
        try:
            with os.scandir(current) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    elif entry.path not in left_out:
                        try:
                            facts = entry.stat(follow_symlinks=False)
                        except FileNotFoundError:
                            continue  # gone meanwhile
                        except OSError as error:
                            passed_over.append((entry.path[:_SHOWN], _why(error)))
                            continue
                        if stat.S_ISREG(facts.st_mode):
                            yield entry.path, facts
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            continue
        except PermissionError:
            passed_over.append((current, "no right to list"))
        except OSError as error:  # a path that is too long, a disk that fails
            passed_over.append((current[:_SHOWN], _why(error)))


def _why(error: OSError) -> str:
    return (error.strerror or "cannot be read").lower()


def usual_roots(own: Iterable[Path]) -> list[Path]:
    """Return where a process of this user can write: own folders, temporary, cache, home, /var."""
    home = Path.home()
    named = [Path(os.environ[v]) for v in ("XDG_CACHE_HOME", "XDG_RUNTIME_DIR") if v in os.environ]
    roots = [*own, Path(tempfile.gettempdir()), Path("/tmp"), Path("/var"), Path("/run")]  # noqa: S108
    if home != Path("/"):
        roots.append(home)
    return [root for root in dict.fromkeys([*roots, *named]) if root.is_dir()]


def open_but_deleted(pids: Iterable[int]) -> Found:
    """Return files that some process still holds open though they have no name any more."""
    files: dict[tuple[int, int], Path] = {}
    passed_over: list[tuple[str, str]] = []
    for pid in pids:
        try:
            links = list(Path(f"/proc/{pid}/fd").iterdir())
        except FileNotFoundError:
            continue
        except OSError:
            passed_over.append((f"open files of process {pid}", "no right to list"))
            continue
        for link in links:
            try:
                facts = link.stat()
                nameless = str(link.readlink()).endswith(" (deleted)")
            except OSError:
                continue
            if nameless and stat.S_ISREG(facts.st_mode):
                files[facts.st_dev, facts.st_ino] = link
    return Found(tuple(files.values()), tuple(passed_over))


def swap(swaps: Path = Path("/proc/swaps")) -> Found:
    """Return the swap areas in use."""
    try:
        lines = swaps.read_text().splitlines()[1:]
    except OSError as error:
        return Found((), (("swap", (error.strerror or "unknown").lower()),))
    files, passed_over = [], []
    for line in lines:
        area = Path(line.split()[0].replace("\\040", " "))
        if os.access(area, os.R_OK):
            files.append(area)
        else:
            passed_over.append((f"swap {area}", "no right to read; run as root"))
    return Found(tuple(files), tuple(passed_over))


def core_dumps(
    since_s: float, cwds: Iterable[Path], pattern_file: Path = Path("/proc/sys/kernel/core_pattern")
) -> Found:
    """Return the dumps written since a moment, wherever this kernel puts them.

    Args:
        since_s: Unix time.
        cwds: working folders of the gate's processes: a plain pattern puts dumps there.
        pattern_file: the kernel's core pattern.
    """
    try:
        pattern = pattern_file.read_text().strip()
    except OSError as error:
        return Found((), (("core dumps", (error.strerror or "unknown").lower()),))
    found = written_since([Path(f) for f in _DUMP_FOLDERS if Path(f).is_dir()], since_s)
    files = list(found.files)
    if not pattern.startswith("|"):
        # One folder, and one beginning of the name: the rest of the pattern varies.
        where, begin = Path(pattern).parent, Path(pattern).name.partition("%")[0]
        bases = [Path("/")] if where.is_absolute() else list(cwds)
        for base in bases:
            dumps = (base / where).glob(f"{glob.escape(begin)}*")
            files += [path for path in dumps if path.is_file() and _changed(path, since_s)]
    packed = [path for path in files if path.suffix in _PACKED]
    return Found(
        tuple(path for path in dict.fromkeys(files) if path.suffix not in _PACKED),
        (*found.passed_over, *((str(path), "a compressed core dump") for path in packed)),
    )


def _changed(path: Path, since_s: float) -> bool:
    facts = path.stat()
    return max(facts.st_ctime, facts.st_mtime) >= since_s


def journal(since_s: float) -> subprocess.Popen[bytes] | str:
    """Start the export of the journal since a moment; or say why there is none to search."""
    if shutil.which("journalctl") is None:
        return "this system has no journal"
    if not any(Path(folder).is_dir() for folder in ("/var/log/journal", "/run/log/journal")):
        return "the journal is kept nowhere on this system"
    command = ["journalctl", "--quiet", "--all", "--output=export", f"--since=@{int(since_s)}"]
    return subprocess.Popen(  # noqa: S603 - fixed arguments
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    )
