"""The log's signing key as a file: one line of text (note key), mode 0600."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gate.errors import ConfigError
from gate.ledger.checkpoint import Signer, parse_skey


def save(signer: Signer, path: Path) -> None:
    """Write a new key file, never over another one.

    Raises:
        ConfigError: the file exists or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise ConfigError(
            f"{path} exists", "a log keeps its key; choose another file for another log"
        ) from None
    except OSError as error:
        raise ConfigError(f"cannot create {path}: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(signer.skey() + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise ConfigError(f"cannot write {path}: {error.strerror}", "free some space") from None


def load(path: Path) -> Signer:
    """Read a key file.

    Raises:
        ConfigError: absent, open to other users, or not a key.
    """
    try:
        with path.open(encoding="ascii") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(1024)
    except OSError as error:
        raise ConfigError(
            f"cannot read the log key {path}: {error.strerror}", "check [ledger] key"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not a log key") from None
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(f"other users can open the log key {path}", f"chmod 600 {path}")
    return parse_skey(text)
