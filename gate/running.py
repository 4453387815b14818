"""`gate run` and `gate console`: until a signal."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from gate import sandbox
from gate.console.app import create_app
from gate.console.deps import ConsoleDeps
from gate.console.serve import serve
from gate.errors import ConfigError
from gate.exit_codes import ExitCode
from gate.ledger.retention import Retention
from gate.ledger.verify.proofs import parse_vkey
from gate.nightly import nightly_probe
from gate.settings import load_settings
from gate.start_lines import key_difference, start_lines
from gate.wiring import assemble


@contextmanager
def until_signal() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set, and give the signals back afterwards."""
    ended = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: ended.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_until_signal(config: Path) -> ExitCode:
    """Run one gate with its pages."""
    settings = load_settings(config)
    sandbox.leave_no_core()  # a PIN is in this process while it is checked
    logging.basicConfig(format="gate: %(message)s", level=logging.WARNING)
    say = Console(stderr=True, highlight=False)
    with until_signal() as ended, assemble(settings) as gate:
        deps = ConsoleDeps(
            settings.ledger.path,
            gate.documents.signer.vkey,
            gate.live,
            settings.gate.mode == "demo",
        )
        with serve(create_app(deps), settings.kiosk.host, settings.kiosk.port) as pages:
            retention = Retention(
                gate.ledger, settings.ledger.keep_days, lambda: datetime.now(UTC), time.monotonic
            )
            retention.prune_when_due()
            nightly = nightly_probe(gate, config)
            lane = threading.Thread(target=gate.runner.run, name="lane", daemon=True)
            lane.start()
            say.print(f"gate {settings.gate.id} runs; kiosk {pages.url}/kiosk", soft_wrap=True)
            say.print(
                f"admin {pages.url}/admin, audit {pages.url}/audit; Ctrl-C or SIGTERM ends it",
                soft_wrap=True,
            )
            for line in start_lines(
                gate.tested,
                gate.host,
                gate.rules.policy,
                gate.rules.face_mode(datetime.now(UTC)),
                len(settings.ledger.witnesses),
            ):
                say.print(f"gate: {line}", soft_wrap=True, markup=False)
            while not ended.wait(0.5) and lane.is_alive():
                retention.prune_when_due()
                nightly.step()
            nightly.close()
            crashed = not ended.is_set()
            gate.runner.stop()
            lane.join(timeout=20.0)
            for line in key_difference(gate.keys.counts, gate.runner.keys_recorded):
                say.print(f"gate: {line}", soft_wrap=True, markup=False)
    if crashed:
        say.print("gate: the lane ended by itself; its reason is in the log")
        return ExitCode.INTERNAL
    say.print("gate stopped; the turnstile is shut, egress is free")
    return ExitCode.OK


def serve_console(ledger: Path, vkey: str, host: str, port: int) -> ExitCode:
    """Serve admin and audit pages of one log.

    Raises:
        ConfigError: there is no log file, no verifier key, or the port cannot be had.
    """
    if not ledger.is_file():
        raise ConfigError(f"{ledger} is not a log file", "name the file that [ledger] path names")
    parse_vkey(vkey)
    app = create_app(ConsoleDeps(ledger, vkey, None, demo=False))
    with until_signal() as ended, serve(app, host, port) as pages:
        Console(stderr=True, highlight=False).print(
            f"admin {pages.url}/admin, audit {pages.url}/audit; Ctrl-C ends it"
        )
        ended.wait()
    return ExitCode.OK
