"""The site's template-opening keys. Only the key agent loads this.

A key of a file or a credential is in this process' memory; one of a token or a TPM never is.
Where they come from: `key_loading`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gate.errors import ConfigError, TemplateRejected
from gate.template.hpke_external import Agree, unwrap_external
from gate.template.key_source import SourceKind
from gate.template.wrapping import CONTENT_KEY_BYTES, kid_of, unwrap, wrap

KEY_FILE_MAX = 16384
DEMO_LINE = b"DEMO - not for production"
"""Stands in every key file of a demo site."""
OTHERS, GROUP_AND_OTHERS = 0o007, 0o077
"""Who may not read a key file. systemd gives a service its credentials through an access list,
which shows as the group's rights."""


class OpeningKey(Protocol):
    """One private template key, wherever it lives."""

    kid: bytes
    """Its 8-byte name, see `wrapping.kid_of`."""
    public_key: ec.EllipticCurvePublicKey
    kind: SourceKind

    def unwrap(self, wrapped: bytes, info: bytes) -> bytes:
        """Return the 32-byte content key.

        Raises:
            TemplateRejected: another key, another context, or damaged.
            KeyAgentFault: the device that holds the key does not answer.
        """
        ...


class FileKey:
    """An opening key in this process's memory, read from PEM."""

    def __init__(
        self, private_key: ec.EllipticCurvePrivateKey, kind: SourceKind = SourceKind.FILE
    ) -> None:
        self._private_key = private_key
        self.public_key = private_key.public_key()
        self.kid = kid_of(self.public_key)
        self.kind = kind

    @classmethod
    def load(
        cls,
        path: Path,
        passphrase: Callable[[], bytes | None] = lambda: None,
        *,
        kind: SourceKind = SourceKind.FILE,
        refuse_demo: bool = False,
    ) -> FileKey:
        """Return the key in `path`.

        Args:
            path: PEM PKCS#8.
            passphrase: gives the passphrase; called only when the key needs one.
            kind: FILE or CREDENTIAL, which decides who else may be able to read it.
            refuse_demo: whether a demo site's key is refused.

        Raises:
            ConfigError: absent, open to others, wrong passphrase, or not a P-256 PKCS#8 PEM key.
        """
        where = f"template key {path}"
        pem = read_private(
            path, where, OTHERS if kind is SourceKind.CREDENTIAL else GROUP_AND_OTHERS
        )
        if refuse_demo and DEMO_LINE in pem:
            raise ConfigError(f"{path} is a demo key", "make this site's own keys")
        secret = None
        if b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in pem:
            secret = passphrase()
            if secret is None:
                raise ConfigError(
                    f"{where} needs a passphrase",
                    "name [keys] passphrase_file, or start at a terminal",
                )
        try:
            key = load_pem_private_key(pem, secret)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ConfigError(
                f"{where} does not open", "check the passphrase, and that it is PEM PKCS#8"
            ) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise ConfigError(f"{where} is not a P-256 key", "make one: gate keys make file")
        return cls(key, kind)

    def unwrap(self, wrapped: bytes, info: bytes) -> bytes:
        """See `OpeningKey.unwrap`."""
        return unwrap(wrapped, info, self._private_key)


class DeviceKey:
    """An opening key that stays in a device, which does the Diffie-Hellman and nothing else."""

    def __init__(
        self, public_key: ec.EllipticCurvePublicKey, agree: Agree, kind: SourceKind
    ) -> None:
        self.public_key = public_key
        self.kid = kid_of(public_key)
        self.kind = kind
        self._agree = agree

    def unwrap(self, wrapped: bytes, info: bytes) -> bytes:
        """See `OpeningKey.unwrap`."""
        return unwrap_external(wrapped, info, self.public_key, self._agree)


def read_private(path: Path, what: str, closed_to: int = GROUP_AND_OTHERS) -> bytes:
    """Return the content of a small secret file.

    Raises:
        ConfigError: absent, too large, or open to somebody in `closed_to`.
    """
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & closed_to:
                raise ConfigError(f"{what} can be read by others", f"run: chmod 600 {path}")
            data = file.read(KEY_FILE_MAX + 1)
    except OSError as error:
        raise ConfigError(
            f"{what} cannot be read ({error.strerror})", "check path and owner"
        ) from None
    if len(data) > KEY_FILE_MAX:
        raise ConfigError(f"{what} is too large for a key", "check the path")
    return data


class KeyRing:
    """All opening keys of a site, chosen by kid.

    A rotation keeps old keys here until the last card sealed to them has expired.
    """

    def __init__(self, keys: Sequence[OpeningKey]) -> None:
        self._keys = {key.kid: key for key in keys}

    @property
    def keys(self) -> tuple[OpeningKey, ...]:
        """The keys, newest first."""
        return tuple(self._keys.values())

    @property
    def kids(self) -> tuple[bytes, ...]:
        """Names of the keys held."""
        return tuple(self._keys)

    def unwrap(self, kid: bytes, wrapped: bytes, info: bytes) -> bytes:
        """Return the content key that `wrapped` holds.

        Raises:
            KeyError: no such key here.
            TemplateRejected: does not open.
            KeyAgentFault: the device that holds the key does not answer.
        """
        return self._keys[kid].unwrap(wrapped, info)

    def self_test(self) -> None:
        """Seal a fresh key to each public key and open it with the private one.

        Raises:
            ConfigError: a key does not open what is sealed to it.
            KeyAgentFault: its device does not answer.
        """
        for key in self._keys.values():
            secret, info = os.urandom(CONTENT_KEY_BYTES), b"consentgate/1/self-test\x00"
            try:
                opened = key.unwrap(wrap(secret, info, key.public_key), info)
            except TemplateRejected:
                opened = b""
            if opened != secret:
                raise ConfigError(
                    f"template key {key.kid.hex()} does not open what is sealed to it",
                    "its public and private halves do not belong together; make a new one",
                )
