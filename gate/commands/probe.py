"""`gate probe`: parse, call, print, exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gate.exit_codes import ExitCode, ends_with_code

_CACHE = Path(".cache/consentgate")


@ends_with_code("gate")
def probe_command(
    pack: Annotated[
        str,
        typer.Option("--pack", help="bootstrap, edge, or auto: edge when its files can be had."),
    ] = "auto",
    models: Annotated[
        Path | None,
        typer.Option("--models", envvar="GATE_MODELS_DIR", help="Files of the edge pack."),
    ] = None,
    cache: Annotated[
        Path, typer.Option("--cache", envvar="GATE_CACHE_DIR", help="Where models are kept.")
    ] = _CACHE,
    pack_dir: Annotated[
        Path | None, typer.Option("--pack-dir", help="A ready pack's folder; the cache otherwise.")
    ] = None,
    faces: Annotated[
        Path | None,
        typer.Option(
            "--faces",
            help="A folder with one folder of photographs for each person, two people or more; "
            "the sample photographs otherwise, or a folder that holds a copy of those.",
        ),
    ] = None,
    passages: Annotated[
        int, typer.Option("--passages", min=1, help="How many; from 20 on all kinds occur.")
    ] = 20,
    design: Annotated[
        str,
        typer.Option(
            "--design",
            help="single-use (the product), or a careless one for contrast: naive, zeroed, reused.",
        ),
    ] = "single-use",
    naive: Annotated[
        bool, typer.Option("--naive", help="Short for --design naive: it must leave residues.")
    ] = False,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="All four designs one after the other, and a table. Exit code 0 when single-use "
            "is clean and naive is not.",
        ),
    ] = False,
    whole_machine: Annotated[
        bool,
        typer.Option("--whole-machine", help="Search every process that this user may read."),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help="Search this site's running gate and its data folder as well."
        ),
    ] = None,
    scan_pid: Annotated[
        list[int] | None, typer.Option("--scan-pid", hidden=True, help="Search these as well.")
    ] = None,
    yara: Annotated[
        Path | None,
        typer.Option("--yara", help="Write the needles as YARA rules, for a tool of your own."),
    ] = None,
    hold: Annotated[
        bool,
        typer.Option("--hold", help="Keep the processes alive until Enter; print how to scan."),
    ] = False,
    as_json: Annotated[
        str | None, typer.Option("--json", help="Write the report as JSON; - is stdout.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write the report as one self-contained page.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
    low_priority: Annotated[bool, typer.Option("--low-priority", hidden=True)] = False,
) -> ExitCode:
    """Look for what must not remain: walk canaries through a gate, then search everything.

    Builds a canary site in a private folder, enrols a person from photographs and walks passages
    through the real gate, exceptions among them (another person, two faces, nobody, PIN, wrong
    PIN, cloned, tampered, revoked and expired cards, a camera that goes away, a verifier that is
    killed or frozen). Then it searches the memory of every process that is left, every file
    written since, shared memory, swap, core dumps and journal for everything it planted, in all
    its forms. Exit code 0: nothing remains. 3: residues, or the probe could not show that it
    would have found them.
    """
    from gate.probe.command import Options, run

    return run(
        Options(
            pack=pack,
            models=models,
            cache=cache,
            pack_dir=pack_dir,
            faces=faces,
            passages=passages,
            design="naive" if naive else design,
            compare=compare,
            whole_machine=whole_machine,
            config=config,
            scan_pids=tuple(scan_pid or ()),
            yara=yara,
            hold=hold,
            json_to=as_json,
            html_to=html,
            quiet=quiet,
            low_priority=low_priority,
        )
    )
