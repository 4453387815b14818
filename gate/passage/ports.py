"""What the runner asks of its surroundings, beside the device ports of firmware_bridge."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from firmware_bridge.ports import ApduChannel
from gate.card.verified import CardRefusal, Consent, Refused, VerifiedCard
from gate.console.deps import KioskView
from gate.ledger.record import Record
from gate.policy import FaceMode, Policy
from gate.verifier.certificate import DeathCertificate
from gate.verifier.job import Job
from gate.verifier.wire import Answer


class CardChannel(ApduChannel, Protocol):
    """One card in the field, until closed."""

    def close(self) -> None:
        """Let go of the card; an exchange under way in another thread fails. Idempotent."""
        ...


class CardReader(Protocol):
    """Where cards come into the field."""

    def wait_for_card(self, timeout_s: float) -> CardChannel | None:
        """Return the next card, or None when none came in time."""
        ...


class CardChecks(Protocol):
    """The card session and every verification step."""

    def __call__(self, channel: ApduChannel, now: datetime) -> VerifiedCard | Refused:
        """Never raises for what a card says."""
        ...


class CardStands(Protocol):
    """Whether a card that was checked at the tap still stands, by the newest status list."""

    def __call__(self, card: VerifiedCard, now: datetime) -> Consent | CardRefusal:
        """Never raises for what a status list says."""
        ...


class Look(Protocol):
    """One verifier, for one passage."""

    @property
    def key_fd(self) -> int:
        """Where the key agent writes the content key; never read here."""
        ...

    def close_key_fd(self) -> None:
        """Close this process' copy. Idempotent."""
        ...

    def begin(self, job: Job) -> None:
        """Hand over the one job.

        Raises:
            VerifierFault: it is gone.
        """
        ...

    def next_answer(self, timeout_ms: int) -> Answer | None:
        """Return the next record, or None when none came in time.

        Raises:
            VerifierFault: it is gone or broke its contract.
        """
        ...

    def kill(self) -> None:
        """End it now, from any thread. Idempotent."""
        ...

    def finish(self) -> DeathCertificate:
        """Wait until the kernel has taken its memory back, killing it when it lingers."""
        ...


class Verifiers(Protocol):
    """Spare verifiers."""

    def ready(self) -> bool:
        """Whether a spare waits right now."""
        ...

    def wait_ready(self, timeout_s: float) -> None:
        """Block until a spare waits.

        Raises:
            VerifierFault: none came in time.
        """
        ...

    def take(self, timeout_s: float) -> Look:
        """Return a spare.

        Raises:
            VerifierFault: none came in time.
        """
        ...


class VerifierSource(Verifiers, Protocol):
    """Spare verifiers, from start to end of a gate."""

    def start(self) -> None:
        """Begin to fill.

        Raises:
            ConfigError: this host cannot sandbox a verifier.
        """
        ...

    def close(self) -> None:
        """End all of them. Idempotent."""
        ...


class KeyReleases(Protocol):
    """The key agent, seen from the gate."""

    def alive(self) -> bool:
        """Whether the agent answers."""
        ...

    def release_template_key(
        self, kid: bytes, wrapped: bytes, info: bytes, fd: int, *, session_id: bytes
    ) -> None:
        """Let the agent write the content key into `fd`. Once a card session.

        Raises:
            TemplateRejected: it does not open.
            KeyAgentFault: refused, timed out or gone. Both carry the `outcome` for the log.
        """
        ...

    def open_pin_key(self, kid: bytes, wrapped: bytes, info: bytes, *, session_id: bytes) -> bytes:
        """Return the content key of a PIN envelope. Once a card session.

        Raises:
            TemplateRejected: it does not open.
            KeyAgentFault: refused, timed out or gone. Both carry the `outcome` for the log.
        """
        ...


class Rules(Protocol):
    """The signed documents and lists that rule this gate. Each may be replaced while it runs."""

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        ...

    def face_mode(self, now: datetime) -> FaceMode:
        """Whether faces may be verified here now."""
        ...

    def status_is_fresh(self, now: datetime) -> bool:
        """Whether the status list in use may be relied on; otherwise every card is refused."""
        ...

    def renew(self, now: datetime, append: Callable[[Record], bool]) -> None:
        """Look for newer editions. Called between passages only; never raises.

        Args:
            now: the gate's clock.
            append: makes a record durable, or says False: then the old edition stays in force.
        """
        ...


class Log(Protocol):
    """The ledger, seen from the runner."""

    def append(self, record: Record, now: datetime) -> int:
        """Return the sequence once the record is durable.

        Raises:
            LedgerFault: it is not.
        """
        ...


class Kiosk(Protocol):
    """The screen and the PIN pad at the gate."""

    def show(self, view: KioskView) -> None:
        """Put a view on every screen, without waiting."""
        ...

    def open_prompt(self) -> str:
        """Open one PIN prompt and return its token."""
        ...

    def wait_pin(self, token: str, timeout_s: float) -> str | None:
        """Return the digits, or None when none came or the prompt was closed."""
        ...

    def close_prompt(self, token: str) -> None:
        """Close this prompt; a waiting `wait_pin` returns None. Idempotent."""
        ...
