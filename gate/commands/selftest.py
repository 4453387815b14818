"""`gate self-test`: attack the verifier's sandbox from inside and show what it held."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from firmware_bridge.camera_source import Means
from gate.commands.options import Json
from gate.escapes.attempts import ATTEMPTS
from gate.escapes.layers import Layer
from gate.escapes.report import THROUGH, Finding, SelfTest, Walls
from gate.escapes.self_test import CAMERAS, LAYERS, self_test
from gate.exit_codes import ExitCode, ends_with_code


@ends_with_code("gate")
def self_test_command(
    layers: Annotated[
        bool, typer.Option("--layers", help="Attack each wall alone as well: what holds what.")
    ] = False,
    camera: Annotated[
        Means | None,
        typer.Option("--camera", help="Only the walls of this kind of camera."),
    ] = None,
    as_json: Json = False,
) -> ExitCode:
    """Try to get out of a verifier's sandbox in every way we know; exit code 3 when one works.

    Each attempt runs in a process of its own behind the walls of a real verifier, and once without
    any walls: what does not get through there either is marked "host forbids", because then it
    shows nothing about our walls.
    """
    cameras = CAMERAS if camera is None else (camera,)
    tested = self_test(cameras, LAYERS if layers else ())
    if as_json:
        typer.echo(json.dumps(as_document(tested), indent=1))
    else:
        _show(tested)
    return ExitCode.OK if tested.ok else ExitCode.NO


def as_document(tested: SelfTest) -> dict[str, Any]:
    """Return the result for machines."""
    return {
        "ok": tested.ok,
        "tried": tested.tried,
        "held": tested.held,
        "escaped": tested.escaped(),
        "landlock_abi": tested.landlock_abi,
        "answers": [
            {**_walls(walls), "allowed_answer_passes": passes}
            for walls, passes in tested.answers.items()
        ],
        "findings": [
            {
                "attempt": finding.attempt,
                **_walls(finding.walls),
                "how": finding.how,
                "held": finding.held,
                "without_walls": finding.without,
            }
            for finding in tested.findings
        ],
    }


def _walls(walls: Walls) -> dict[str, str]:
    return {"walls": walls.layer.value, "camera": walls.camera.value}


def _show(tested: SelfTest) -> None:
    columns = list(tested.answers)
    table = Table("attempt", "no walls", *(_title(walls) for walls in columns), box=None)
    rows: dict[str, dict[Walls, Finding]] = {attempt.name: {} for attempt in ATTEMPTS}
    for finding in tested.findings:
        rows[finding.attempt][finding.walls] = finding
    for name, row in rows.items():
        without = next(iter(row.values()))
        bare = without.without if not without.host_forbids else f"host forbids ({without.without})"
        table.add_row(name, bare, *(_cell(row[walls]) for walls in columns))
    counts = [
        f"{sum(f.held for f in tested.against(walls))} of {len(tested.against(walls))}"
        for walls in columns
    ]
    table.add_section()
    table.add_row("held", "", *counts)
    answers = ["passes" if passes else "LOST" for passes in tested.answers.values()]
    table.add_row("the allowed 16-byte answer", "passes", *answers)
    out = Console(highlight=False)
    if out.width < 110:  # a narrow pipe must not fold the table into itself
        out = Console(highlight=False, width=110 + 12 * max(0, len(columns) - 3))
    out.print(table)
    out.print(
        f"{tested.held} of {tested.tried} escapes held; Landlock ABI {tested.landlock_abi}"
        + (f"; NOT held: {', '.join(tested.escaped())}" if tested.escaped() else "")
    )


def _title(walls: Walls) -> str:
    return (
        f"{walls.camera.value} camera" if walls.layer is Layer.ALL else f"only {walls.layer.value}"
    )


def _cell(finding: Finding) -> str:
    if finding.held:
        return finding.how
    return "ESCAPED" if finding.how == THROUGH else f"ESCAPED ({finding.how})"
