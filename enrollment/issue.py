"""Issuing, withdrawing, revoking.

One way for everybody: `apply`, then perhaps consent and capture, then `issue`. A person who
declines takes the same steps with the same result but for the three elements of the template.
Nothing records that they declined: the registry, the status list and the receipts of the site do
not differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from enrollment import consent
from enrollment.capture import SealedFace
from enrollment.consent import ConsentRecord
from enrollment.errors import EnrolmentRefused, WrongInput
from enrollment.mdoc_issuer import issue_mdoc
from enrollment.notice import Notice
from enrollment.registry import Entry, State
from enrollment.site import Site
from enrollment.wallet import Wallet
from gate.card import mdoc, session
from gate.card.cbor import need
from gate.template.context import CREDENTIAL_ID_BYTES, SealContext
from gate.template.pin import is_pin, seal_pin

RandomBytes = Callable[[int], bytes]
VALID_DAYS = 365


@dataclass(frozen=True)
class Application:
    """A card that is about to be made. Known before any question is asked."""

    credential_id: bytes
    """16 random bytes."""
    valid_from: datetime
    expiry: datetime
    """Whole seconds, UTC."""
    access_groups: tuple[str, ...]
    reference: str | None
    """The issuer's own opaque reference, if it wants one."""


@dataclass(frozen=True)
class Withdrawal:
    """What a person gets when they withdraw."""

    record: ConsentRecord
    wallet: Wallet
    """A new card without a template."""


def apply(
    site: Site,
    *,
    now: datetime,
    random_bytes: RandomBytes,
    valid_days: int = VALID_DAYS,
    access_groups: Sequence[str] | None = None,
    reference: str | None = None,
) -> Application:
    """Return the frame of a new card.

    Args:
        site: the issuer.
        now: aware; the card holds from here.
        random_bytes: cryptographic randomness.
        valid_days: how long it holds; at least 1.
        access_groups: what it opens; the groups of the site's policy when None.
        reference: an opaque reference of the issuer, never a name.

    Raises:
        WrongInput: no days, or it would outlive the document signer's certificate.
    """
    valid_from = now.astimezone(UTC).replace(microsecond=0)
    longest = (site.document_signer.certificate.not_valid_after_utc - valid_from).days
    if not 1 <= valid_days <= longest:
        raise WrongInput(f"a card cannot hold for {valid_days} days", f"choose 1 to {longest}")
    expiry = valid_from + timedelta(days=valid_days)
    groups = site.policy.document.access_groups if access_groups is None else access_groups
    return Application(
        random_bytes(CREDENTIAL_ID_BYTES), valid_from, expiry, tuple(groups), reference
    )


def give_consent(
    site: Site, application: Application, notice: Notice, random_bytes: RandomBytes
) -> ConsentRecord:
    """Return the signed record of a consent that the person just gave to this notice.

    Raises:
        EnrolmentRefused: faces may not be used here now.
    """
    mode = site.face_mode(application.valid_from)
    if not mode.on:
        raise EnrolmentRefused("no face may be enrolled here now", mode.line)
    return consent.give(
        notice,
        now=application.valid_from,
        expires=application.expiry,
        demo=site.demo,
        key=site.consent_key,
        random_bytes=random_bytes,
    )


