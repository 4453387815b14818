"""The card + PIN lane of one passage: one prompt, one check. Runs in its own thread."""

from __future__ import annotations

from gate.card.verified import VerifiedCard
from gate.errors import KeyAgentFault, TemplateRejected
from gate.passage import events as ev
from gate.passage.decision import DenyReason
from gate.passage.pin_tries import PinTries
from gate.passage.ports import KeyReleases
from gate.template.context import SealContext
from gate.template.envelope import Envelope, open_envelope
from gate.template.pin import check_pin


def check(
    card: VerifiedCard, pin: str, tries: PinTries, keys: KeyReleases
) -> ev.PinMatched | ev.PinFailed:
    """Compare one entered PIN with the card's sealed verifier. A try is spent before the check."""
    if tries.left(card.credential_id) == 0:
        return ev.PinFailed(DenyReason.PIN_LOCKED, may_retry=False)
    tries.spend(card.credential_id)
    try:
        right = check_pin(pin, _open_verifier(card, keys))
    except KeyAgentFault:
        return ev.PinFailed(DenyReason.KEY_UNAVAILABLE, may_retry=False)
    except TemplateRejected:
        return ev.PinFailed(DenyReason.CARD_TAMPERED, may_retry=False)
    if right:
        tries.right(card.credential_id)
        return ev.PinMatched()
    left = tries.left(card.credential_id)
    return ev.PinFailed(DenyReason.WRONG_PIN, may_retry=left > 0)


def _open_verifier(card: VerifiedCard, keys: KeyReleases) -> bytes:
    assert card.pin_verifier is not None
    envelope = Envelope.decode(card.pin_verifier)
    context = SealContext.for_pin(card.credential_id, card.expiry)
    key = keys.open_pin_key(envelope.kid, envelope.wrapped, context.hpke_info())
    return open_envelope(envelope, key, context)
