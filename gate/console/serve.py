"""Run the pages in a thread of this process."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
import time
from types import TracebackType
from typing import Self

import uvicorn
from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from gate.errors import ConfigError

START_TIMEOUT_S = 10.0
CONNECTIONS_MAX = 64
"""Open at once: screens and consoles need a few each."""
SILENT_S = 5.0
"""How long a connection may at least take to ask something, and at most twice as long."""


class _Door(H11Protocol):
    """One connection. Too many, or one that asks nothing, would use up the gate's descriptors."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or end it at once when there are enough."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            transport.abort()
            return
        self.loop.call_later(SILENT_S, self._end_if_silent, self.cycle)

    def _end_if_silent(self, before: object, waited: bool = True) -> None:
        """End a connection that owes the rest of one request since the last look.

        A byte now and then is no answer to that: whoever holds all connections open so would
        keep everybody else out.
        """
        if self.transport.is_closing():
            return
        # None until the first request's head was read, whatever its type says.
        asked: RequestResponseCycle | None = self.cycle
        owes = asked is None or asked.response_complete or asked.more_body
        if owes and waited and asked is before:
            self.transport.abort()
            return
        self.loop.call_later(SILENT_S, self._end_if_silent, asked, owes)


class _Server(uvicorn.Server):
    """Ends the open event streams first: they would hold the shutdown back."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.streams.end_all()
        await super().shutdown(sockets=sockets)


class Serving:
    """Pages that are being served. Close it, or use it as a context manager."""

    def __init__(self, server: uvicorn.Server, line: socket.socket) -> None:
        self._server = server
        self._line = line
        self.host, self.port = line.getsockname()[:2]
        self._thread = threading.Thread(
            target=server.run, kwargs={"sockets": [line]}, name="console", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """The real address, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def alive(self) -> bool:
        """Whether pages are answered."""
        return self._thread.is_alive() and self._server.started

    def wait_started(self) -> None:
        """Block until pages are answered.

        Raises:
            ConfigError: the server did not come up.
        """
        end_s = time.monotonic() + START_TIMEOUT_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > end_s:
                self.close()
                raise ConfigError(f"the pages at {self.url} did not start", "see the lines above")
            time.sleep(0.005)

    def close(self) -> None:
        """End every open page and release the port. Idempotent."""
        self._server.should_exit = True
        self._thread.join(timeout=START_TIMEOUT_S)
        self._line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()


def serve(
    app: FastAPI, host: str = "127.0.0.1", port: int = 0, *, allow_remote_kiosk: bool = False
) -> Serving:
    """Serve `app` (from create_app) in a thread and return once it answers.

    Args:
        app: the pages.
        host: an address of this machine, or "localhost".
        port: 0 takes a free one; the real one is in the answer.
        allow_remote_kiosk: let other machines reach an app that has the kiosk and the live gate.
            There is no login: only behind a proxy that has one.

    Raises:
        ConfigError: the port is busy or not ours, the host is not this machine's, or the kiosk
            would leave this machine without being allowed to.
    """
    loopback = _is_loopback(host)
    if app.state.has_kiosk and not loopback and not allow_remote_kiosk:
        raise ConfigError(
            f"the kiosk would be reachable from other machines at {host}",
            "use 127.0.0.1, or allow it explicitly behind a proxy with a login",
        )
    line = _bind(host, port)
    # A name that an attacker points at 127.0.0.1 must not reach the kiosk (DNS rebinding).
    served = TrustedHostMiddleware(app, ["localhost", "127.0.0.1", "[::1]"]) if loopback else app
    config = uvicorn.Config(
        served,
        loop="asyncio",
        http=_Door,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,  # it would be a trace of people
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=2,
    )
    serving = Serving(_Server(config, app), line)
    serving.wait_started()
    return serving


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _bind(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        line = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        raise ConfigError(f"no such address: {host}", "use 127.0.0.1") from None
    try:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        line.bind((host, port))
        line.listen()
    except OSError as error:
        line.close()
        raise ConfigError(
            f"cannot serve pages at {host} port {port}: {error.strerror}",
            "end the other program, or choose another port (0 takes a free one)",
        ) from None
    return line
