"""The failures of the gate. A denial is not here: it is a value, see gate.passage.decision.

Two leaves have trees of their own because they know nothing of the gate:
models.errors.ModelFault and firmware_bridge.errors.DeviceFault. All three offer `diagnostics()`.
No message, attribute or repr here may hold a template, a frame, a key or a name.
"""

from __future__ import annotations

import traceback
from pathlib import Path

from gate.template.outcome import KeyOutcome


class GateError(Exception):
    """A failure with a code for the admin and one line of advice.

    Args:
        what: what happened, one clause, no personal data.
        advice: what to do about it, one clause.
    """

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice

    def diagnostics(self) -> str:
        """One line for an operator: what happened, then what to do."""
        return f"{self.what}; {self.advice}" if self.advice else self.what


class ConfigError(GateError):
    """The configuration, a key, a policy or a deployment record does not allow a start."""


class ProtocolViolation(GateError):
    """A peer said something that its protocol does not allow."""


class TemplateRejected(GateError):
    """A sealed object does not open under this key and context, or is not well formed."""

    outcome = KeyOutcome.REFUSED
    """What the log shall say when the key agent was asked; see KeyAgentFault."""


class KeyAgentFault(GateError):
    """The key agent refused, timed out or is gone.

    Args:
        what: see GateError.
        advice: see GateError.
        outcome: what the log shall say of this use of the key.
    """

    def __init__(
        self, what: str, advice: str = "", outcome: KeyOutcome = KeyOutcome.FAILED
    ) -> None:
        super().__init__(what, advice)
        self.outcome = outcome


class VerifierFault(GateError):
    """No verifier was ready, or one hung, died or broke its contract."""


class NoVerifier(VerifierFault):
    """None was ready in time, or none can be started."""


class VerifierNotIsolated(NoVerifier):
    """One came up without its walls, or with a thread of a library that must have none.

    A gate in production mode does not start with such a verifier.
    """


class VerifierContractBroken(VerifierFault):
    """One said more than it may, or something that is no answer."""


class LedgerFault(GateError):
    """A record could not be made durable, or the log does not verify."""


def place_of(error: BaseException) -> str:
    """Return one line about an exception of no tree: its type and place.

    Its text is left out: it may come from anywhere and hold anything.
    """
    found = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(found[-1].filename).name}:{found[-1].lineno}" if found else ""
    return f"internal failure: {type(error).__name__}{where}; please report it"
