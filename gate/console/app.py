"""The pages of one gate: kiosk, admin, audit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from starlette.middleware import Middleware
from starlette.staticfiles import StaticFiles

from gate.console.admin.endpoints import admin_router
from gate.console.audit.endpoints import audit_router
from gate.console.deps import ConsoleDeps
from gate.console.guard import MAX_BODY_BYTES, SameOrigin, SecurityHeaders
from gate.console.kiosk.endpoints import kiosk_router
from gate.console.log.endpoints import log_router
from gate.console.pages import ROOT
from gate.console.stream import OpenStreams


def _local_now() -> datetime:
    return datetime.now().astimezone()


def create_app(deps: ConsoleDeps, now: Callable[[], datetime] = _local_now) -> FastAPI:
    """Return the pages over `deps`. Without a gate there is no kiosk area.

    There is no login here: who may reach admin and audit is the business of `serve` (this
    machine only) or of a proxy in front.

    Args:
        deps: what the pages read.
        now: an aware moment in the time zone of the people who read the pages.
    """
    app = FastAPI(
        title="ConsentGate",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        max_body_size=MAX_BODY_BYTES,
        # A trace of requests is a trace of people: none is made, whatever the environment says.
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(SameOrigin, guarded=("/kiosk",)),
        ],
    )
    app.state.has_kiosk = deps.gate is not None
    app.state.streams = OpenStreams()
    app.mount("/static", StaticFiles(directory=ROOT / "static"))
    app.mount("/admin/static", StaticFiles(directory=ROOT / "admin" / "static"))
    app.include_router(admin_router(deps, now))
    app.include_router(audit_router(deps, now))
    app.include_router(log_router(deps))
    if deps.gate is not None:
        app.mount("/kiosk/static", StaticFiles(directory=ROOT / "kiosk" / "static"))
        app.include_router(kiosk_router(deps.gate, app.state.streams, demo=deps.demo))
    first = "/kiosk" if deps.gate is not None else "/audit"
    app.add_api_route("/", lambda: RedirectResponse(first), methods=["GET"])
    return app
