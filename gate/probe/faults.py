"""Why a probe could not search. Never the same as "nothing found"."""

from __future__ import annotations

from gate.errors import GateError


class ProbeFault(GateError):
    """A target could not be searched, or the canary passages could not be walked."""


class ProcessEnded(ProbeFault):
    """The process was gone before it was searched: the kernel has its memory back."""
