"""The audit page: promises, the log in plain words, verification, download."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse

from gate.console.audit import words
from gate.console.audit.export import FOLDER, export_tar
from gate.console.deps import ConsoleDeps
from gate.console.logbook import Logbook, quarter
from gate.console.pages import page_context, templates
from gate.console.record_words import Pair, kind, sentence
from gate.errors import GateError, LedgerFault
from gate.ledger.verify import Report, verify_store

NEWEST = 25


@dataclass(frozen=True)
class Line:
    """One record, as the table shows it."""

    seq: int
    begin: datetime
    end: datetime
    kind: Pair
    says: Pair


def audit_router(deps: ConsoleDeps, now: Callable[[], datetime]) -> APIRouter:
    """Return the audit's routes."""
    router = APIRouter(prefix="/audit")
    page = templates("audit")
    log = Logbook(deps.ledger_path)
    verifying = threading.Lock()

    def show(request: Request, status: int = 200, **more: Any) -> Response:
        here, note, lines, fault = now(), "", list[Line](), ""
        try:
            note = log.checkpoint_note()
            lines = [
                Line(e.seq, *quarter(e.batch, here), kind(e.record), sentence(e.record))
                for e in log.newest(NEWEST)
            ]
        except LedgerFault as broken:
            fault = broken.diagnostics()
        context = page_context(request, "audit", demo=deps.demo) | {
            "note": note,
            "lines": lines,
            "log_fault": fault,
            "vkey": deps.ledger_vkey,
            "command": f"gate ledger verify {FOLDER} --vkey {shlex.quote(deps.ledger_vkey)}",
            "unpack": f"tar -xf {FOLDER}.tar",
            "words": words,
            "report": None,
            "steps": [],
            "verify_fault": "",
        }
        return page.TemplateResponse(request, "audit.html", context | more, status_code=status)

    @router.get("")
    def audit(request: Request) -> Response:
        return show(request)

    # Not a coroutine: it runs in a worker thread, and one at a time.
    @router.post("/verify")
    def verify(request: Request) -> Response:
        if not verifying.acquire(blocking=False):
            return PlainTextResponse("a verification is running already\n", status_code=429)
        try:
            report = verify_store(deps.ledger_path, deps.ledger_vkey)
        except GateError as fault:
            return show(request, verify_fault=fault.diagnostics())
        finally:
            verifying.release()
        return show(request, report=report, steps=_steps(report))

    @router.get("/export.tar")
    def export() -> Response:
        try:
            packed = export_tar(deps.ledger_path)
        except LedgerFault as fault:
            return PlainTextResponse(fault.diagnostics() + "\n", status_code=503)
        return StreamingResponse(
            _chunks(packed),
            media_type="application/x-tar",
            headers={"Content-Disposition": f'attachment; filename="{FOLDER}.tar"'},
        )

    return router


def _steps(report: Report) -> list[tuple[int, Pair, str, list[str]]]:
    """Return number, words, state ("good", "bad" or "plain") and problems of each step."""
    lines = []
    for number, said in words.STEPS.items():
        found = [p for p in report.problems if p.startswith(f"step {number}:")]
        state = "bad" if found else "plain" if number == words.KEPT_STEP else "good"
        lines.append((number, said, state, found))
    return lines


def _chunks(packed: IO[bytes]) -> Iterator[bytes]:
    with packed:
        while chunk := packed.read(64 * 1024):
            yield chunk
