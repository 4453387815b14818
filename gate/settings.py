"""One frozen Settings, read once from a TOML file and GATE_* variables. Unknown keys are refused.

Keys, issuers and policies have no default. Retention limits and Secure Channel enforcement are
code, not options.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from datetime import time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from firmware_bridge.camera_source import means
from firmware_bridge.errors import DeviceFault
from gate.errors import ConfigError
from gate.ledger.witness_site import parse_sites
from gate.template.key_source import DEFAULT_TPM, KeySource

Port = Annotated[int, Field(ge=0, le=65_535)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


def _camera_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_nul(cls, value: object) -> object:
        """No path of the system and no name can hold a NUL character."""
        for text in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(text, str) and "\0" in text:
                raise ValueError("holds a NUL character")
        return value


class GateSection(_Section):
    """Which gate this is. `mode` "demo" is the only one that accepts demo keys.

    `zone`: the one it leads to. A policy for another zone is refused, however well signed.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")]
    zone: Annotated[str, Field(min_length=1, max_length=500)]
    mode: Literal["production", "demo"]
    data_dir: Path


class ModelsSection(_Section):
    """Which models; `dir` is a ready pack (see `gate models fetch`)."""

    pack: Literal["bootstrap", "edge"]
    dir: Path
    spares: Annotated[int, Field(ge=1, le=4)] = 2


class CameraSection(_Section):
    """Where frames come from, and which part of them is looked at.

    `source`: v4l2:0, file:PATH, folder:PATH, rtsp://..., sim:PATH. `zone`: left, top, right,
    bottom as fractions of the frame; nothing outside is processed.
    """

    source: Annotated[str, BeforeValidator(_camera_text), Field(min_length=1, repr=False)]
    zone: tuple[Fraction, Fraction, Fraction, Fraction] = (0.0, 0.0, 1.0, 1.0)
    look_ms: Annotated[int, Field(ge=500, le=7_000)] = 5_000

    @field_validator("source")
    @classmethod
    def _is_known(cls, source: str) -> str:
        try:
            means(source)
        except DeviceFault as fault:
            raise ValueError(fault.diagnostics()) from None
        return source

    @field_validator("zone")
    @classmethod
    def _has_an_inside(
        cls, zone: tuple[float, float, float, float]
    ) -> tuple[float, float, float, float]:
        left, top, right, bottom = zone
        if not (left < right and top < bottom):
            raise ValueError("left must be less than right and top less than bottom")
        return zone


class TurnstileSection(_Section):
    """The serial line. `port` should be a stable name below /dev/serial/by-id."""

    driver: Literal["osdp"] = "osdp"
    port: Path
    baud: Literal[9600, 115200] = 115200
    address: Annotated[int, Field(ge=0, le=126)] = 0
    key_file: Path
    pulse_ms: Annotated[int, Field(ge=100, le=5_000)] = 500


class CardSection(_Section):
    """Card reader, reader identity and issuer trust. `reader`: socket:PATH (virtual antenna)."""

    reader: Annotated[str, Field(pattern=r"^socket:.+")]
    reader_key: Path
    reader_cert: Path
    issuer_roots: Path
    status_signer: Path
    status_list: Path
    doc_type: str = "org.consentgate.staffpass.1"


