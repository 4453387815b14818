"""The failures of enrolment. A person who declines is not one: declining is an equal choice."""

from __future__ import annotations

from gate.errors import GateError


class EnrolmentRefused(GateError):
    """This card cannot be issued or changed as asked: the photographs, a PIN, a consent."""


class WrongInput(EnrolmentRefused):
    """What was given has the wrong form: a PIN, a number of days, a photograph file. Usage."""


class UnknownCard(EnrolmentRefused):
    """The registry of this site does not know the card."""


class ConsentInvalid(EnrolmentRefused):
    """A consent record or receipt is malformed, unsigned or contradicts itself."""


class CaptureFault(GateError):
    """The capture worker ended without a result. Nothing of the photographs is left."""
