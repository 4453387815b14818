"""The canary gate: `python -I -m gate.probe.gate_process CONFIG DESIGN CAMERA LOOK_MS`.

A whole gate with its pages, in a process of its own, so that nothing of the probe lies in the
memory that is searched. It says on stdout, one JSON line each, what a person at the kiosk sees
and how passages end; it stops at the end of stdin. Pictures, needles and PINs never go this way.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

from firmware_bridge.errors import DeviceFault
from firmware_bridge.ports import Link
from gate.console.app import create_app
from gate.console.deps import ConsoleDeps, KioskView
from gate.console.serve import serve
from gate.demo.scenarios import actual
from gate.errors import GateError
from gate.passage.report import PassageReport
from gate.passage.session import DEADLINE_MS, State
from gate.probe.designs import Design, verifiers_of
from gate.settings import load_settings
from gate.wiring import Assembly, assemble
from models.errors import ModelFault

CANARY_DEADLINE_MS: Final[Mapping[State, int | None]] = MappingProxyType(
    {**DEADLINE_MS, State.REFUSED: 150, State.CROSSING: 4_000, State.LOOK: 20_000}
)
_WATCH_S: Final = 0.01


class _Says:
    """Writes one JSON object a line, from any thread."""

    def __init__(self) -> None:
        self._turn = threading.Lock()

    def __call__(self, **facts: object) -> None:
        with self._turn:
            print(json.dumps(facts), flush=True)  # noqa: T201


def _seen(view: KioskView, *, online: bool) -> dict[str, object]:
    return {
        "screen": view.screen.value,
        "camera_on": view.camera_on,
        "pin_token": view.pin_token,
        "online": online,
    }


def _watch(gate: Assembly, say: _Says, ended: threading.Event) -> None:
    """Tell what the kiosk shows, each time it changes."""
    last: dict[str, object] = {}
    while not ended.wait(_WATCH_S):
        online = gate.turnstile.status().link is Link.ONLINE
        now = _seen(gate.live.kiosk(), online=online)
        if now != last:
            say(kiosk=now)
            last = now


def _told(report: PassageReport) -> dict[str, object]:
    happened = actual(report)
    return {
        "lane": None if happened.lane is None else happened.lane.value,
        "reasons": [reason.value for reason in happened.reasons],
        "recorded": bool(report.decisions) and not report.unrecorded,
    }


@contextmanager
def _running(*threads: threading.Thread) -> Iterator[None]:
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join(timeout=20.0)


def main(arguments: list[str]) -> int:
    """Run the gate until stdin ends. Return the exit code."""
    config, design, camera, look_ms = arguments
    say = _Says()
    settings = load_settings(
        Path(config),
        environ={
            "GATE_CAMERA_SOURCE": camera,
            "GATE_CAMERA_LOOK_MS": look_ms,
            "GATE_KIOSK_PORT": "0",
        },
    )
    ended = threading.Event()
    with assemble(
        settings,
        deadline_ms=CANARY_DEADLINE_MS,
        on_passage=lambda report: say(passage=_told(report)),
        verifiers_of=verifiers_of(Design(design)),
    ) as gate:
        signer = gate.documents.signer.vkey
        deps = ConsoleDeps(settings.ledger.path, signer, gate.live, demo=True)
        lane = threading.Thread(target=gate.runner.run, name="lane", daemon=True)
        watch = threading.Thread(target=_watch, args=(gate, say, ended), daemon=True)
        with serve(create_app(deps)) as pages, _running(lane, watch):
            try:
                gate.verifiers.wait_ready(timeout_s=60.0)
                say(ready={"pages": pages.url, "pids": gate.pids})
                for _line in sys.stdin:
                    gate.verifiers.wait_ready(timeout_s=60.0)
                    say(spare=True)
            finally:
                ended.set()
                gate.runner.stop()
    return 0


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except (GateError, DeviceFault, ModelFault) as error:
        print(error.diagnostics(), file=sys.stderr)  # noqa: T201
        code = 1
    sys.exit(code)
