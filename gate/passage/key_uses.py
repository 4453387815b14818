"""What the key agent was asked in one passage, from the question until the log has it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from gate.errors import KeyAgentFault, TemplateRejected
from gate.ledger.record import KeyPurpose, KeyUsed
from gate.template.outcome import KeyOutcome


class _Question:
    def __init__(self, purpose: KeyPurpose) -> None:
        self.purpose = purpose


class KeyUses:
    """The questions of one passage. Thread safe: a leg asks in its thread, the loop records."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: list[_Question] = []
        self._noted: list[KeyUsed] = []
        self._ended = False
        self._owed = False

    @contextmanager
    def asking(self, purpose: KeyPurpose) -> Iterator[None]:
        """Note the outcome of the one question that is asked inside.

        Raises:
            KeyAgentFault: this passage is over; nothing was asked.
        """
        question = _Question(purpose)
        with self._changed:
            if self._ended:
                raise KeyAgentFault("the passage ended before the key was asked for")
            self._open.append(question)
            self._owed = True
        outcome = KeyOutcome.FAILED
        try:
            yield
            outcome = KeyOutcome.RELEASED
        except (KeyAgentFault, TemplateRejected) as fault:
            outcome = fault.outcome
            raise
        finally:
            self._note(question, outcome)

    def _note(self, question: _Question, outcome: KeyOutcome) -> None:
        with self._changed:
            if question in self._open:  # otherwise it was given up: a late key is a failure
                self._open.remove(question)
                self._noted.append(KeyUsed(question.purpose, outcome))
            self._changed.notify_all()

    def take(self) -> list[KeyUsed]:
        """Return what was noted since the last call, without waiting."""
        with self._changed:
            noted, self._noted = self._noted, []
            return noted

    def settle(self, timeout_s: float) -> list[KeyUsed]:
        """Return what was noted since the last call, with the outcome of every open question.

        A question without an answer after `timeout_s` counts as failed, whatever comes later.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._open, timeout_s)
            given_up, self._open = self._open, []
            noted, self._noted = self._noted, []
        return [*noted, *(KeyUsed(each.purpose, KeyOutcome.FAILED) for each in given_up)]

    def decided(self) -> None:
        """A decision about what was asked so far stands in the log."""
        with self._changed:
            self._owed = False

    def end(self) -> bool:
        """Allow no question any more. Return whether one was asked and not decided about yet."""
        with self._changed:
            self._ended = True
            return self._owed
