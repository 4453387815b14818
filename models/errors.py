"""The failures of the models room."""

from __future__ import annotations


class ModelFault(Exception):
    """A model file, its output or its pack is not what models/manifest.toml says.

    Args:
        what: what happened, one clause.
        advice: what to do about it, one clause.
    """

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice

    def diagnostics(self) -> str:
        """One line for an operator: what happened, then what to do."""
        return f"{self.what}; {self.advice}" if self.advice else self.what
