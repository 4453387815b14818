"""From a KeyPlan to the keys, inside the key agent (and where an operator makes or shows keys)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gate.errors import ConfigError
from gate.template.key_source import KeyPlan, KeySource, SourceKind, credential_name
from gate.template.keys import OTHERS, FileKey, KeyRing, OpeningKey, read_private
from gate.template.token_uri import TokenUri
from gate.template.tpm2_blob import TpmBlob

if TYPE_CHECKING:
    from gate.template.tpm2_key import Tpm

Ask = Callable[[str], str | None]
"""Asks a person for the passphrase of something; None when nobody is there."""
_CREDENTIAL = "credential:"


@dataclass
class KeyLoading:
    """Loads every key of a plan.

    Args:
        plan: where they are.
        ask: for what has no passphrase file.
    """

    plan: KeyPlan
    ask: Ask
    tpm_fd: int | None = None
    """Descriptor of the TPM, once one was needed."""
    _tpm: Tpm | None = field(default=None, repr=False)

    def ring(self) -> KeyRing:
        """Return all keys, each tried once.

        Raises:
            ConfigError: the first that cannot be used.
            KeyAgentFault: a device stopped answering meanwhile.
        """
        ring = KeyRing([self.key(source) for source in self.plan.keys])
        ring.self_test()
        return ring

    def key(self, source: KeySource) -> OpeningKey:
        """Return one key.

        Raises:
            ConfigError: it cannot be used.
        """
        plan = self.plan
        match source.kind:
            case SourceKind.FILE:
                path = source.path
            case SourceKind.CREDENTIAL:
                path = self._credential(source.value)
            case SourceKind.TPM2:
                return self._of_tpm(source.path)
            case SourceKind.PKCS11:
                return self._of_token(source.value)
        passphrase = self.secret(f"template key {path}", plan.passphrase)
        return FileKey.load(path, passphrase, kind=source.kind, refuse_demo=plan.refuse_demo)

    def secret(self, what: str, where: str | None) -> Callable[[], bytes | None]:
        """Return what gives the passphrase or PIN of `what`: from a file, or from a person."""

        def read() -> bytes | None:
            if where is None:
                answer = self.ask(what)
                return None if answer is None else answer.encode()
            label = f"passphrase file of {what}"
            if where.startswith(_CREDENTIAL):
                path = self._credential(where.removeprefix(_CREDENTIAL))
                return read_private(path, label, OTHERS).rstrip(b"\r\n")
            return read_private(Path(where), label).rstrip(b"\r\n")

        return read

    def tpm(self) -> Tpm:
        """Return the TPM, opened once.

        Raises:
            ConfigError: there is none, or its library is missing.
        """
        if self._tpm is None:
            os.environ.setdefault("TSS2_LOG", "all+NONE")  # failures are raised here, not printed
            with _library(
                "TPM keys", "apt install libtss2-dev gcc; pip install 'consentgate[tpm]'"
            ):
                from gate.template import tpm2_key, tpm2_transport
            self.tpm_fd = tpm2_transport.open_tpm(self.plan.tpm)
            self._tpm = tpm2_key.Tpm(self.tpm_fd)
        return self._tpm

    def close(self) -> None:
        """Let go of the TPM, for the next one: a bare one serves one at a time. Idempotent."""
        self._tpm = None
        if self.tpm_fd is not None:
            os.close(self.tpm_fd)
            self.tpm_fd = None

    def _of_tpm(self, path: Path) -> OpeningKey:
        where = f"TPM key {path}"
        tpm = self.tpm()
        return tpm.load(TpmBlob.decode(read_private(path, where)), where)

    def _of_token(self, text: str) -> OpeningKey:
        uri = TokenUri.parse(text)
        with token_library(self.plan):
            from gate.template import pkcs11_key
        return pkcs11_key.load(uri, self.token_pin(uri))

    def token_pin(self, uri: TokenUri) -> Callable[[], bytes | None]:
        """Return what gives the PIN of a token."""
        return self.secret(
            f"token {uri.token or uri.serial}", uri.pin_source or self.plan.passphrase
        )

    def _credential(self, name: str) -> Path:
        if self.plan.credentials is None:
            raise ConfigError(
                f"there is no systemd credential {name}",
                f"start as a service with LoadCredentialEncrypted={name}:FILE; see docs/keys.md",
            )
        return Path(self.plan.credentials) / credential_name(name)


@contextlib.contextmanager
def token_library(plan: KeyPlan) -> Iterator[None]:
    """Import `gate.template.pkcs11_key` in here, with the module's variables set.

    Raises:
        ConfigError: the library is missing.
    """
    os.environ.update(plan.module_environment)
    with _library("PKCS#11 tokens", "pip install 'consentgate[pkcs11]'"):
        yield


@contextlib.contextmanager
def _library(what: str, command: str) -> Iterator[None]:
    try:
        yield
    except ImportError:
        raise ConfigError(f"the library for {what} is not installed", f"run: {command}") from None
