"""What the operator reads when a part of the lane fails: one line, what happened and what to do."""

from __future__ import annotations

from gate.ledger.record import FaultCode

LINES: dict[FaultCode, str] = {
    FaultCode.CAMERA: "the camera gives no usable picture; check its cable and [camera] source",
    FaultCode.READER: "the card reader is gone; check [card] reader, or restart the gate",
    FaultCode.TAMPER: "the turnstile's housing is open; look at it, the lane is closed meanwhile",
    FaultCode.FIRE: "the fire loop is open; the turnstile frees the way by itself",
    FaultCode.KEY_AGENT_DEAD: "the key agent ended; it is started again, "
    "look at the host when it happens often",
    FaultCode.VERIFIER_KILLED: "a verifier ended without a verdict; it is replaced, "
    "look at the host's memory when it happens often",
    FaultCode.VERIFIER_CONTRACT: "a verifier said more than it may; nobody was let in by it: "
    "run gate self-test and gate models verify, and find out why before the face lane goes on",
    FaultCode.VERIFIER_SPAWN: "no verifier is ready; cards with PIN keep working, "
    "run: gate models verify, and look at the host's memory",
    FaultCode.POLICY_EXPIRED: "the policy's face_expires has passed: the face lane is off; "
    "put a renewed policy in place, it is taken without a restart",
    FaultCode.DEPLOYMENT_EXPIRED: "the deployment record has expired: the face lane is off; "
    "have it assessed and signed again, it is taken without a restart",
    FaultCode.STATUS_LIST_STALE: "the status list is missing or expired: every card is refused; "
    "fetch the newest from the issuer, it is taken without a restart",
}
"""The turnstile's line speaks for itself (firmware_bridge.osdp_bus), and so does the log."""
