"""The failures of enrolment. A person who declines is not one: declining is an equal choice."""

from __future__ import annotations

from gate.errors import GateError


class EnrolmentRefused(GateError):
    """This card cannot be issued or changed as asked: the photographs, a PIN, a consent."""


class ConsentInvalid(EnrolmentRefused):
    """A consent record or receipt is malformed, unsigned or contradicts itself."""


class CaptureFault(GateError):
    """The capture worker ended without a result. Nothing of the photographs is left."""
