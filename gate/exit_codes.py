"""Exit codes of the command line, and the one place where a failure becomes one clear line."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import ParamSpec

import typer

from firmware_bridge.errors import DeviceFault
from gate.errors import ConfigError, GateError, LedgerFault, place_of
from models.errors import ModelFault


class ExitCode(IntEnum):
    """What a command tells the shell."""

    OK = 0
    USAGE = 2
    """Wrong arguments, configuration, key or file: change something and try again."""
    NO = 3
    """The command worked and the answer is no: not verified, refused, unexpected outcome."""
    DEVICE = 4
    """A device is absent, busy or gone."""
    INTERNAL = 5
    """A failure that no configuration explains."""
    INTERRUPTED = 130


EXIT_CODES_HELP = (
    "Exit codes: 0 ok; 2 usage or configuration; 3 the answer is no (not verified, refused, "
    "unexpected outcome); 4 device; 5 internal failure; 130 interrupted. "
    "Results go to stdout, everything else to stderr."
)


def exit_code_of(error: Exception) -> ExitCode:
    """Return the exit code of a failure."""
    match error:
        case ConfigError() | ModelFault() | LedgerFault():
            return ExitCode.USAGE
        case DeviceFault():
            return ExitCode.DEVICE
        case _:
            return ExitCode.INTERNAL


P = ParamSpec("P")


def ends_with_code(name: str) -> Callable[[Callable[P, ExitCode]], Callable[P, None]]:
    """Decorate a command: its failures become one line on stderr, its answer the exit code.

    Args:
        name: the program's name, put before the line.
    """

    def decorate(command: Callable[P, ExitCode]) -> Callable[P, None]:
        @functools.wraps(command)
        def ended(*args: P.args, **kwargs: P.kwargs) -> None:
            raise typer.Exit(_code(name, lambda: command(*args, **kwargs)))

        return ended

    return decorate


def _code(name: str, command: Callable[[], ExitCode]) -> ExitCode:
    try:
        code = command()
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever reads our answer has seen enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except (GateError, ModelFault, DeviceFault) as error:
        print(f"{name}: {error.diagnostics()}", file=sys.stderr)  # noqa: T201
        return exit_code_of(error)
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)  # noqa: T201
        return ExitCode.INTERRUPTED
    except Exception as error:
        print(f"{name}: {place_of(error)}", file=sys.stderr)  # noqa: T201
        return ExitCode.INTERNAL
