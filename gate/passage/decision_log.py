"""Decisions as the log gets them: behind the keys that were used, a denial under a pseudonym."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime

from gate.card.verified import VerifiedCard
from gate.ledger.record import CardKeyDestroyed, Decided, KeyPurpose, KeyUsed
from gate.passage.day_cards import DayCards
from gate.passage.decision import Decision, Deny
from gate.passage.lane_log import LaneLog
from gate.template.outcome import KeyOutcome


class DecisionLog:
    """Appends decisions and turns the day. Not thread safe: the loop of the lane owns it.

    Args:
        log: where records go.
        cards: the day's pseudonyms.
        utc_now: the gate's clock.
    """

    def __init__(self, log: LaneLog, cards: DayCards, utc_now: Callable[[], datetime]) -> None:
        self._log = log
        self._cards = cards
        self._utc_now = utc_now
        self._destroyed = 0
        """How many cards a key named that is gone, as long as the log does not say so."""
        self.keys_recorded: Counter[tuple[KeyPurpose, KeyOutcome]] = Counter()
        """Uses of a key that are durable in the log, since this start."""

    def keys_used(self, used: Sequence[KeyUsed]) -> bool:
        """Append what the key agent was asked; tell whether all of it is durable."""
        durable = [each for each in used if self._log.append(each)]
        self.keys_recorded.update((each.purpose, each.outcome) for each in durable)
        return len(durable) == len(used)

    def decided(self, decision: Decision, card: VerifiedCard | None) -> bool:
        """Append one decision about an authenticated card, or about none; tell if it is durable.

        Only a denial names the card: nothing shall link the passages of a person.

        A key whose day is over is destroyed first, and the log says so first.
        """
        if not self.turn_day():
            return False
        denied = card if isinstance(decision, Deny) else None
        number = 0 if denied is None else self._cards.number(denied.credential_id, self._utc_now())
        if not self._log.append(Decided.of(decision, number)):
            return False
        if denied is not None:
            self._cards.keep(denied.credential_id)
        return True

    def turn_day(self) -> bool:
        """Destroy the key of a day that is over. False: the log does not say so yet."""
        if self._cards.is_over(self._utc_now()):
            self._destroy()
        return self._say_destroyed()

    def end(self) -> None:
        """Destroy the key; the gate stops."""
        self._destroy()
        self._say_destroyed()

    def _destroy(self) -> None:
        # A log that is down since yesterday has named no card of today: the earlier count stands.
        self._destroyed = self._cards.destroy() or self._destroyed

    def _say_destroyed(self) -> bool:
        if self._destroyed and not self._log.append(CardKeyDestroyed(self._destroyed)):
            return False
        self._destroyed = 0
        return True
