"""Server-sent events: changes as they come, a beat in between, an end when the server ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi.sse import format_sse_event
from starlette.responses import StreamingResponse

BEAT_S = 2.0
"""A page that hears nothing for three beats knows that it is alone."""

RETRY_MS = 1000


class OpenStreams:
    """All event streams of one app, so that a closing server can end them."""

    def __init__(self) -> None:
        self._ends: set[asyncio.Event] = set()
        self._over = False

    def end_all(self) -> None:
        """End every stream, now and from now on. Call it on the server's loop."""
        self._over = True
        for end in self._ends:
            end.set()

    async def events(self, changes: AsyncIterator[Mapping[str, Any]]) -> AsyncIterator[bytes]:
        """Yield the wire form of each change, and a beat every BEAT_S.

        Source: WHATWG HTML, 9.2 Server-sent events.
        """
        end = asyncio.Event()
        if self._over:
            return
        self._ends.add(end)
        ending = asyncio.ensure_future(end.wait())
        coming = asyncio.ensure_future(anext(changes, None))
        try:
            yield format_sse_event(retry=RETRY_MS, event="beat", data_str="0")
            while True:
                await asyncio.wait(
                    (coming, ending), timeout=BEAT_S, return_when=asyncio.FIRST_COMPLETED
                )
                if ending.done():
                    return
                if not coming.done():
                    yield format_sse_event(event="beat", data_str="0")
                    continue
                change = coming.result()
                if change is None:
                    return
                yield format_sse_event(data_str=json.dumps(change, separators=(",", ":")))
                coming = asyncio.ensure_future(anext(changes, None))
        finally:
            self._ends.discard(end)
            for task in (coming, ending):
                task.cancel()
            await asyncio.wait((coming, ending))

    def response(self, changes: AsyncIterator[Mapping[str, Any]]) -> StreamingResponse:
        """Return the answer that streams `changes`."""
        return StreamingResponse(
            self.events(changes),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},  # a proxy in front must not hold events back
        )
