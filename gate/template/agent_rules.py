"""What the key agent may still do once its keys are loaded, for each kind of source.

Always: computing, answering the gate, writing one content key into a pipe. On top of it a TPM needs
writing to its one open descriptor, and a PKCS#11 module reading below the token's folder.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from gate import sandbox
from gate.sandbox import Allow
from gate.template.key_source import KeyPlan, SourceKind
from gate.template.wrapping import CONTENT_KEY_BYTES

_INT = 0xFFFFFFFF
"""The kernel looks at the lower half of the register only."""


def _fcntl(*commands: int) -> tuple[Allow, ...]:
    return tuple(Allow("fcntl", ((1, sandbox.MASKED_EQ, _INT, number),)) for number in commands)


ALWAYS: tuple[Allow, ...] = (
    *sandbox.COMPUTE,
    *(Allow(name) for name in ("recvmsg", "sendto", "fstat", "newfstatat")),
    *_fcntl(fcntl.F_GETFL),
    Allow("write", ((0, sandbox.GE, 3), (2, sandbox.EQ, CONTENT_KEY_BYTES))),
)
TOKEN: tuple[Allow, ...] = (
    # Reading only, and only where Landlock still lets it; the locks are those of SoftHSM's files.
    Allow("openat", ((2, sandbox.MASKED_EQ, os.O_ACCMODE | os.O_CREAT | os.O_TRUNC, os.O_RDONLY),)),
    *_fcntl(fcntl.F_SETLK, fcntl.F_SETLKW),
)


def rules(plan: KeyPlan, tpm_fd: int | None) -> tuple[Allow, ...]:
    """Return the system calls that the sources of this plan need."""
    allowed = list(ALWAYS)
    if any(source.kind is SourceKind.PKCS11 for source in plan.keys):
        allowed += TOKEN
    if tpm_fd is not None:
        allowed.append(Allow("write", ((0, sandbox.EQ, tpm_fd),)))
    return tuple(allowed)


def readable(plan: KeyPlan) -> Iterable[Path]:
    """Return the folders that may still be read."""
    if plan.token_dir and any(source.kind is SourceKind.PKCS11 for source in plan.keys):
        return [Path(plan.token_dir)]
    return []


def devices(plan: KeyPlan) -> Iterable[Path]:
    """Return the devices that may be opened while keys are loaded."""
    return [Path(plan.tpm)] if any(s.kind is SourceKind.TPM2 for s in plan.keys) else []
