"""What every answer carries and what every request must be, before a page sees it."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 1024
"""The largest request body: a PIN prompt's token and a PIN are far below it."""

SECURITY_HEADERS = {
    # Only our own files; no inline script or style; no page may frame us.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types gate"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not "no-referrer": that would blank the Origin header of our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # The pages themselves can never reach a camera: only a verifier can.
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), usb=(), serial=()",
}


class SecurityHeaders:
    """Adds SECURITY_HEADERS to every answer, and `no-store` to all but static files and tiles."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and dress the answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                is_static = "/static/" in scope["path"]
                # A tile of the log says itself that it never changes.
                if not (scope["path"].startswith("/log/tile/") and "cache-control" in headers):
                    headers["Cache-Control"] = "no-cache" if is_static else "no-store"
            await send(message)

        await self.app(scope, receive, dressed)


class SameOrigin:
    """Refuses (403) what another site's page makes a browser send.

    Under the guarded paths every request, elsewhere every request that is not GET or HEAD.
    Facts used: Sec-Fetch-Site (W3C Fetch Metadata) and Origin (RFC 6454). A page cannot forge
    either. A request with neither may read, never act.
    """

    def __init__(self, app: ASGIApp, guarded: tuple[str, ...]) -> None:
        self.app = app
        self.guarded = guarded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        if scope["type"] == "http":
            reads = scope["method"] in ("GET", "HEAD")
            guarded = scope["path"].startswith(self.guarded) if self.guarded else False
            if (guarded or not reads) and not is_same_origin(Headers(scope=scope), reads=reads):
                refusal = PlainTextResponse("only this page may ask that\n", status_code=403)
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)


def is_same_origin(headers: Headers, *, reads: bool) -> bool:
    """Whether a browser says that our own page, or the person at the address bar, asks.

    Args:
        headers: of the request.
        reads: the request is GET or HEAD.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site not in (("same-origin", "none") if reads else ("same-origin",)):
        return False
    host = headers.get("host", "")
    # Either scheme: a proxy in front may speak TLS for us.
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        return False
    return reads or site is not None or origin is not None
