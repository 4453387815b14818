"""Which card sessions have had their key. Pure; lives in the key agent's memory only."""

from __future__ import annotations

from collections import OrderedDict

from gate.template.context import Purpose

REMEMBERED = 8192
"""At 120 releases a minute more than an hour; a card session lasts a few minutes at most."""


class UsedSessions:
    """Lets each (card session, purpose) through once. The oldest are forgotten when it is full.

    A session id is random to the agent and names no card, so what is remembered tells nothing.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        assert remembered > 0
        self._remembered = remembered
        self._used: OrderedDict[tuple[bytes, Purpose], None] = OrderedDict()

    def has(self, session_id: bytes, purpose: Purpose) -> bool:
        """Whether this session had its answer of this purpose."""
        return (session_id, purpose) in self._used

    def use(self, session_id: bytes, purpose: Purpose) -> None:
        """Note that it has it now."""
        self._used[session_id, purpose] = None
        if len(self._used) > self._remembered:
            self._used.popitem(last=False)
