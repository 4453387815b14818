"""The admin page, and the part of it that renews itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response

from firmware_bridge.ports import Link, TurnstileStatus
from gate.console.admin.plot import plot
from gate.console.deps import ConsoleDeps
from gate.console.logbook import MINIMUM_COUNT, Day, Logbook, Tally, quarter
from gate.console.pages import page_context, templates
from gate.console.record_words import REASONS, Pair
from gate.errors import LedgerFault
from gate.ledger.encoding import batch_of
from gate.passage.decision import DenyReason

LINKS: dict[Link, Pair] = {
    Link.ONLINE: ("연결됨", "connected"),
    Link.OFFLINE: ("연결 끊김", "not connected"),
    Link.WRONG_KEY: ("키가 다름", "another key"),
}


def admin_router(deps: ConsoleDeps, now: Callable[[], datetime]) -> APIRouter:
    """Return the admin's routes."""
    router = APIRouter(prefix="/admin")
    page = templates("admin")
    log = Logbook(deps.ledger_path)

    def show(request: Request, name: str) -> Response:
        context = page_context(request, "admin", demo=deps.demo)
        context |= _state(deps, log, now())
        return page.TemplateResponse(request, name, context)

    @router.get("")
    def admin(request: Request) -> Response:
        return show(request, "admin.html")

    @router.get("/panels")
    def panels(request: Request) -> Response:
        return show(request, "panels.html")

    return router


def _state(deps: ConsoleDeps, log: Logbook, here: datetime) -> dict[str, Any]:
    day, log_fault = None, ""
    try:
        day = log.day(here)
    except LedgerFault as fault:
        log_fault = fault.diagnostics()
    return {
        "gate": deps.gate,
        "turnstile": None if deps.gate is None else _turnstile(deps.gate.turnstile()),
        "counts": None if deps.gate is None else deps.gate.turnstile(),
        "health": [] if deps.gate is None else deps.gate.health(),
        "day": day,
        "plot": None if day is None else plot(day),
        "log_fault": log_fault,
        "at": here,
        "quarters": [] if day is None else _quarters(day, here),
        "reason_words": lambda value: REASONS[DenyReason(value)],
        "minimum": MINIMUM_COUNT,
    }


def _quarters(day: Day, here: datetime) -> list[tuple[datetime, Tally, Tally]]:
    """Return begin, grants and denials of each quarter of an hour that had any."""
    first = batch_of(here.replace(hour=0, minute=0, second=0, microsecond=0))
    return [
        (quarter(first + slot, here)[0], grants, denials)
        for slot, (grants, denials) in enumerate(zip(day.grants, day.denials, strict=True))
        if grants.shown != 0 or denials.shown != 0
    ]


def _turnstile(status: TurnstileStatus) -> list[tuple[Pair, str, Pair]]:
    """Return what, state ("good", "bad" or "plain"), and words, a line for each reading."""
    online = status.link is Link.ONLINE
    lines: list[tuple[Pair, str, Pair]] = [
        (("연결", "line"), "good" if online else "bad", LINKS[status.link])
    ]
    if not online:
        # Whatever was read before says nothing about now.
        return lines
    return [
        *lines,
        (
            ("상태", "state"),
            "good" if status.ready else "bad",
            ("준비됨", "ready") if status.ready else ("준비되지 않음", "not ready"),
        ),
        (
            ("릴레이", "entry relay"),
            "plain",
            ("열림 신호 중", "active") if status.relay_active else ("쉬는 중", "at rest"),
        ),
        _alarm(("덮개", "tamper"), status.tamper, ("건드려짐", "alarm")),
        _alarm(("전원", "power"), status.power_fault, ("고장", "fault")),
        _alarm(("화재 신호", "fire signal"), status.fire, ("들어옴: 나가는 길 열림", "active")),
    ]


def _alarm(what: Pair, alarm: bool, words: Pair) -> tuple[Pair, str, Pair]:
    return (what, "bad", words) if alarm else (what, "good", ("정상", "normal"))
