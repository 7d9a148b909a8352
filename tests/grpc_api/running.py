"""A server on an event loop of its own thread, for tests that call it from outside."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from feature_repo.recorder import Recorder
from feature_repo.settings import Settings
from grpc_api.server import ScoringServer
from grpc_api.service import ScoringService
from predictors.loaded import LoadedRelease

T = TypeVar("T")
_WAIT_S = 60


class RunningServer:
    """A `ScoringServer` whose coroutines are waited for."""

    def __init__(self, server: ScoringServer, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self._loop = loop

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def service(self) -> ScoringService:
        return self.server.service

    def swap(self, release: LoadedRelease) -> None:
        self.wait(self.server.swap(release))

    def refresh(self) -> None:
        self.wait(self.server.health.refresh())

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.begin(coroutine).result(_WAIT_S)

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)


@contextmanager
def running(
    settings: Settings, release: LoadedRelease, open_recorder: Callable[[], Recorder] | None = None
) -> Iterator[RunningServer]:
    """A started server; what its making raises is raised here."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="server")
    thread.start()

    async def make() -> ScoringServer:
        server = ScoringServer(settings, release, open_recorder)
        await server.start()
        return server

    try:
        server = asyncio.run_coroutine_threadsafe(make(), loop).result(_WAIT_S)
        try:
            yield RunningServer(server, loop)
        finally:
            asyncio.run_coroutine_threadsafe(server.drain(0), loop).result(_WAIT_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
