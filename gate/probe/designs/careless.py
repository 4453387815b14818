"""What all careless designs share: a pipe for the key, and no death to certify."""

from __future__ import annotations

import os
from typing import Final

from gate.verifier.certificate import DeathCertificate

CERTIFICATE: Final = DeathCertificate(
    exit_code=0,
    lifetime_ms=0,
    threads=0,
    no_new_privs=False,
    seccomp_mode=0,
    landlock_abi=0,
    dumpable=True,
    core_limit_bytes=-1,
    file_limit_bytes=-1,
    bytes_in=0,
    bytes_out=0,
    pages_left=-1,
)
"""Nobody ended, so nothing of it is good."""


def key_pipe() -> tuple[int, int]:
    """Return the read and the write end of a pipe; the key agent insists that it never blocks."""
    read_fd, write_fd = os.pipe()
    return read_fd, write_fd
