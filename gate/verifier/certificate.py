"""The death certificate of one verifier: what it was allowed to do and how it ended."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DeathCertificate:
    """Facts the pool observed from outside (kernel's word, not the worker's).

    `exit_code` is 0..255, or -N when signal N ended it. `lifetime_ms` counts from job to exit.
    """

    exit_code: int
    lifetime_ms: int
    threads: int
    no_new_privs: bool
    seccomp_mode: int
    landlock_abi: int
    dumpable: bool
    core_limit_bytes: int
    file_limit_bytes: int
    bytes_in: int
    bytes_out: int
