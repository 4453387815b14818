"""Reads the memory of another process through /proc, while it runs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from io import FileIO
from typing import Final

import numpy as np

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_UNREADABLE: Final = frozenset({"[vvar]", "[vvar_vclock]", "[vsyscall]"})
"""Pages of the kernel that every process shares; they hold the clock, and no data."""
_PRESENT: Final = np.uint64(1 << 63)
_SWAPPED: Final = np.uint64(1 << 62)


def regions(maps: Iterable[bytes]) -> Iterator[tuple[int, int]]:
    """Yield the address ranges of /proc/PID/maps (proc_pid_maps(5))."""
    for line in maps:
        parts = line.split(maxsplit=5)
        name = parts[5].strip().decode(errors="replace") if len(parts) == 6 else ""
        if name not in _UNREADABLE:
            low, _, high = parts[0].partition(b"-")
            yield int(low, 16), int(high, 16)


def resident(pagemap: FileIO, low: int, high: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a range that are in memory or in swap (proc_pid_pagemap(5))."""
    raw = os.pread(pagemap.fileno(), (high - low) // _PAGE_BYTES * 8, low // _PAGE_BYTES * 8)
    there = (np.frombuffer(raw, "<u8") & (_PRESENT | _SWAPPED)) != 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(np.int8)))
    for first, past in zip(edges[::2], edges[1::2], strict=True):
        yield low + int(first) * _PAGE_BYTES, low + int(past) * _PAGE_BYTES


def read_memory(memory: FileIO, start: int, end: int) -> tuple[bytes, int]:
    """Read a range. What cannot be read (unmapped meanwhile, device memory) becomes zeros.

    Returns: the bytes, and how many of them could not be read.
    """
    parts, skipped = [], 0
    while start < end:
        try:
            part = os.pread(memory.fileno(), end - start, start)
        except PermissionError:
            raise
        except OSError:
            part = b""
        if not part:
            part = bytes(min(_PAGE_BYTES - start % _PAGE_BYTES, end - start))
            skipped += len(part)
        parts.append(part)
        start += len(part)
    return b"".join(parts), skipped
