"""`gate probe`: models, progress, one or all designs, and the reports."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from gate.errors import ConfigError
from gate.exit_codes import ExitCode
from gate.model_packs import progress_bars
from gate.probe.canary import Faces
from gate.probe.conduct import Plan, Standing, conduct
from gate.probe.controls import holding, plant, random_needles
from gate.probe.designs import Design
from gate.probe.needles import Needle
from gate.probe.outcome import Outcome, table
from gate.probe.page import page
from gate.probe.yara import write_rules
from gate.whole_file import PUBLIC, write_whole
from models.errors import ModelFault
from models.fetch import Report, fetch_pack, fetch_sample_photos
from models.verified import verify_pack

STDOUT: Final = "-"
_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Options:
    """What the command line said."""

    pack: str
    models: Path | None
    cache: Path
    pack_dir: Path | None
    faces: Path | None
    passages: int
    design: str
    compare: bool
    whole_machine: bool
    config: Path | None
    scan_pids: tuple[int, ...]
    yara: Path | None
    hold: bool
    json_to: str | None
    html_to: Path | None
    quiet: bool
    low_priority: bool


def run(options: Options) -> ExitCode:
    """Probe and report; NO when something remained, or the probe could not show that it finds.

    Raises:
        ConfigError, ProbeFault, ModelFault, DeviceFault: no probe.
    """
    designs = list(Design) if options.compare else [_design(options.design)]
    if options.low_priority:
        with contextlib.suppress(OSError):
            os.nice(19)
    say = Console(stderr=True, highlight=False, quiet=options.quiet)
    plan = _plan(options, say)
    outcomes = []
    with _leaving_nothing():
        for design in designs:
            with _status(say, design) as tell:
                holds = _Hold(options, say)
                outcomes.append(conduct(plan, design, tell, holds if holds.wanted else _pass))
    _report(options, outcomes)
    return _answer(outcomes, compare=options.compare)


@contextmanager
def _leaving_nothing() -> Iterator[None]:
    """Make the signals that end a process end it as Ctrl-C does: pictures and keys go first."""

    def end(number: int, _frame: object) -> None:
        for each in (*_ENDING, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)  # a second one must not disturb the first
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _design(name: str) -> Design:
    try:
        return Design(name)
    except ValueError:
        raise ConfigError(
            f"there is no design '{name}'", f"choose one of {', '.join(d.value for d in Design)}"
        ) from None


def _answer(outcomes: list[Outcome], *, compare: bool) -> ExitCode:
    if not compare:
        return ExitCode.OK if all(one.clean for one in outcomes) else ExitCode.NO
    by_design = {one.design: one for one in outcomes}
    naive = by_design[Design.NAIVE]
    caught = naive.residues > 0 and naive.report.can_find
    return ExitCode.OK if by_design[Design.SINGLE_USE].clean and caught else ExitCode.NO


def _plan(options: Options, say: Console) -> Plan:
    cache = options.cache.resolve()
    with progress_bars(say) as report:
        faces = (
            Faces.samples(fetch_sample_photos(cache, report))
            if options.faces is None
            else Faces.in_folder(options.faces)
        )
        pack, folder = _models(options, cache, report)
    return Plan(
        pack=pack,
        pack_folder=folder,
        faces=faces,
        count=options.passages,
        whole_machine=options.whole_machine,
        config=options.config,
        scan_pids=options.scan_pids,
    )


def _models(options: Options, cache: Path, report: Report) -> tuple[str, Path]:
    """Return the pack's name and folder; auto is edge where its files can be had."""
    pack = options.pack
    if pack == "auto":
        cached = (cache / "packs" / "edge").is_dir()
        pack = "edge" if options.models is not None or cached else "bootstrap"
    if options.pack_dir is not None:
        verify_pack(options.pack_dir, pack)
        return pack, options.pack_dir
    try:
        return pack, fetch_pack(pack, cache, options.models, report)
    except ModelFault:
        if options.pack != "auto" or pack == "bootstrap":
            raise
        return "bootstrap", fetch_pack("bootstrap", cache, None, report)


class _Tell:
    """Shows progress: on a terminal in one line, elsewhere one line a step."""

    def __init__(self, say: Console, show: object) -> None:
        self._say, self._show = say, show
        self._last = ""

    def __call__(self, line: str) -> None:
        """Show one step."""
        if self._say.is_terminal:
            update = getattr(self._show, "update")  # noqa: B009 - rich's Status
            update(line)
        elif (step := line.partition(",")[0]) != self._last:
            self._last = step
            self._say.print(line, markup=False, soft_wrap=True)


@contextmanager
def _status(say: Console, design: Design) -> Iterator[_Tell]:
    with say.status(f"probe {design.value}") as show:
        tell = _Tell(say, show)
        tell(f"design {design.value}")
        yield tell


def _pass(_standing: Standing) -> None:
    """Leave the processes to their end."""


class _Hold:
    """Writes the YARA rules, and keeps everything alive until Enter."""

    def __init__(self, options: Options, say: Console) -> None:
        self._options, self._say = options, say
        self.wanted = options.yara is not None or options.hold

    def __call__(self, standing: Standing) -> None:
        controls = random_needles("control", os.urandom)
        path = self._options.yara or Path(tempfile.gettempdir()) / f"probe-{os.getpid()}.yar"
        try:
            write_rules(path, standing.needles, controls)
            if self._options.hold:
                self._until_enter(standing, controls, path)
        finally:
            if self._options.yara is None:
                path.unlink(missing_ok=True)

    def _until_enter(self, standing: Standing, controls: list[Needle], path: Path) -> None:
        with holding(plant(controls)) as helper:
            out = [f"# {len(standing.processes)} processes are held; scan them, then press Enter"]
            out += [f"yara {path} {p.pid}    # {p.name}" for p in standing.processes]
            out += [f"yara {path} {helper}    # the helper: the control rules must match"]
            print("\n".join(out), flush=True)  # noqa: T201
            sys.stdin.readline()


def _report(options: Options, outcomes: list[Outcome]) -> None:
    documents = [one.as_json() for one in outcomes]
    text = json.dumps(documents if options.compare else documents[0], ensure_ascii=False, indent=1)
    if options.html_to is not None:
        _write(options.html_to, page(outcomes))
    if options.json_to not in (None, STDOUT):
        _write(Path(str(options.json_to)), f"{text}\n")
    if options.json_to == STDOUT:
        print(text)  # noqa: T201
        return
    for one in outcomes:
        print("\n".join(one.lines()))  # noqa: T201
    if options.compare:
        print("\n".join(["", *table(outcomes)]))  # noqa: T201


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text.encode(), PUBLIC)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}", "name a file in a folder of yours"
        ) from None
