"""uvicorn inside the server's own event loop."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from feature_repo.errors import UnavailableError
from feature_repo.settings import Settings
from grpc_api.dispatch import Dispatcher
from grpc_api.gateway.app import make_app
from grpc_api.gateway.calls import CERTIFIED, Answerer
from grpc_api.lane import Lane
from grpc_api.security import certified
from grpc_api.security.guard import Guard

HEAD_S = 10  # a request's head takes no longer, or the connection is closed
HEAD_BYTES = 16 * 1024
CONNECTIONS = 1000


class Gateway:
    """The HTTP side of a server, bound; use it on the server's event loop. Raises UnavailableError."""

    def __init__(self, settings: Settings, dispatcher: Dispatcher, guard: Guard, ready: Callable[[], bool]) -> None:
        self._socket = _bound(settings)
        self.port: int = self._socket.getsockname()[1]
        self.lane = Lane("json", settings.max_waiting, settings.max_waiting_s)
        answerer = Answerer(dispatcher, guard.gate, self.lane, settings.max_payload_bytes)
        certificates = guard.certificates
        config = uvicorn.Config(
            make_app(answerer, ready, settings.http_origins),
            http=_PunctualProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS,
            h11_max_incomplete_event_size=HEAD_BYTES,
            ssl_context_factory=None if certificates is None else lambda *_: certificates.for_http(),
        )
        self._server = _EmbeddedServer(config)
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Answer from here on."""
        self.lane.start()
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started:
            await asyncio.wait([self._serving], timeout=0.01)
            if self._serving.done():
                self._serving.result()

    async def stop(self, grace_s: float) -> None:
        """Take no more requests, and give those under way `grace_s` seconds to finish."""
        if self._serving is not None:
            self._server.config.timeout_graceful_shutdown = math.ceil(grace_s)
            self._server.should_exit = True
            await self._serving
        await self.lane.close()


class _EmbeddedServer(uvicorn.Server):
    """Signals are the business of `serve`."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _PunctualProtocol(H11Protocol):
    """HTTP/1.1 that says whose certificate a connection showed, and hangs up on those who never finish the head of a
    request: uvicorn would wait for ever.
    """

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {CERTIFIED: certified.over_http(transport)}  # of which each request gets a copy
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._cancel()

    def _watch(self) -> None:
        """Start the clock while no request is under way; stop it when one is."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._cancel()
        elif self._late is None:
            self._late = self.loop.call_later(HEAD_S, self.transport.close)

    def _cancel(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def _bound(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(settings.reuse_port))
    try:
        bound.bind((settings.host, settings.http_port or 0))
    except OSError as error:
        bound.close()
        raise UnavailableError(
            f"cannot listen on {settings.host} port {settings.http_port}: stop what listens there, or set "
            "LARDER_HTTP_PORT (0: any free port) or LARDER_HOST"
        ) from error
    return bound
