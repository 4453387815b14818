"""The card + PIN lane of one passage: every prompt of one card session, one opened verifier."""

from __future__ import annotations

from collections.abc import Callable

from gate.card.verified import VerifiedCard
from gate.errors import KeyAgentFault, TemplateRejected
from gate.ledger.record import KeyPurpose
from gate.passage import events as ev
from gate.passage.decision import DenyReason
from gate.passage.key_uses import KeyUses
from gate.passage.pin_tries import PinTries
from gate.passage.ports import KeyReleases
from gate.template.context import SealContext
from gate.template.envelope import Envelope, open_envelope
from gate.template.pin import check_pin


class PinLeg:
    """The PIN checks of one card session.

    The key agent opens a card's PIN verifier once a session. It is kept here for the retries of
    that session and dropped with this object.

    Args:
        card: whose PIN it is.
        uses: notes what the key agent was asked.
        post: told once that it has answered, so that the log gets it while the PIN is hashed.
    """

    def __init__(self, card: VerifiedCard, uses: KeyUses, post: Callable[[ev.Event], None]) -> None:
        self._card = card
        self._uses = uses
        self._post = post
        self._verifier: bytes | None = None

    def check(self, pin: str, tries: PinTries, keys: KeyReleases) -> ev.PinMatched | ev.PinFailed:
        """Compare one entered PIN with the card's verifier. A try is spent before the check."""
        number = self._card.credential_id
        if tries.left(number) == 0:
            return ev.PinFailed(DenyReason.PIN_LOCKED, may_retry=False)
        tries.spend(number)
        try:
            if self._verifier is None:
                self._verifier = self._open_verifier(keys)
            right = check_pin(pin, self._verifier)
        except KeyAgentFault:
            return ev.PinFailed(DenyReason.KEY_UNAVAILABLE, may_retry=False)
        except TemplateRejected:
            return ev.PinFailed(DenyReason.CARD_TAMPERED, may_retry=False)
        if right:
            tries.right(number)
            return ev.PinMatched()
        return ev.PinFailed(DenyReason.WRONG_PIN, may_retry=tries.left(number) > 0)

    def _open_verifier(self, keys: KeyReleases) -> bytes:
        card = self._card
        assert card.pin_verifier is not None
        envelope = Envelope.decode(card.pin_verifier)
        context = SealContext.for_pin(card.credential_id, card.expiry)
        with self._uses.asking(KeyPurpose.PIN):
            key = keys.open_pin_key(
                envelope.kid, envelope.wrapped, context.hpke_info(), session_id=card.session_id
            )
        self._post(ev.KeyAnswered())
        return open_envelope(envelope, key, context)
