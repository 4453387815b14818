"""The log as one tar file, made on the fly and forgotten."""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path
from typing import IO

from gate.ledger.export import export

FOLDER = "gate-log"


def export_tar(ledger: Path) -> IO[bytes]:
    """Return an unnamed temporary file, at its start, that holds the exported log as a tar.

    Owner, group and times are zero: two exports of one log are the same bytes.

    Raises:
        LedgerFault: the log is absent or cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="gate-log-") as scratch:
        folder = Path(scratch) / FOLDER
        export(ledger, folder)
        packed = tempfile.TemporaryFile(suffix=".tar")  # noqa: SIM115 -- handed to the caller
        try:
            with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                for item in sorted(filter(Path.is_file, folder.rglob("*"))):
                    name = f"{FOLDER}/{item.relative_to(folder)}"
                    tar.add(item, name, recursive=False, filter=_plain)
            packed.seek(0)
        except BaseException:
            packed.close()
            raise
        return packed


def _plain(item: tarfile.TarInfo) -> tarfile.TarInfo:
    item.uid = item.gid = 0
    item.uname = item.gname = ""
    item.mtime = 0
    item.mode = 0o644
    return item
