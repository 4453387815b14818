"""The face lane of one passage: key to verifier, job to verifier, answers to events.

Runs in its own thread. This process passes the key agent the write end of the verifier's key pipe
and never sees the content key, a frame, an embedding or the template.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from gate.card.verified import VerifiedCard
from gate.errors import (
    GateError,
    KeyAgentFault,
    NoVerifier,
    TemplateRejected,
    VerifierContractBroken,
    VerifierFault,
    place_of,
)
from gate.ledger.record import FaultCode, KeyPurpose
from gate.passage import events as ev
from gate.passage.decision import DenyReason
from gate.passage.key_uses import KeyUses
from gate.passage.ports import KeyReleases, Look, Verifiers
from gate.template.context import SealContext
from gate.template.envelope import Envelope
from gate.verifier.certificate import DeathCertificate
from gate.verifier.job import Job
from gate.verifier.wire import Kind, Verdict
from models.types import Advice, Zone

_LOG = logging.getLogger(__name__)

REASON_OF: dict[Verdict, DenyReason] = {
    Verdict.NO_MATCH: DenyReason.NO_MATCH,
    Verdict.NO_FACE: DenyReason.NO_FACE,
    Verdict.MULTIPLE_FACES: DenyReason.MULTIPLE_FACES,
    Verdict.PRESENTATION_ATTACK: DenyReason.PRESENTATION_ATTACK,
    Verdict.LOW_QUALITY: DenyReason.LOW_QUALITY,
    Verdict.TEMPLATE_REJECTED: DenyReason.TEMPLATE_REJECTED,
    Verdict.CAMERA_FAULT: DenyReason.CAMERA_FAULT,
    Verdict.MODEL_FAULT: DenyReason.VERIFIER_FAULT,
    Verdict.NO_KEY: DenyReason.KEY_UNAVAILABLE,
}

GRACE_MS = 1_500
"""What a verifier may take beyond its own deadline: camera start and the last frame."""


@dataclass(frozen=True)
class View:
    """Which camera, which part of its picture, and for how long."""

    camera: str
    zone: Zone
    look_ms: int


def _incident(error: GateError) -> FaultCode:
    """Return what the log says of a verifier that gave no answer."""
    match error:
        case VerifierContractBroken():
            return FaultCode.VERIFIER_CONTRACT
        case NoVerifier():
            return FaultCode.VERIFIER_SPAWN
        case _:
            return FaultCode.VERIFIER_KILLED


class FaceLeg:
    """One look. `run` blocks until the verifier is dead; `stop` ends it early from outside."""

    def __init__(self, card: VerifiedCard, view: View, nonce: bytes, uses: KeyUses) -> None:
        self._card = card
        self._view = view
        self._nonce = nonce
        self._uses = uses
        self._look: Look | None = None
        self._stopped = False

    def stop(self) -> None:
        """End the look now. Idempotent, from any thread."""
        self._stopped = True
        if self._look is not None:
            self._look.kill()

    def run(
        self,
        verifiers: Verifiers,
        keys: KeyReleases,
        post: Callable[[ev.Event], None],
        step: Callable[[str, float], None],
    ) -> tuple[DeathCertificate | None, FaultCode | None]:
        """Run the leg and post its events.

        Returns:
            The death certificate (None when no verifier was taken), and what is to be recorded
            as failed, if anything.
        """
        incident: FaultCode | None = None
        certificate: DeathCertificate | None = None
        broken = True
        try:
            last = self._until_verdict(verifiers, keys, post, step)
            broken = False
        except TemplateRejected:
            last, broken = ev.FaceFailed(DenyReason.TEMPLATE_REJECTED), False
        except KeyAgentFault:
            last = ev.FaceFailed(DenyReason.KEY_UNAVAILABLE)
        except GateError as error:
            incident = _incident(error)
            last = ev.FaceFailed(DenyReason.VERIFIER_FAULT)
        except Exception as error:  # whatever it was: this verifier must not outlive it
            _LOG.warning("%s", place_of(error))
            incident = FaultCode.INTERNAL
            last = ev.FaceFailed(DenyReason.INTERNAL_FAULT)
        # Asked once: the answer itself makes the runner stop this leg.
        stopped = self._stopped
        if not stopped:
            post(last)
        if self._look is not None:
            if stopped or broken:
                self._look.kill()
            certificate = self._look.finish()
            # Asked again: without a verdict the lane ends the verifier itself.
            if not self._stopped and not broken and certificate.exit_code != 0:
                incident = FaultCode.VERIFIER_KILLED  # it answered, and then did not end by itself
        if stopped and incident is not FaultCode.VERIFIER_CONTRACT:
            incident = None  # this leg itself ended it
        return certificate, incident

    def _until_verdict(
        self,
        verifiers: Verifiers,
        keys: KeyReleases,
        post: Callable[[ev.Event], None],
        step: Callable[[str, float], None],
    ) -> ev.FaceMatched | ev.FaceFailed:
        card = self._card
        assert card.sealed_template is not None
        assert card.template_aux is not None
        assert card.consent_record is not None
        envelope = Envelope.decode(card.sealed_template)
        context = SealContext.for_template(
            card.credential_id,
            envelope.model_id,
            card.consent_record,
            card.template_aux,
            card.expiry,
        )
        look = self._look = verifiers.take(timeout_s=1.0)
        began_s = time.monotonic()
        try:
            with self._uses.asking(KeyPurpose.TEMPLATE):
                keys.release_template_key(
                    envelope.kid,
                    envelope.wrapped,
                    context.hpke_info(),
                    look.key_fd,
                    session_id=card.session_id,
                )
        finally:
            look.close_key_fd()
        step("key", (time.monotonic() - began_s) * 1000)
        began_s = time.monotonic()
        look.begin(
            Job(
                camera=self._view.camera,
                zone=self._view.zone,
                envelope=card.sealed_template,
                context=context,
                template_aux=card.template_aux,
                nonce=self._nonce,
                deadline_ms=self._view.look_ms,
            )
        )
        post(ev.KeyAnswered())  # recorded while the verifier looks
        deadline_s = began_s + (self._view.look_ms + GRACE_MS) / 1000
        while not self._stopped:
            left_ms = int((deadline_s - time.monotonic()) * 1000)
            answer = look.next_answer(max(1, left_ms)) if left_ms > 0 else None
            if answer is None:
                raise VerifierFault("the verifier gave no verdict in time")
            match answer.kind:
                case Kind.CAMERA_ON:
                    step("camera", (time.monotonic() - began_s) * 1000)
                    post(ev.CameraOn())
                case Kind.GUIDANCE:
                    post(ev.Guided(Advice(answer.code)))
                case Kind.VERDICT:
                    step("look", (time.monotonic() - began_s) * 1000)
                    verdict = Verdict(answer.code)
                    if verdict is Verdict.MATCH:
                        return ev.FaceMatched()
                    return ev.FaceFailed(REASON_OF[verdict])
                case Kind.READY:
                    raise VerifierContractBroken("the verifier announced itself twice")
        return ev.FaceFailed(DenyReason.TIMED_OUT)
