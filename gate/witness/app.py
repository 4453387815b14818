"""The witness over HTTP: POST /add-checkpoint (C2SP tlog-witness), and who it is."""

from __future__ import annotations

from datetime import UTC, datetime

from anyio import to_thread
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.requests import ClientDisconnect

from gate.console.stream import OpenStreams
from gate.witness.judge import Witness
from gate.witness.request import BODY_BYTES_MAX


def create_app(witness: Witness) -> FastAPI:
    """Return the app of one witness. It keeps no trace of who asked."""
    app = FastAPI(
        title="ConsentGate witness",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        max_body_size=BODY_BYTES_MAX,
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
    )
    app.state.has_kiosk = False
    app.state.streams = OpenStreams()

    async def add_checkpoint(request: Request) -> Response:
        try:
            body = await request.body()
        except ClientDisconnect:  # nobody hears the answer; a traceback for each would fill a disk
            return PlainTextResponse("the request ended too early\n", status_code=400)
        answer = await to_thread.run_sync(witness.add_checkpoint, body)
        # Not media_type: Starlette would add a charset to text/x.tlog.size.
        return Response(
            answer.body.encode(), answer.status, headers={"Content-Type": answer.content_type}
        )

    def about() -> str:
        lines = ["A witness of transparency logs (C2SP tlog-witness).", witness.vkey, ""]
        for seen, refused in witness.known():
            at = datetime.fromtimestamp(seen.time_s, UTC)
            doubt = f"; {refused} that did not fit were REFUSED" if refused else ""
            lines.append(f"{seen.origin}: {seen.size} records, {at:%Y-%m-%d %H:%M:%S}Z{doubt}")
        return "\n".join(lines) + "\n"

    app.add_api_route("/add-checkpoint", add_checkpoint, methods=["POST"])
    app.add_api_route("/", about, methods=["GET"], response_class=PlainTextResponse)
    return app
