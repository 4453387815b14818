"""Every failure has one line and one exit code."""

from __future__ import annotations

import pytest
import typer

from firmware_bridge.errors import DeviceFault
from gate import errors
from gate.errors import GateError, place_of
from gate.exit_codes import EXIT_CODES_HELP, ExitCode, ends_with_code, exit_code_of
from models.errors import ModelFault


def run(error: BaseException | None, answer: ExitCode = ExitCode.OK) -> int:
    @ends_with_code("gate")
    def command() -> ExitCode:
        if error is not None:
            raise error
        return answer

    with pytest.raises(typer.Exit) as ended:
        command()
    return ended.value.exit_code


def test_an_answer_is_the_exit_code() -> None:
    for code in ExitCode:
        assert run(None, code) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("no key", "make one"), 2),
        (ModelFault("wrong hash", "fetch it"), 2),
        (DeviceFault("/dev/x", "gone", "plug it in"), 4),
        (errors.LedgerFault("disk full", "free space"), 2),
        (errors.KeyAgentFault("gone", "restart"), 5),
    ],
)
def test_a_known_failure_is_one_line(
    error: GateError | ModelFault | DeviceFault, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(error) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"gate: {error.diagnostics()}\n"


def test_every_failure_of_the_gate_has_a_code() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    found = {exit_code_of(kind("x")) for kind in kinds if issubclass(kind, GateError)}
    assert found == {ExitCode.USAGE, ExitCode.INTERNAL}


def test_an_unknown_failure_shows_its_place_and_never_its_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(RuntimeError("the name of a person")) == 5
    said = capsys.readouterr().err
    assert "the name" not in said
    assert "RuntimeError at test_exit_codes.py:" in said
    assert said.count("\n") == 1


def test_an_exception_that_was_never_raised_has_no_place() -> None:
    assert place_of(ValueError("x")) == "internal failure: ValueError; please report it"


def test_an_interruption_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "gate: interrupted\n"


def test_the_help_names_every_code() -> None:
    for code in ExitCode:
        assert f"{code.value} " in EXIT_CODES_HELP
