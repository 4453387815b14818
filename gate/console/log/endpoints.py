"""The log as C2SP tlog-tiles under /log: checkpoint, hash tiles, entry bundles.

Read from the log file beside the gate, so a reader never makes the writer wait. Every tile of
every earlier size is there, so it fits whichever checkpoint a client holds. 404 for what the log
does not have, or has no longer because it was pruned.
"""

from __future__ import annotations

import gzip

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from gate.console.deps import ConsoleDeps
from gate.errors import LedgerFault
from gate.ledger.reading import LogView, reading
from gate.ledger.tile_source import Busy, LogFileTiles
from gate.ledger.tiles import parse_path

FOR_EVER = "public, max-age=31536000, immutable"
"""A tile never changes."""
READS = ["GET", "HEAD"]


def log_router(deps: ConsoleDeps) -> APIRouter:
    """Return the routes of the log."""
    router = APIRouter(prefix="/log")
    tiles = LogFileTiles(deps.ledger_path)

    # No coroutines: each runs in a worker thread, beside the kiosk's event loop.
    @router.api_route("/checkpoint", methods=READS)
    def checkpoint() -> Response:
        """Answer the newest checkpoint, with the co-signatures that it has already."""
        try:
            with reading(deps.ledger_path) as log:
                return _note(_newest(log))
        except LedgerFault as fault:
            return _fault(fault)

    @router.api_route("/cosigned", methods=READS)
    def cosigned() -> Response:
        """Answer the newest checkpoint that a witness co-signed."""
        try:
            with reading(deps.ledger_path) as log:
                return _note(next((_cosigned(log, size) for _, size, _ in log.cosigned()), ""))
        except LedgerFault as fault:
            return _fault(fault)

    @router.api_route("/tile/{path:path}", methods=READS)
    def tile(path: str, request: Request) -> Response:
        name = parse_path(path)
        if name is None:
            return _absent()
        try:
            content = tiles.tile(name)
        except LedgerFault as fault:
            return _fault(fault)
        if content is None:
            return _absent()
        headers = {"Cache-Control": FOR_EVER, "Vary": "Accept-Encoding"}
        # Hashes do not get smaller; records do, by nine tenths.
        if name.level is None and "gzip" in request.headers.get("accept-encoding", ""):
            content = gzip.compress(content, mtime=0)
            headers["Content-Encoding"] = "gzip"
        return Response(content, media_type="application/octet-stream", headers=headers)

    return router


def _newest(log: LogView) -> str:
    return _cosigned(log, log.size()) or log.newest_note()


def _cosigned(log: LogView, size: int) -> str:
    """Return the note of a size with every co-signature at hand, or an empty text."""
    merged = ""
    for _, found, note in log.cosigned():
        if found == size:
            known = set(merged.splitlines())
            signatures = note.rpartition("\n\n")[2].splitlines(keepends=True)
            more = "".join(line for line in signatures if line.rstrip("\n") not in known)
            merged = merged + more if merged else note
    return merged


def _note(note: str) -> Response:
    return PlainTextResponse(note) if note else _absent()


def _absent() -> Response:
    return PlainTextResponse("the log has no such thing\n", status_code=404)


def _fault(fault: LedgerFault) -> Response:
    headers = {"Retry-After": "1"} if isinstance(fault, Busy) else None
    return PlainTextResponse(fault.diagnostics() + "\n", status_code=503, headers=headers)
