"""Keeps one key agent running: a dead one is started again, never more often than once a second."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from gate.errors import GateError, KeyAgentFault
from gate.template.agent_client import KeyAgent
from gate.template.outcome import KeyCounts

_LOG = logging.getLogger(__name__)

RESTART_EVERY_S = 1.0


class SupervisedKeyAgent:
    """A key agent that comes back. `alive` is False while it is gone, so the lane shows it.

    Args:
        start: starts the first agent; may ask a person for a passphrase.
        restart: starts another after each death, when nobody is there to be asked.
        monotonic_s: a clock that never goes back, in seconds.
    """

    def __init__(
        self,
        start: Callable[[], KeyAgent],
        restart: Callable[[], KeyAgent] | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._restart = restart or start
        self._said = ""
        self._now_s = monotonic_s
        self._turn = threading.Lock()
        self._agent = start()
        self._counts_before = KeyCounts()
        self._tried_s = monotonic_s()
        self._closed = False

    @property
    def pid(self) -> int:
        """Process id of the present agent."""
        return self._agent.pid

    @property
    def kids(self) -> tuple[bytes, ...]:
        """Names of the opening keys that the present agent holds."""
        return self._agent.kids

    def alive(self) -> bool:
        """Whether the agent runs. Says False at least once after each death."""
        with self._turn:
            if self._agent.alive():
                return True
            now_s = self._now_s()
            if not self._closed and now_s - self._tried_s >= RESTART_EVERY_S:
                self._tried_s = now_s
                self._agent.close()
                try:
                    fresh = self._restart()
                except GateError as error:
                    self._say(error)
                    return False  # the next health check tries again
                self._said = ""
                self._counts_before = self.counts
                self._agent = fresh
            return False

    @property
    def counts(self) -> KeyCounts:
        """Totals of all agents since the start, as each gave them with its last reply.

        What the ledger holds of released keys is never less, because a release whose reply was
        late is a failure there; of failures it is never less for the same reason.
        """
        return self._counts_before + self._agent.counts

    def release_template_key(
        self, kid: bytes, wrapped: bytes, info: bytes, fd: int, *, session_id: bytes
    ) -> None:
        """See KeyAgent."""
        self._living().release_template_key(kid, wrapped, info, fd, session_id=session_id)

    def open_pin_key(self, kid: bytes, wrapped: bytes, info: bytes, *, session_id: bytes) -> bytes:
        """See KeyAgent."""
        return self._living().open_pin_key(kid, wrapped, info, session_id=session_id)

    def close(self) -> None:
        """End the agent for good."""
        with self._turn:
            self._closed = True
            self._agent.close()

    def _say(self, error: GateError) -> None:
        """Tell the operator once, and not every second, why the agent does not come back."""
        if error.diagnostics() != self._said:
            self._said = error.diagnostics()
            _LOG.warning("key agent: %s", self._said)

    def _living(self) -> KeyAgent:
        with self._turn:
            if self._closed:
                raise KeyAgentFault("the key agent is closed", "start the gate again")
            return self._agent
