"""Which input of the turnstile's controller means what. Wire the turnstile to this table."""

from __future__ import annotations

from enum import IntEnum


class TurnstileInput(IntEnum):
    """Input numbers as osdp_ISTATR lists them. 1 = loop closed.

    | input | wired as | 1 means | 0 means |
    |---|---|---|---|
    | PASSAGE_A | normally open, at least 150 ms a person | a person crosses inwards | nobody |
    | PASSAGE_B | normally open, at least 150 ms a person | a person crosses outwards | nobody |
    | READY | normally closed | ready for an opening | fault, or the wire is broken |
    | TAMPER | normally closed | housing shut | opened, or the wire is broken |
    | FIRE | normally closed | no fire alarm | fire alarm, or the wire is broken |

    The fire alarm itself is wired straight into the turnstile, which frees the way by itself;
    this input only tells the gate. A broken wire is always the alarm.
    """

    PASSAGE_A = 0
    PASSAGE_B = 1
    READY = 2
    TAMPER = 3
    FIRE = 4
