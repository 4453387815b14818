"""Signed JSON documents: one file, and beside it `<file>.sig`, a detached Ed25519 signature.

The signature (RFC 8032, 64 raw bytes) covers the exact bytes of the file, so
`openssl pkeyutl -verify -rawin` and `sha256sum` say the same as the gate. The "type" inside the
signed bytes keeps one kind of document from standing in for another.
"""

from __future__ import annotations

import errno
import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from gate.errors import ConfigError
from gate.whole_file import PUBLIC, read_whole, write_whole

MAX_DOCUMENT_BYTES = 64 * 1024

Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,500}$")]
"""One line of text for a screen or a page."""


class Strict(BaseModel):
    """A part of a document: unknown keys and loose types are refused, values never change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Bilingual(Strict):
    """One text for people, in both languages of the site."""

    ko: Line
    en: Line


class SignedDocument(Strict):
    """What every document of the site authority carries."""

    version: Annotated[int, Field(ge=1)]
    """Counts up with each edition."""
    demo: bool
    """True only for documents of a demonstration; refused everywhere else."""
    issued: AwareDatetime

    def canonical_bytes(self) -> bytes:
        """Return the JSON text that is written and signed: UTF-8, sorted keys, newline at end."""
        text = json.dumps(
            self.model_dump(mode="json"), ensure_ascii=False, sort_keys=True, indent=2
        )
        return text.encode() + b"\n"


D = TypeVar("D", bound=SignedDocument)


def signature_path(path: Path) -> Path:
    """Return where the signature of a document lies."""
    return path.with_name(path.name + ".sig")


def write_signed(path: Path, document: SignedDocument, key: Ed25519PrivateKey) -> None:
    """Write the document and its signature: readable by all, whatever the umask is.

    Raises:
        ConfigError: the disk is full or the folder is not writable.
    """
    raw = document.canonical_bytes()
    try:
        write_whole(path, raw, PUBLIC)
        write_whole(signature_path(path), key.sign(raw), PUBLIC)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written ({error.strerror})", "free the disk or fix permissions"
        ) from None


def read_signed(
    path: Path, kind: type[D], authority: Ed25519PublicKey, now: datetime, *, demo: bool
) -> tuple[D, bytes]:
    """Return a verified document and the exact bytes that were signed.

    The signature is checked before the text is parsed.

    Args:
        path: the JSON file.
        kind: what it must be.
        authority: the site authority's key.
        now: aware; a document from the future means a wrong clock or a wrong document.
        demo: whether this gate or station runs as a demonstration.

    Raises:
        ConfigError: missing, unsigned, changed, malformed, from the future, or a demo document
            outside demo mode.
    """
    raw = _read(path)
    signature = _read(signature_path(path))
    try:
        authority.verify(signature, raw)
    except InvalidSignature:
        raise ConfigError(
            f"{path.name}: the signature is not the site authority's over these bytes",
            "have the authority sign this edition again, or restore the signed one",
        ) from None
    document = _parse(path.name, kind, raw)
    if document.demo and not demo:
        raise ConfigError(
            f"{path.name}: this is a demo document",
            "real operation needs a document signed by the site authority, without demo",
        )
    if document.issued > now:
        raise ConfigError(
            f"{path.name}: issued in the future ({document.issued:%Y-%m-%d})",
            "set this machine's clock, or use the edition that is in force",
        )
    return document, raw


def load_authority(path: Path) -> Ed25519PublicKey:
    """Return the site authority's public key from a PEM file.

    Raises:
        ConfigError: unreadable, or not an Ed25519 public key.
    """
    try:
        key = load_pem_public_key(_read(path))
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(
            f"{path.name}: not an Ed25519 public key in PEM", "give the authority's public key"
        )
    return key


def _read(path: Path) -> bytes:
    try:
        return read_whole(path, MAX_DOCUMENT_BYTES)
    except FileNotFoundError:
        raise ConfigError(f"{path.name}: no such file", f"put it at {path}") from None
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise ConfigError(
                f"{path.name}: larger than {MAX_DOCUMENT_BYTES} bytes", "wrong file?"
            ) from None
        raise ConfigError(
            f"{path.name}: cannot be read ({error.strerror})", "check the file and its permissions"
        ) from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _parse(name: str, kind: type[D], raw: bytes) -> D:
    try:
        # Pydantic keeps the last of two equal keys; a signed text must have one meaning.
        json.loads(raw, object_pairs_hook=_no_duplicates)
        return kind.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        what = f"{where}: {first['msg']}"
    except (ValueError, RecursionError) as error:
        what = f"not strict JSON ({type(error).__name__})"
        if not isinstance(error, (json.JSONDecodeError, UnicodeDecodeError, RecursionError)):
            what = f"not strict JSON ({error})"
    raise ConfigError(f"{name}: {what}", "correct the document and have it signed again")
