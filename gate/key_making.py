"""`gate keys make`: a new template key in a TPM, in a token or in a file, and its public half.

Runs on the machine that will use the key, in the operator's own process, once. A key in a file is
in this process' memory for a moment; one in a TPM or token never is.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gate import sandbox
from gate.errors import ConfigError
from gate.key_plan import ask_at_terminal
from gate.template.key_loading import KeyLoading, token_library
from gate.template.key_source import KeyPlan
from gate.template.token_uri import TokenUri
from gate.template.wrapping import kid_of
from gate.whole_file import PRIVATE, PUBLIC, write_whole

PASSPHRASE_ROUNDS = 600_000
"""PBKDF2-HMAC-SHA256, as OWASP's password storage cheat sheet of 2023 asks for."""
STDOUT = Path("-")


def make_tpm_key(out: Path, public: Path, tpm: Path, pcrs: Sequence[int]) -> str:
    """Make a key inside the TPM, write its blob and its public half, and return its kid in hex.

    Raises:
        ConfigError: a file is there already or cannot be written, or the TPM makes none.
    """
    _must_be_new(out, public)
    loading = KeyLoading(KeyPlan([], tpm=str(tpm)), ask_at_terminal)
    try:
        machine = loading.tpm()
        blob, public_key = machine.make(pcrs)
        machine.load(blob, str(out))  # before anybody enrols cards to it
    finally:
        loading.close()
    _write(out, blob.encode(), PRIVATE)
    return _publish(public, public_key)


def make_token_key(uri: str, public: Path) -> str:
    """Make a key inside a PKCS#11 token, write its public half, and return its kid in hex.

    Raises:
        ConfigError: the URI or the file does not fit, or the token makes none.
    """
    _must_be_new(public)
    parsed, plan = TokenUri.parse(uri), KeyPlan([uri])
    with token_library(plan):
        from gate.template import pkcs11_key
    loading = KeyLoading(plan, ask_at_terminal)
    return _publish(public, pkcs11_key.make(parsed, loading.token_pin(parsed)))


def make_file_key(out: Path, public: Path, *, with_passphrase: bool) -> str:
    """Make a key in a file, or on stdout for `systemd-creds encrypt`; return its kid in hex.

    Raises:
        ConfigError: a file is there already or cannot be written, stdout is a terminal, or the
            passphrase was not typed twice, at a terminal.
    """
    sandbox.leave_no_core()
    _must_be_new(*([public] if out == STDOUT else [out, public]))
    if out == STDOUT and sys.stdout.isatty():
        raise ConfigError(
            "a private key does not belong on a terminal",
            "pipe it: gate keys make file --out - ... | systemd-creds encrypt - FILE",
        )
    if with_passphrase and not sys.stdin.isatty():
        raise ConfigError(
            "there is no terminal at which to type the passphrase",
            "run this at a terminal, or leave out --passphrase and keep the key as a credential",
        )
    encryption = _passphrase(getpass.getpass) if with_passphrase else NoEncryption()
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    if out == STDOUT:
        sys.stdout.buffer.write(pem)
        sys.stdout.flush()
    else:
        _write(out, pem, PRIVATE)
    return _publish(public, key.public_key())


def _passphrase(ask: Callable[[str], str]) -> KeySerializationEncryption:
    first = ask("passphrase of the new key (not shown): ")
    if not first or first != ask("the same again: "):
        raise ConfigError("the passphrase was not typed twice", "start again")
    return (
        PrivateFormat.PKCS8.encryption_builder()
        .kdf_rounds(PASSPHRASE_ROUNDS)
        .hmac_hash(SHA256())
        .build(first.encode())
    )


def _publish(path: Path, key: ec.EllipticCurvePublicKey) -> str:
    _write(path, key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), PUBLIC)
    return kid_of(key).hex()


def _must_be_new(*paths: Path) -> None:
    for path in paths:
        if os.path.lexists(path):
            raise ConfigError(f"{path} is there already", "name a new file; keys are not replaced")
        if not path.parent.is_dir():
            raise ConfigError(f"{path.parent} is no folder", "make it first")


def _write(path: Path, content: bytes, mode: int) -> None:
    try:
        write_whole(path, content, mode)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror})", "check it") from None
