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
}
"""The turnstile's line speaks for itself (firmware_bridge.osdp_bus), and so does the log."""