def issue(
    site: Site,
    application: Application,
    pin: str,
    face: SealedFace | None,
    *,
    random_bytes: RandomBytes,
    clock: Callable[[], datetime],
) -> Wallet:
    """Issue the card: register it, sign it, publish the status list.

    Args:
        site: the issuer.
        application: from `apply`.
        pin: 4 to 12 digits; both kinds of card have one, so that both lanes are open to all.
        face: from a capture for this application, or None.
        random_bytes: cryptographic randomness.
        clock: aware; the station's, and the software phone's.

    Raises:
        EnrolmentRefused: not a PIN, or the status list is full.
        ConfigError: the registry or the status list cannot be written.
    """
    if not is_pin(pin):
        raise WrongInput("that is no PIN", "a PIN is 4 to 12 digits")
    elements: dict[str, object] = {
        mdoc.CREDENTIAL_ID: application.credential_id,
        mdoc.ACCESS_GROUPS: application.access_groups,
        mdoc.EXPIRY_DATE: application.expiry,
        mdoc.PIN_VERIFIER: seal_pin(
            pin,
            SealContext.for_pin(application.credential_id, application.expiry),
            site.template_public_key,
            random_bytes,
        ),
    }
    if face is not None:
        elements |= {
            mdoc.SEALED_TEMPLATE: face.sealed_template,
            mdoc.TEMPLATE_AUX: face.template_aux,
            mdoc.CONSENT_RECORD: face.consent_record,
        }
    device_key = session.new_key(random_bytes)
    index = site.registry.add(
        application.credential_id, application.expiry, random_bytes, application.reference
    )
    issuer_signed = issue_mdoc(
        elements,
        device_key.public_key(),
        site.document_signer,
        index,
        site.status_uri,
        application.valid_from,
        application.expiry,
        random_bytes,
    )
    site.registry.forget_expired(application.valid_from - _KEPT_AFTER_EXPIRY)
    site.publish_status(clock())
    return Wallet(device_key, issuer_signed, site.reader_roots, clock, random_bytes)


def withdraw(
    site: Site,
    wallet: Wallet,
    pin: str,
    *,
    random_bytes: RandomBytes,
    clock: Callable[[], datetime],
) -> Withdrawal:
    """Withdraw the consent of a card and give the person a card without a template.

    First the status list says so, at which moment no gate opens the template any more; only then
    the new card is made. The old card keeps its PIN lane until it expires.

    Raises:
        EnrolmentRefused: no template on the card, not issued here, or withdrawn before.
        ConfigError: the registry or the status list cannot be written.
    """
    if not is_pin(pin):
        raise WrongInput("that is no PIN", "a PIN is 4 to 12 digits")
    given = consent_on(wallet, site.consent_public_key)
    entry = site.registry.find(credential_id_of(wallet))
    if entry.state is State.CONSENT_WITHDRAWN:
        raise EnrolmentRefused(
            "this consent was withdrawn before", "for a new card use: enroll new --decline"
        )
    now = clock()
    site.registry.set_state(entry.credential_id, State.CONSENT_WITHDRAWN)
    site.publish_status(now)
    record = consent.withdraw(given, now=now, key=site.consent_key)
    remaining = max(1, (entry.expires - now).days)
    application = apply(
        site,
        now=now,
        random_bytes=random_bytes,
        valid_days=remaining,
        access_groups=access_groups_of(wallet),
        reference=entry.reference,
    )
    fresh = issue(site, application, pin, None, random_bytes=random_bytes, clock=clock)
    return Withdrawal(record, fresh)


def revoke(site: Site, entry: Entry, *, now: datetime) -> None:
    """Revoke one card: no lane is open to it any more. Final.

    Raises:
        EnrolmentRefused: revoked before.
        ConfigError: the registry or the status list cannot be written.
    """
    site.registry.set_state(entry.credential_id, State.REVOKED)
    site.publish_status(now)


def credential_id_of(wallet: Wallet) -> bytes:
    """Return the card's credential id."""
    return need(wallet.elements.get(mdoc.CREDENTIAL_ID), bytes)


def access_groups_of(wallet: Wallet) -> tuple[str, ...]:
    """Return what the card opens."""
    groups = need(wallet.elements.get(mdoc.ACCESS_GROUPS), list)
    return tuple(need(group, str) for group in groups)


def consent_on(wallet: Wallet, public_key: Ed25519PublicKey) -> ConsentRecord:
    """Return the consent record on a card, verified.

    Raises:
        EnrolmentRefused: there is none, or this site did not sign it.
    """
    signed = wallet.elements.get(mdoc.CONSENT_RECORD)
    if not isinstance(signed, bytes):
        raise EnrolmentRefused(
            "there is no template on this card", "nothing is there to be withdrawn"
        )
    return consent.verify(signed, public_key)


_KEPT_AFTER_EXPIRY = timedelta(days=1)
"""A gate whose clock is a little behind still finds an expired card's revocation."""
