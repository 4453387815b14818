"""One probe from the first canary picture to the report."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from firmware_bridge.osdp_key import load_key
from firmware_bridge.sim.turnstile import SimTurnstile
from gate.host_conditions import host_conditions
from gate.probe import places
from gate.probe.canary import Canary, Faces, kinds_of
from gate.probe.card_needles import CONTENT_KEY
from gate.probe.designs import Design
from gate.probe.faults import ProcessEnded
from gate.probe.needles import Needle
from gate.probe.outcome import Outcome
from gate.probe.passages import passages
from gate.probe.processes import (
    AGENT,
    GATE,
    RUNNING,
    Process,
    adopt_orphans,
    all_processes,
    family,
    holders_of,
    readable,
)
from gate.probe.remote_gate import RemoteGate
from gate.probe.search import Search
from gate.probe.walking import Walker, walk_all
from gate.settings import load_settings
from models.pack import load_pack

LOOK_MS: Final = 3000
_LOST_AFTER_FRAMES: Final = 1
_HAND_WALKS_MS: Final = 200
_SHM: Final = Path("/dev/shm")  # noqa: S108


@dataclass(frozen=True)
class Plan:
    """What to probe."""

    pack: str
    pack_folder: Path
    faces: Faces
    count: int
    whole_machine: bool = False
    config: Path | None = None
    """Of a running gate to be searched as well."""
    scan_pids: tuple[int, ...] = ()
    """Processes to be searched as well, with their descendants."""


@dataclass(frozen=True)
class Standing:
    """The canary gate still alive after its passages, for whoever wants to look himself."""

    needles: Sequence[Needle]
    processes: Sequence[Process]


def conduct(
    plan: Plan,
    design: Design,
    tell: Callable[[str], None],
    then: Callable[[Standing], None] = lambda _: None,
) -> Outcome:
    """Walk canaries through a gate of one design, then search everything that is left.

    Args:
        plan: what to probe.
        design: of the canary gate.
        tell: is told what is done and how far.
        then: called after the search, while the canary gate still lives.

    Raises:
        ProbeFault: the passages could not be walked, or a target could not be searched.
        GateError, DeviceFault, ModelFault: the canary site could not be made.
    """
    began_s, began = time.time(), datetime.now(UTC)
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="probe-") as name:
        folder = Path(name)
        tell("canary: pictures, site, enrolment, cards")
        canary = Canary(folder, plan.faces, plan.pack, plan.pack_folder.resolve(), os.urandom)
        canary.enrol()
        config = canary.site.config_path
        key = load_key(load_settings(config, environ={}).turnstile.key_file)
        port = load_settings(config, environ={}).turnstile.port
        first, *rest = passages(plan.count)
        with SimTurnstile(key, link=port, auto_walk_after_ms=_HAND_WALKS_MS):
            lossy = f"{canary.lens.source}&vanish_after={_LOST_AFTER_FRAMES}"
            tell("canary gate with a camera that goes away")
            with RemoteGate(config, design, lossy, LOOK_MS, folder) as gate:
                walked = walk_all(Walker(canary, gate), (first,), tell)
            tell("canary gate")
            with RemoteGate(config, design, canary.lens.source, LOOK_MS, folder) as gate:
                walked += walk_all(Walker(canary, gate), tuple(rest), tell)
                pack = load_pack(plan.pack, plan.pack_folder)
                needles = canary.needles(pack, tell)
                search = Search(
                    needles,
                    random=os.urandom,
                    decoys=canary.decoys(pack),
                    may_remain=may_remain,
                    progress=tell,
                )
                searched = _search_processes(search, plan)
                _search_places(search, plan, canary, began_s, searched)
                then(Standing(needles, searched))
    return Outcome(
        design=design,
        pack=plan.pack,
        walked=tuple(walked),
        kinds=kinds_of(needles),
        report=search.report(),
        host=host_conditions(),
        began=began.strftime("%Y-%m-%d %H:%M UTC"),
        took_s=time.time() - began_s,
    )


def may_remain(needle: str, target: str) -> bool:
    """Whether a secret that is not biometric is expected in a process.

    The key agent made the content key and opens nothing without the card; the gate checked the
    PIN. Nothing that came from a face is expected anywhere.
    """
    if CONTENT_KEY in needle:
        return target.startswith(AGENT)
    return needle in ("PIN", "wrong PIN") and target.startswith(f"{GATE} (")


def _search_processes(search: Search, plan: Plan) -> list[Process]:
    """Search the family of the probe, whom the plan names, and on request everybody."""
    own = family(os.getpid())
    wanted = {process.pid: process for process in own}
    for pid in (*plan.scan_pids, *_site_pids(search, plan)):
        itself = [replace(p, role=RUNNING) for p in all_processes() if p.pid == pid]
        relatives = [p for p in (*family(pid), *itself) if p.pid not in {q.pid for q in own}]
        wanted |= {process.pid: process for process in relatives}
    if plan.whole_machine:
        wanted |= {process.pid: process for process in all_processes()}
    wanted.pop(os.getpid(), None)  # the probe: it holds the needles
    searched = []
    needed = {p.pid for p in own if p.role in (GATE, AGENT)}
    for process in wanted.values():
        if (why := readable(process.pid)) is not None:
            search.passed_over(process.name, f"{why}; run as root")
            continue
        try:
            search.process(process.pid, process.name)
        except ProcessEnded:
            if process.pid in needed:
                raise
            continue  # the kernel has its memory back
        searched.append(process)
    return searched


def _site_pids(search: Search, plan: Plan) -> list[int]:
    if plan.config is None:
        return []
    ledger = load_settings(plan.config).ledger.path
    pids = holders_of(ledger)
    if not pids and not plan.scan_pids:
        search.passed_over("the site's gate", "no process that this user may see holds its log")
    return pids


def _search_places(
    search: Search, plan: Plan, canary: Canary, since_s: float, processes: Sequence[Process]
) -> None:
    """Search files, shared memory, swap, dumps and journal; note what is left out."""

    def take(name: str, found: places.Found) -> None:
        for what, why in found.passed_over:
            search.passed_over(what, why)
        _search_files(search, found.files, name)

    own = places.written_since([canary.folder], since_s, canary.inputs)
    take("canary site: log, database, keys, cards", own)
    if plan.config is not None:
        settings = load_settings(plan.config)
        folders = [settings.gate.data_dir, settings.ledger.path.parent]
        take("the site's data folder and log", places.written_since(folders, 0.0))
    take("shared memory /dev/shm", places.written_since([_SHM], 0.0) if _SHM.is_dir() else _NO_SHM)
    take("nameless open files", places.open_but_deleted(p.pid for p in processes))
    cwds = [canary.folder, Path.cwd()]
    take("core dumps", places.core_dumps(since_s, cwds))
    take("swap", places.swap())
    left_out = (canary.folder,)
    roots = places.usual_roots([canary.folder, Path.cwd()])
    take("files written since the start", places.written_since(roots, since_s, left_out))
    export = places.journal(since_s)
    if isinstance(export, str):
        search.passed_over("journal", export)
    else:
        with export:
            assert export.stdout is not None
            search.stream(export.stdout, "journal")


_NO_SHM: Final = places.Found((), ((str(_SHM), "does not exist here"),))


def _search_files(search: Search, files: Sequence[Path], name: str) -> None:
    """Search files that others may remove meanwhile: a file that is gone holds nothing."""
    search.files([file for file in files if file.exists()], name, gone_is_clean=True)
