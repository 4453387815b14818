"""What somebody changed about a gate since its log last spoke of it.

The SHA-256 of each thing stands in one file of the gate's data_dir, mode 0600. It is compared at
the start and whenever something is taken into use; what differs is recorded as AdminActed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from gate.errors import ConfigError
from gate.ledger.record import AdminAct, AdminActed, Record
from gate.whole_file import PRIVATE, write_whole

MEMORY_NAME: Final = "recorded.json"
"""File in data_dir: AdminAct to the SHA-256, in lower-case hex, that the log last spoke of."""
_MAX_BYTES: Final = 4096

_LOG = logging.getLogger(__name__)


def fingerprint(*parts: bytes) -> str:
    """Return one SHA-256 over parts whose borders count."""
    digests = (hashlib.sha256(part).digest() for part in parts)
    return hashlib.sha256(b"".join(digests)).hexdigest()


class Changes:
    """Compares and records.

    Args:
        data_dir: the gate's own folder.
        log_is_new: nothing was ever recorded: the first start speaks of everything by itself.
            With an older log and no memory, everything counts as changed.
    """

    def __init__(self, data_dir: Path, *, log_is_new: bool) -> None:
        self._path = data_dir / MEMORY_NAME
        self._seed = log_is_new
        self._seen = {} if log_is_new else self._load()
        self._said = False

    def record(self, found: Mapping[AdminAct, str], append: Callable[[Record], bool]) -> bool:
        """Append one AdminActed for each thing that is not what the log last spoke of.

        Returns:
            Whether the log speaks of everything that was found. What could not be recorded is
            compared again the next time.
        """
        before, complete = dict(self._seen), True
        for act, sha256 in found.items():
            known = self._seen.get(act.value)
            if known == sha256:
                continue
            if (known is None and self._seed) or append(AdminActed(act)):
                self._seen[act.value] = sha256
            else:
                complete = False
        if self._seen != before:
            self._keep()
        return complete

    def _keep(self) -> None:
        content = json.dumps(self._seen, indent=1, sort_keys=True).encode() + b"\n"
        try:
            write_whole(self._path, content, PRIVATE)
        except OSError as error:
            if not self._said:
                self._said = True
                _LOG.warning(
                    "%s cannot be written (%s); the next start may record the same changes again",
                    self._path,
                    error.strerror,
                )

    def _load(self) -> dict[str, str]:
        try:
            with self._path.open("rb") as file:
                found = json.loads(file.read(_MAX_BYTES))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConfigError(
                f"{self._path} cannot be read: {error.strerror}", "check its owner"
            ) from None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or not all(map(_is_sha256, found.values())):
            _LOG.warning("%s is damaged; everything is recorded as changed", self._path)
            return {}
        return {str(act): str(sha256) for act, sha256 in found.items()}


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None
