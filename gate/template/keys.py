"""The site's template-opening keys and where they come from. Only the key agent loads this.

One source so far: a PEM file (PKCS#8). A TPM or PKCS#11 source answers the same `unwrap`.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gate.errors import ConfigError, TemplateRejected
from gate.template.wrapping import kid_of, unwrap

KEY_FILE_MAX = 16384


class OpeningKey(Protocol):
    """One private template key, wherever it lives."""

    @property
    def kid(self) -> bytes:
        """Its 8-byte name, see `wrapping.kid_of`."""
        ...

    def unwrap(self, wrapped: bytes, info: bytes) -> bytes:
        """Return the 32-byte content key.

        Raises:
            TemplateRejected: another key, another context, or damaged.
        """
        ...


class FileKey:
    """An opening key read from a PEM file into this process's memory."""

    def __init__(self, private_key: ec.EllipticCurvePrivateKey) -> None:
        self._private_key = private_key
        self.kid = kid_of(private_key.public_key())

    @classmethod
    def load(cls, path: Path, passphrase: bytes | None = None) -> FileKey:
        """Return the key in `path`.

        Raises:
            ConfigError: absent, open to others, wrong passphrase, or not a P-256 PKCS#8 PEM key.
        """
        where = f"template key {path}"
        try:
            with path.open("rb") as file:
                if stat.S_IMODE(path.stat().st_mode) & 0o077:
                    raise ConfigError(f"{where} can be read by others", f"run: chmod 600 {path}")
                pem = file.read(KEY_FILE_MAX + 1)
        except OSError as error:
            raise ConfigError(
                f"{where} cannot be read ({error.strerror})", "check path and owner"
            ) from None
        encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in pem
        if encrypted and passphrase is None:
            raise ConfigError(f"{where} needs a passphrase", "give its passphrase")
        try:
            key = load_pem_private_key(pem, passphrase if encrypted else None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ConfigError(
                f"{where} does not open", "check the passphrase, and that it is PEM PKCS#8"
            ) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise ConfigError(f"{where} is not a P-256 key", "make one: see gate --help")
        return cls(key)

    def unwrap(self, wrapped: bytes, info: bytes) -> bytes:
        """See `OpeningKey.unwrap`."""
        return unwrap(wrapped, info, self._private_key)


class KeyRing:
    """All opening keys of a site, chosen by kid.

    A rotation keeps old keys here until the last card sealed to them has expired.
    """

    def __init__(self, keys: Sequence[OpeningKey]) -> None:
        self._keys = {key.kid: key for key in keys}

    @property
    def kids(self) -> tuple[bytes, ...]:
        """Names of the keys held."""
        return tuple(self._keys)

    def unwrap(self, kid: bytes, wrapped: bytes, info: bytes) -> bytes:
        """Return the content key that `wrapped` holds.

        Raises:
            KeyError: no such key here.
            TemplateRejected: does not open.
        """
        return self._keys[kid].unwrap(wrapped, info)

    def self_test(self) -> None:
        """Touch the unwrapping code once, so that nothing is left to load under the sandbox."""
        for key in self._keys.values():
            try:
                key.unwrap(bytes(113), b"")
            except TemplateRejected:
                continue
            raise ConfigError("a template key unwrapped nonsense", "replace this build")
