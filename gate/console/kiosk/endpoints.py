"""The kiosk: one page, one event stream, three things a person can say."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request, Response

from gate.console.deps import GateView, KioskView
from gate.console.kiosk import words
from gate.console.pages import templates
from gate.console.stream import OpenStreams

MAX_PIN_DIGITS = 12


def kiosk_router(gate: GateView, streams: OpenStreams, *, demo: bool) -> APIRouter:
    """Return the kiosk's routes over one gate."""
    router = APIRouter(prefix="/kiosk")
    page = templates("kiosk")

    @router.get("")
    def kiosk(request: Request) -> Response:
        purpose_ko, purpose_en = gate.purpose
        return page.TemplateResponse(
            request,
            "kiosk.html",
            {
                "purpose_ko": purpose_ko,
                "purpose_en": purpose_en,
                "words": words,
                "demo": demo,
            },
        )

    @router.get("/events")
    async def events() -> Response:
        return streams.response(_views(gate))

    @router.post("/pin")
    async def pin(request: Request) -> Response:
        try:
            said = json.loads(await request.body())
            token, digits = said["token"], said["pin"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return Response(status_code=400)
        if not isinstance(token, str) or not _is_pin(digits):
            return Response(status_code=400)
        return Response(status_code=204 if gate.enter_pin(token, digits) else 409)

    @router.post("/pin-lane")
    def pin_lane() -> Response:
        return Response(status_code=204 if gate.choose_pin_lane() else 409)

    @router.post("/leave")
    def leave() -> Response:
        gate.leave()
        return Response(status_code=204)

    return router


def _is_pin(said: object) -> bool:
    return (
        isinstance(said, str) and said.isascii() and said.isdigit() and len(said) <= MAX_PIN_DIGITS
    )


async def _views(gate: GateView) -> AsyncIterator[dict[str, Any]]:
    async for view in gate.kiosk_changes():
        yield event(view)


def event(view: KioskView) -> dict[str, Any]:
    """Return what a page is told of a view: these five things and no other."""
    return {
        "screen": view.screen.value,
        "advice": int(view.advice),
        "camera_on": view.camera_on,
        "deadline_ms": view.deadline_ms,
        "pin_token": view.pin_token,
    }