def _key_source(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return KeySource.parse(value)
    except ConfigError as error:
        raise ValueError(error.diagnostics()) from None


class KeysSection(_Section):
    """Template-opening keys, newest first; old ones stay until their last card expires.

    `template_keys`: each a PATH, credential:NAME, pkcs11:URI or tpm2:PATH, see docs/keys.md.
    `passphrase_file`: PATH or credential:NAME; asked for at the terminal when it is not given.
    """

    template_keys: Annotated[
        tuple[Annotated[KeySource, BeforeValidator(_key_source)], ...], Field(min_length=1)
    ]
    passphrase_file: Annotated[str, Field(min_length=1)] | None = None
    tpm: Path = Path(DEFAULT_TPM)
    token_dir: Path | None = None
    module_environment: dict[Annotated[str, Field(pattern="^[A-Z][A-Z0-9_]*$")], str] = {}

    def anchored(self, base: Path) -> KeysSection:
        """Return the section with every relative path counted from `base`."""
        passphrase = self.passphrase_file
        if passphrase is not None and not passphrase.startswith("credential:"):
            passphrase = str(base / passphrase)
        keys = tuple(source.anchored(base) for source in self.template_keys)
        return self.model_copy(update={"template_keys": keys, "passphrase_file": passphrase})


class PolicySection(_Section):
    """Signed documents. Without `deployment` cards work and face mode stays off."""

    policy: Path
    deployment: Path | None = None
    authority: Path


class LedgerSection(_Section):
    """The log and the key that signs its checkpoints.

    `keep_days`: older records are deleted, in whole tiles of 256; their hashes stay.
    """

    path: Path
    signer: Path
    keep_days: Annotated[int, Field(ge=30, le=36_500)] = 365
    witnesses: tuple[str, ...] = ()
    """Who co-signs checkpoints: `VKEY URL`, or `VKEY` for a witness that signs offline."""

    @field_validator("witnesses")
    @classmethod
    def _are_witnesses(cls, witnesses: tuple[str, ...]) -> tuple[str, ...]:
        try:
            parse_sites(witnesses)
        except ConfigError as fault:
            raise ValueError(fault.diagnostics()) from None
        return witnesses


class KioskSection(_Section):
    """Where the pages are served. Loopback only: the kiosk screen is at the gate."""

    host: Literal["127.0.0.1", "::1", "localhost"] = "127.0.0.1"
    port: Port = 8443


class ProbeSection(_Section):
    """The retention probe of every night. Without `nightly` there is none.

    `nightly`: local time, "03:00". `faces`: photographs for its canaries, one folder for each of
    two people or more, or a copy of the sample photographs; nothing is fetched at night.
    """

    nightly: time | None = None
    faces: Path | None = None

    @model_validator(mode="after")
    def _has_faces(self) -> ProbeSection:
        if self.nightly is not None and self.faces is None:
            raise ValueError("nightly needs faces: a folder with photographs for the canaries")
        if self.nightly is not None and self.nightly.tzinfo is not None:
            raise ValueError("nightly is local time, without a zone")
        return self


class Settings(_Section):
    """Everything a gate needs to know before it starts."""

    gate: GateSection
    models: ModelsSection
    camera: CameraSection
    turnstile: TurnstileSection
    card: CardSection
    keys: KeysSection
    policy: PolicySection
    ledger: LedgerSection
    kiosk: KioskSection = KioskSection()
    probe: ProbeSection = ProbeSection()


def load_settings(path: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of one gate.

    A variable GATE_<SECTION>_<KEY> replaces one value (GATE_TURNSTILE_PORT=/dev/ttyS1).
    Relative paths in the file count from the folder of the file.

    Raises:
        ConfigError: unreadable, not TOML, unknown key, missing key or value out of range.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}", "give --config the path of a gate.toml"
        ) from None
    except RecursionError:
        raise ConfigError(
            f"{path} is nested too deeply", "compare it with gate.example.toml"
        ) from None
    except ValueError as error:  # not TOML, not UTF-8, or a number of too many digits
        raise ConfigError(
            f"{path} is not TOML: {error}", "compare it with gate.example.toml"
        ) from None
    _apply_environment(document, environ)
    try:
        settings = Settings.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{path}: [{where}] {first['msg']}", "compare it with gate.example.toml"
        ) from None
    return _anchored(settings, path.resolve().parent)


def _apply_environment(document: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Put GATE_<SECTION>_<KEY> over the file; a name that fits no key is refused, not ignored."""
    for name, value in sorted(environ.items()):
        section, _, key = name.removeprefix("GATE_").lower().partition("_")
        if not name.startswith("GATE_") or name in NOT_SETTINGS:
            continue
        field = Settings.model_fields.get(section)
        keys = getattr(field.annotation, "model_fields", {}) if field else {}
        if key not in keys:
            raise ConfigError(f"{name} names no setting", "unset it or correct its name")
        listed = keys[key].annotation is not str and str(keys[key].annotation).startswith("tuple")
        found = document.setdefault(section, {})
        if not isinstance(found, dict):
            raise ConfigError(
                f"[{section}] is not a table, and {name} replaces a value in it",
                "compare the file with gate.example.toml",
            )
        if (section, key, value) == ("gate", "mode", "demo") and found.get(key) == "production":
            raise ConfigError(
                f"{name} cannot turn a production gate into a demo", "set [gate] mode in the file"
            )
        found[key] = value.split(",") if listed else value


NOT_SETTINGS = frozenset(
    {"GATE_MODELS_DIR", "GATE_CACHE_DIR", "GATE_SHARED_DIR", "GATE_LIBOSDP_PYTHON"}
)
"""Variables of the command line and the tests that are not settings of a gate."""


def _anchored(settings: Settings, base: Path) -> Settings:
    """Return the settings with every relative path made absolute below `base`."""
    sections: dict[str, Any] = {}
    for name in Settings.model_fields:
        section: BaseModel = getattr(settings, name)
        changes: dict[str, Any] = {}
        for key in type(section).model_fields:
            value = getattr(section, key)
            if isinstance(value, Path):
                changes[key] = base / value
            elif isinstance(value, tuple) and value and isinstance(value[0], Path):
                changes[key] = tuple(base / item for item in value)
        sections[name] = section.model_copy(update=changes)
    sections["keys"] = sections["keys"].anchored(base)
    reader = sections["card"].reader
    socket_path = base / reader.removeprefix("socket:")
    sections["card"] = sections["card"].model_copy(update={"reader": f"socket:{socket_path}"})
    return settings.model_copy(update=sections)
