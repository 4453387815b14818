"""Starts the retention probe once a night, beside a running gate, and logs what it says."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import IO, Any, Final

from gate.console.deps import Screen
from gate.errors import LedgerFault
from gate.ledger.record import COUNT, Probed
from gate.settings import Settings
from gate.wiring import Assembly

_LOG = logging.getLogger(__name__)

LONGEST: Final = timedelta(hours=1)
END_S: Final = 30.0
"""How long a probe that is ended may take to remove its pictures and keys."""
AT_REST: Final = (Screen.IDLE, Screen.CARD_ONLY, Screen.OUT_OF_ORDER)
NOTHING_SHOWN: Final = Probed(
    needles=0,
    controls_planted=0,
    controls_found=0,
    decoy_hits=0,
    residues=0,
    searched=0,
    not_searched=1,
)
"""The record of a probe that failed: it planted nothing, so it can have shown nothing."""


class Nightly:
    """One probe each day at one time, when nobody stands at the gate. `step` never raises.

    Args:
        at: local time of day; None is never.
        start: starts the probe; its report goes to the given file.
        idle: whether nobody stands at the gate.
        append: writes the record of a finished probe.
        now: local time.
        end_s: see END_S.
    """

    def __init__(
        self,
        at: time | None,
        *,
        start: Callable[[IO[bytes]], subprocess.Popen[bytes]],
        idle: Callable[[], bool],
        append: Callable[[Probed], object],
        now: Callable[[], datetime],
        end_s: float = END_S,
    ) -> None:
        self._at = at
        self._end_s = end_s
        self._start = start
        self._idle = idle
        self._append = append
        self._now = now
        self._due = self._next_after(now())
        self._process: subprocess.Popen[bytes] | None = None
        self._report: IO[bytes] | None = None
        self._ends = now()

    def _next_after(self, moment: datetime) -> datetime | None:
        if self._at is None:
            return None
        due = datetime.combine(moment.date(), self._at, moment.tzinfo)
        return due if due > moment else due + timedelta(days=1)

    def step(self) -> None:
        """Start the probe when it is due, and log it when it has ended. Call often."""
        now = self._now()
        if self._process is not None:
            if self._process.poll() is None and now < self._ends:
                return
            self._finish()
        elif self._due is not None and now >= self._due and self._idle():
            self._due = self._next_after(now)
            self._begin(now)

    def _begin(self, now: datetime) -> None:
        self._ends = now + LONGEST
        try:
            self._report = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the probe ends
            self._process = self._start(self._report)
        except OSError as error:  # no room for its report, or no process
            if self._report is not None:
                self._report.close()
                self._report = None
            self._log(None, error.strerror or "it cannot be started")

    def _finish(self) -> None:
        """Read the report of the probe; one that runs too long is ended."""
        assert self._process is not None
        assert self._report is not None
        late = self._process.poll() is None
        self._end_process()
        self._report.seek(0)
        text = self._report.read()
        self._report.close()
        self._process = self._report = None
        try:
            self._log(record_of(json.loads(text)), "")
        except (ValueError, KeyError, TypeError):
            self._log(None, "it took more than an hour" if late else "it gave no report")

    def _log(self, record: Probed | None, why: str) -> None:
        if record is None:
            _LOG.warning("the nightly retention probe failed: %s; run: gate probe", why)
        elif record.residues:
            _LOG.warning("the nightly retention probe found residues; run: gate probe")
        try:
            self._append(record or NOTHING_SHOWN)
        except LedgerFault as fault:
            _LOG.warning("%s", fault.diagnostics())

    def _end_process(self) -> None:
        assert self._process is not None
        # Asked first, because it has pictures and keys to remove. Its canary gate ends by itself
        # when nobody talks to it any more.
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                return
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self._end_s)

    def close(self) -> None:
        """End a probe under way; it is not logged. Idempotent."""
        if self._process is not None and self._report is not None:
            self._end_process()
            self._report.close()
            self._process = self._report = None


def record_of(report: dict[str, Any]) -> Probed:
    """Return the record of a report as `gate probe --json` writes it.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    return Probed(
        needles=COUNT.clamp(int(report["needles"])),
        controls_planted=COUNT.clamp(int(report["controls_planted"])),
        controls_found=COUNT.clamp(int(report["controls_found"])),
        decoy_hits=COUNT.clamp(int(report["decoy_hits"])),
        residues=COUNT.clamp(int(report["residues"])),
        searched=COUNT.clamp(len(report["searched"])),
        not_searched=COUNT.clamp(len(report["not_searched"])),
    )


def command_of(settings: Settings, config: Path) -> list[str]:
    """Return the command of the nightly probe of one gate."""
    command = [sys.executable, "-I", "-m", "gate", "probe", "--quiet", "--low-priority"]
    command += ["--json", "-", "--config", str(config.resolve()), "--scan-pid", str(os.getpid())]
    command += ["--pack", settings.models.pack, "--pack-dir", str(settings.models.dir)]
    return [*command, "--faces", str(settings.probe.faces)]


def nightly_probe(gate: Assembly, config: Path) -> Nightly:
    """Return the nightly probe of a running gate, as its settings say."""
    settings = gate.settings

    def start(report: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own command
            command_of(settings, config),
            stdin=subprocess.DEVNULL,
            stdout=report,
            stderr=None,  # --quiet: only why it failed, for the gate's own journal
            process_group=0,
        )

    def now() -> datetime:
        return datetime.now().astimezone()

    return Nightly(
        settings.probe.nightly,
        start=start,
        idle=lambda: gate.live.kiosk().screen in AT_REST,
        append=lambda record: gate.ledger.append(record, now()),
        now=now,
    )
