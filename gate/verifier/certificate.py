"""The death certificate of one verifier: what it was allowed to do and how it ended."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DeathCertificate:
    """Facts the pool observed from outside (kernel's word, not the worker's).

    `exit_code` is 0..255, or -N when signal N ended it. `lifetime_ms` counts from job to exit.
    `seccomp_mode` is 2 once the lock was on, and 0 before: the lighter filters that a spare waits
    under do not count (needs Linux 5.9, which tells how many filters there are).
    `landlock_abi` and `dumpable` cannot be seen from outside: the worker read them from the
    kernel and reported them with READY, before anything personal reached it. `bytes_in` counts
    the job; the 32-byte key goes round the gate. `pages_left` is its resident memory in
    pages, once it was dead and before it was reaped; 65535 when nobody could tell.
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
    pages_left: int

    def is_clean(self) -> bool:
        """Whether it ended by itself, alone, and under the full sandbox."""
        return (
            self.exit_code == 0
            and self.threads == 1
            and self.no_new_privs
            and self.seccomp_mode == 2
            and not self.dumpable
            and self.core_limit_bytes == 0
            and self.file_limit_bytes == 0
            and self.pages_left == 0
        )
