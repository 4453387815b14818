"""Signing keys as files: one line of text (note key), mode 0600."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gate.errors import ConfigError
from gate.ledger.checkpoint import Signer, parse_skey


def save(signer: Signer, path: Path) -> None:
    """Write a new key file of a log, never over another one.

    Raises:
        ConfigError: the file exists or cannot be written.
    """
    write_secret(signer.skey(), path, "a log")


def write_secret(skey: str, path: Path, whose: str) -> None:
    """Write the secret text form of a key of a log or of a witness into a new file.

    Raises:
        ConfigError: the file exists or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise ConfigError(
            f"{path} exists", f"{whose} keeps its key; choose another file for another one"
        ) from None
    except OSError as error:
        raise ConfigError(f"cannot create {path}: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(skey + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise ConfigError(f"cannot write {path}: {error.strerror}", "free some space") from None


def load(path: Path) -> Signer:
    """Read the key file of a log.

    Raises:
        ConfigError: absent, open to other users, or not a key.
    """
    return parse_skey(read_secret(path, "log", "check [ledger] signer"))


def read_secret(path: Path, whose: str, advice: str) -> str:
    """Return the text of a key file.

    Raises:
        ConfigError: absent, open to other users, or not text.
    """
    try:
        with path.open(encoding="ascii") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(1024)
    except OSError as error:
        raise ConfigError(f"cannot read the {whose} key {path}: {error.strerror}", advice) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not a {whose} key") from None
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(f"other users can open the {whose} key {path}", f"chmod 600 {path}")
    return text
