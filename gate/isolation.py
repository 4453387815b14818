"""At a start: may this gate look at faces at all? The walls are tried, not believed in.

Three things are found out before anybody taps: whether the sandbox holds every escape that is
known to us, whether a first verifier comes up inside it and alone, and whether a library keeps an
identifier for reports over the network.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from firmware_bridge.camera_source import Means, means
from gate.errors import ConfigError, VerifierFault, VerifierNotIsolated
from gate.escapes.report import SelfTest
from gate.escapes.self_test import self_test
from gate.ledger.record import SelfTested
from gate.passage.ports import Verifiers, VerifierSource
from gate.telemetry import telemetry_folders

_LOG = logging.getLogger(__name__)

FIRST_VERIFIER_S = 30.0
_MOST = 255
"""The largest number of attempts that a record can hold."""


@dataclass(frozen=True)
class Isolation:
    """What was found out at a start.

    `broken`: why no face may be looked at here, or None. `warnings`: what the operator should
    know although it does not forbid anything by itself.
    """

    record: SelfTested
    broken: ConfigError | None
    warnings: tuple[str, ...] = ()


def find_out(
    verifiers: Verifiers,
    camera: str,
    *,
    production: bool,
    attack: Callable[[Sequence[Means]], SelfTest] = self_test,
    telemetry: Callable[[], list[Path]] = telemetry_folders,
) -> Isolation:
    """Attack the sandbox, wait for the first verifier, and look for telemetry.

    Args:
        verifiers: already started, so that the first loads meanwhile.
        camera: the source; a network camera has other walls than a local one.
        production: whether an identifier that an earlier program may have left is forbidden, too.
        attack: makes the attempts.
        telemetry: returns the folders with identifiers.
    """
    before = telemetry()
    warnings: list[str] = []
    broken: list[ConfigError] = []
    try:
        tested = attack([means(camera)])
        record = _record(tested)
        if not tested.ok:
            broken.append(_not_held(tested))
    except VerifierFault as fault:
        record = SelfTested(tried=0, held=0, landlock_abi=0)
        broken.append(ConfigError(fault.what, fault.advice))
    try:
        verifiers.wait_ready(FIRST_VERIFIER_S)
    except VerifierNotIsolated as fault:
        broken.append(ConfigError(fault.what, fault.advice))
    except VerifierFault as fault:
        warnings.append(f"{fault.diagnostics()}; cards with PIN keep working meanwhile")
    for folder in telemetry():
        found = ConfigError(
            f"a library keeps an identifier to report usage over the network: {folder}",
            "reinstall with the locked dependencies and remove that folder",
        )
        if production or folder not in before:
            broken.append(found)
        else:
            warnings.append(found.diagnostics())
    return Isolation(record, broken[0] if broken else None, tuple(warnings))


def enforce(
    isolation: Isolation,
    verifiers: VerifierSource,
    *,
    production: bool,
    before_refusal: Callable[[], object],
) -> None:
    """Let no face be looked at without walls: refuse the start, or leave the demo card-only.

    Args:
        isolation: what was found out.
        verifiers: closed when no face may be looked at.
        production: whether this gate guards a door.
        before_refusal: called before the start is refused, to end the log in order.

    Raises:
        ConfigError: in production mode, when something is broken.
    """
    for warning in isolation.warnings:
        _LOG.warning("%s", warning)
    if isolation.broken is None:
        return
    verifiers.close()
    if production:
        before_refusal()
        raise isolation.broken
    _LOG.warning("%s; no face is looked at, cards with PIN work", isolation.broken.diagnostics())


def _record(tested: SelfTest) -> SelfTested:
    tried = min(tested.tried, _MOST)
    # Beyond the range what must not look better is the difference.
    held = max(0, tried - (tested.tried - tested.held))
    return SelfTested(tried=tried, held=held, landlock_abi=tested.landlock_abi)


def _not_held(tested: SelfTest) -> ConfigError:
    first, *others = tested.escaped() or ["everything"]
    more = f" and {len(others)} more" if others else ""
    return ConfigError(
        f"the verifier's sandbox does not hold: {first}{more}",
        "see: gate self-test; this kernel or container takes a wall away",
    )
