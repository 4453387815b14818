"""Files whose bytes were hashed before anyone parses them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from models.errors import ModelFault
from models.manifest import FileSpec, pack_spec

_FETCH = "run 'gate models fetch {pack}' again"


def check_bytes(spec: FileSpec, data: bytes, advice: str) -> bytes:
    """Return `data` when size and SHA-256 are those of the manifest.

    Raises:
        ModelFault: they are not.
    """
    actual = hashlib.sha256(data).hexdigest()
    if actual != spec.sha256:
        raise ModelFault(
            f"{spec.name}: SHA-256 is {actual}, expected {spec.sha256}"
            f" ({len(data)} bytes, expected {spec.size_bytes})",
            advice,
        )
    return data


def read_verified(folder: Path, spec: FileSpec, advice: str) -> bytes:
    """Return the bytes of `folder`/`spec.name`, hashed; parse these bytes, not the file.

    Raises:
        ModelFault: the file is absent, unreadable or not the one of the manifest.
    """
    path = folder / spec.name
    try:
        with path.open("rb") as file:
            data = file.read(spec.size_bytes + 1)
    except FileNotFoundError as error:
        raise ModelFault(f"{spec.name} is not in {folder}", advice) from error
    except OSError as error:
        raise ModelFault(f"{path} cannot be read: {error.strerror}", advice) from error
    return check_bytes(spec, data, advice)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that is either whole or not there, also when the machine stops.

    Raises:
        ModelFault: no space, no right to write.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
    except OSError as error:
        raise ModelFault(
            f"{path} cannot be written: {error.strerror}",
            "free some space or choose another cache folder (GATE_CACHE_DIR)",
        ) from error


def verify_pack(folder: Path, name: str | None = None) -> None:
    """Check every file of the pack in `folder`.

    Args:
        folder: where the files are.
        name: of the pack; the folder's own name otherwise.

    Raises:
        ModelFault: the first file that is absent or differs, with both hashes and what to do.
    """
    pack = pack_spec(name or folder.name)
    for spec in pack.files:
        read_verified(folder, spec, _FETCH.format(pack=pack.name))
