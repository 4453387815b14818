"""How a site names its template keys: a file, a credential of systemd, a token, a TPM."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from pathlib import Path

from gate.errors import ConfigError

_CREDENTIAL_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}")
DEFAULT_TPM = "/dev/tpmrm0"


class SourceKind(Enum):
    """Where a private key lives while the agent runs."""

    FILE = "file"
    """PEM PKCS#8, read into the agent's memory."""
    CREDENTIAL = "credential"
    """The same, from $CREDENTIALS_DIRECTORY, where systemd puts what it decrypted."""
    PKCS11 = "pkcs11"
    """In a token, by its RFC 7512 URI; it never leaves the token."""
    TPM2 = "tpm2"
    """In this machine's TPM, from a blob that only this TPM can load; it never leaves the TPM."""


def credential_name(text: str) -> str:
    """Return the name of a systemd credential; it is a file's name and never a path.

    Raises:
        ConfigError: it is none.
    """
    if not _CREDENTIAL_NAME.fullmatch(text) or text in (".", ".."):
        raise ConfigError(f"credential:{text} names no systemd credential", "see docs/keys.md")
    return text


@dataclass(frozen=True)
class KeySource:
    """One entry of `[keys] template_keys`. `value` is a path, a credential's name or a URI."""

    kind: SourceKind
    value: str

    @classmethod
    def parse(cls, text: str) -> KeySource:
        """Return the source that `text` names: PATH, credential:NAME, pkcs11:..., tpm2:PATH.

        Raises:
            ConfigError: names none.
        """
        if text.startswith("pkcs11:"):
            return cls(SourceKind.PKCS11, text)
        scheme, colon, rest = text.partition(":")
        if colon and scheme == "credential":
            return cls(SourceKind.CREDENTIAL, credential_name(rest))
        if colon and scheme == "tpm2":
            if not rest:
                raise ConfigError("tpm2: names no file", "write tpm2:PATH; see docs/keys.md")
            return cls(SourceKind.TPM2, rest)
        if not text:
            raise ConfigError("a template key has no name", "see docs/keys.md")
        return cls(SourceKind.FILE, text)

    def anchored(self, base: Path) -> KeySource:
        """Return the source with a relative path counted from `base`."""
        if self.kind in (SourceKind.FILE, SourceKind.TPM2):
            return replace(self, value=str(base / self.value))
        return self

    @property
    def path(self) -> Path:
        """The file of a FILE or TPM2 source."""
        assert self.kind in (SourceKind.FILE, SourceKind.TPM2)
        return Path(self.value)

    def __str__(self) -> str:
        """The text of the configuration."""
        if self.kind in (SourceKind.FILE, SourceKind.PKCS11):
            return self.value
        return f"{self.kind.value}:{self.value}"


@dataclass(frozen=True)
class KeyPlan:
    """Everything the agent needs to find its keys. Holds no secret, only where secrets are.

    Args:
        sources: texts of KeySource, newest key first.
        passphrase: where the passphrase or PIN of whatever needs one is: a path,
            credential:NAME, or None to ask.
        credentials: $CREDENTIALS_DIRECTORY.
        tpm: the TPM's device, or the socket of a software TPM.
        token_dir: the only folder a PKCS#11 module may read once the agent is locked.
        module_environment: variables for a PKCS#11 module.
        refuse_demo: a demo's key is no start.
    """

    sources: Sequence[str]
    passphrase: str | None = None
    credentials: str | None = None
    tpm: str = DEFAULT_TPM
    token_dir: str | None = None
    module_environment: Mapping[str, str] = field(default_factory=dict)
    refuse_demo: bool = False

    @classmethod
    def of_files(cls, paths: Sequence[Path]) -> KeyPlan:
        """Return the plan of a site with key files only."""
        return cls([str(path.absolute()) for path in paths])

    @property
    def keys(self) -> list[KeySource]:
        """The sources, parsed."""
        return [KeySource.parse(text) for text in self.sources]

    def encode(self) -> bytes:
        """Return the datagram for the agent."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> KeyPlan:
        """Return the plan in a datagram of our own parent process."""
        return cls(**json.loads(data))
