"""What a start makes of the self-test, the first verifier and telemetry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from firmware_bridge.camera_source import Means
from gate.errors import ConfigError, NoVerifier, VerifierFault, VerifierNotIsolated
from gate.escapes.layers import Layer
from gate.escapes.report import THROUGH, Finding, SelfTest, Walls
from gate.isolation import Isolation, enforce, find_out
from gate.ledger.record import SelfTested
from gate.passage.ports import Look
from gate.telemetry import telemetry_folders

WALLS = Walls(Layer.ALL, Means.MEMORY)


class Verifiers:
    """A source whose first verifier comes, or fails."""

    def __init__(self, fault: VerifierFault | None = None) -> None:
        self._fault = fault
        self.closed = 0

    def start(self) -> None:
        pass

    def close(self) -> None:
        self.closed += 1

    def ready(self) -> bool:
        return self._fault is None and not self.closed

    def wait_ready(self, timeout_s: float) -> None:
        assert timeout_s > 0
        if self._fault is not None:
            raise self._fault

    def take(self, timeout_s: float) -> Look:
        raise NoVerifier(f"none in this test within {timeout_s} s")


def outcome_of(*hows: str) -> SelfTest:
    return SelfTest(
        [Finding(f"way {n}", WALLS, how, THROUGH) for n, how in enumerate(hows)], {WALLS: True}, 7
    )


def found(
    *,
    test: SelfTest | VerifierFault | None = None,
    verifiers: Verifiers | None = None,
    telemetry: Sequence[Sequence[Path]] = ((), ()),
    production: bool = True,
) -> Isolation:
    asked: list[Sequence[Means]] = []
    answers = iter(telemetry)
    result = test or outcome_of("SIGSYS", "EPERM")

    def attack(cameras: Sequence[Means]) -> SelfTest:
        asked.append(cameras)
        if isinstance(result, Exception):
            raise result
        return result

    isolation = find_out(
        verifiers or Verifiers(),
        "rtsp://camera.example/1",
        production=production,
        attack=attack,
        telemetry=lambda: list(next(answers)),
    )
    assert asked == [[Means.NETWORK]], "the walls of the camera that is configured"
    return isolation


def test_all_well() -> None:
    isolation = found()
    assert isolation == Isolation(SelfTested(tried=2, held=2, landlock_abi=7), None)


def test_an_escape_is_named_and_counted() -> None:
    isolation = found(test=outcome_of("SIGSYS", THROUGH, THROUGH))
    assert isolation.record == SelfTested(tried=3, held=1, landlock_abi=7)
    assert isolation.broken is not None
    assert "way 1 and 1 more" in isolation.broken.what
    assert "gate self-test" in isolation.broken.advice


def test_more_escapes_than_a_record_can_count_never_look_better() -> None:
    many = outcome_of(*["SIGSYS"] * 300, *[THROUGH] * 3)
    assert found(test=many).record == SelfTested(tried=255, held=252, landlock_abi=7)


def test_a_self_test_that_did_not_end_is_no_success() -> None:
    isolation = found(test=VerifierFault("the self-test did not end", "try"))
    assert isolation.record == SelfTested(tried=0, held=0, landlock_abi=0)
    assert isolation.broken is not None


def test_a_verifier_without_its_walls_or_with_a_thread_forbids_faces() -> None:
    isolation = found(verifiers=Verifiers(VerifierNotIsolated("a thread", "reinstall")))
    assert isolation.broken is not None
    assert isolation.broken.diagnostics() == "a thread; reinstall"


def test_a_verifier_that_does_not_load_is_told_and_forbids_nothing() -> None:
    isolation = found(verifiers=Verifiers(NoVerifier("no model")))
    assert isolation.broken is None
    assert "no model" in isolation.warnings[0]


FOLDER = Path("/home/x/.cache/telemetry")


@pytest.mark.parametrize("production", [True, False])
def test_telemetry_that_appears_forbids_faces(production: bool) -> None:
    isolation = found(telemetry=((), (FOLDER,)), production=production)
    assert isolation.broken is not None
    assert str(FOLDER) in isolation.broken.what


def test_telemetry_of_before_forbids_a_real_door_and_warns_the_demo() -> None:
    both = ((FOLDER,), (FOLDER,))
    assert found(telemetry=both, production=True).broken is not None
    isolation = found(telemetry=both, production=False)
    assert isolation.broken is None
    assert str(FOLDER) in isolation.warnings[0]


BROKEN = Isolation(SelfTested(tried=2, held=1, landlock_abi=0), ConfigError("a hole", "mend it"))


def test_production_refuses_with_one_line_and_ends_the_log() -> None:
    verifiers, ended = Verifiers(), []
    with pytest.raises(ConfigError, match="a hole"):
        enforce(BROKEN, verifiers, production=True, before_refusal=lambda: ended.append(1))
    assert verifiers.closed == 1
    assert ended == [1]


def test_the_demo_goes_on_without_any_verifier(caplog: pytest.LogCaptureFixture) -> None:
    verifiers, ended = Verifiers(), []
    enforce(BROKEN, verifiers, production=False, before_refusal=lambda: ended.append(1))
    assert not verifiers.ready()
    assert ended == []
    assert "a hole; mend it; no face is looked at" in caplog.text


def test_a_sound_gate_just_goes_on() -> None:
    verifiers = Verifiers()
    sound = Isolation(SelfTested(tried=2, held=2, landlock_abi=7), None)
    enforce(sound, verifiers, production=True, before_refusal=lambda: None)
    assert verifiers.ready()


def test_the_folder_of_the_inference_library_is_found(tmp_path: Path) -> None:
    folder = tmp_path / ".cache/Microsoft/DeveloperTools/.onnxruntime"
    environ = {"HOME": str(tmp_path)}
    assert folder not in telemetry_folders(environ)
    folder.mkdir(parents=True)
    assert folder in telemetry_folders(environ)
    assert folder in telemetry_folders({"XDG_CACHE_HOME": str(tmp_path / ".cache")})
