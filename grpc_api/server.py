"""The gRPC server: binds, warms, answers, swaps releases on SIGHUP and drains on SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH
from grpc_reflection.v1alpha import reflection

from feature_repo.errors import LarderError, UnavailableError
from feature_repo.files import replacing
from feature_repo.settings import Settings
from grpc_api.dispatch import Dispatcher
from grpc_api.handlers import handlers
from grpc_api.health import HealthMonitor
from grpc_api.lane import Lane
from grpc_api.messages.describe import Limits
from grpc_api.rpcs import SERVICE, Work
from grpc_api.service import ScoringService
from predictors.loaded import LoadedRelease

log = logging.getLogger(__name__)

GRACE_S = 10.0
_STOP = (signal.SIGTERM, signal.SIGINT)


class ScoringServer:
    """A bound server; make and use it on one event loop. Raises UnavailableError where the address is taken."""

    def __init__(self, settings: Settings, release: LoadedRelease) -> None:
        self.service = ScoringService(release, _limits(settings))
        self.health = HealthMonitor(self.service)
        self._lanes = {work: Lane(work, threads=1, waiting=settings.max_waiting) for work in Work}
        self._server = grpc.aio.server(options=_options(settings))
        self._server.add_generic_rpc_handlers((handlers(Dispatcher(self.service, self._lanes)),))
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, self._server)
        reflection.enable_server_reflection((SERVICE, HEALTH, reflection.SERVICE_NAME), self._server)
        self.port = _bind(self._server, settings)

    async def start(self) -> None:
        """Answer from here on."""
        await self.health.start()
        await self._server.start()

    async def swap(self, release: LoadedRelease) -> None:
        """Answer from another release; requests under way stay with theirs."""
        self.service.release = release
        await self.health.refresh()

    async def drain(self, grace_s: float = GRACE_S) -> None:
        """Report NOT_SERVING, take no more requests, and give those under way `grace_s` seconds to finish."""
        await self.health.stop()
        await self._server.stop(grace_s)
        for lane in self._lanes.values():
            lane.close()


def serve(
    settings: Settings,
    release: LoadedRelease,
    *,
    reload: Callable[[], LoadedRelease] | None = None,
    ready: Callable[[int], None] | None = None,
    port_file: Path | None = None,
    warm: bool = False,
    grace_s: float = GRACE_S,
) -> None:
    """Serve until SIGTERM or SIGINT; call from the main thread.

    `ready` is called with the port, and `port_file` holds it, once requests are answered. `warm` loads the
    embedders first. SIGHUP swaps to what `reload` gives; where that raises a LarderError, the old release stays.
    """

    def warmed(one: LoadedRelease) -> LoadedRelease:
        if warm:
            one.encoders.warm()
        return one

    def announce(port: int) -> None:
        # What is loaded stays: taken out of the collector's sight, it costs no pauses.
        gc.collect()
        gc.freeze()
        if port_file is not None:
            with replacing(port_file) as beside:
                beside.write_text(f"{port}\n")
        if ready is not None:
            ready(port)

    following = None if reload is None else lambda: warmed(reload())
    asyncio.run(_serve(settings, warmed(release), following, announce, grace_s))


async def _serve(
    settings: Settings,
    release: LoadedRelease,
    reload: Callable[[], LoadedRelease] | None,
    announce: Callable[[int], None],
    grace_s: float,
) -> None:
    server = ScoringServer(settings, release)
    with _signals() as received:
        await server.start()
        announce(server.port)
        log.info("serving release %s on %s", release.version, _address(settings.host, server.port))
        while (number := await received.get()) not in _STOP:
            if reload is not None:
                await _reload(server, reload)
        log.info("draining after %s", signal.Signals(number).name)
        await server.drain(grace_s)


@contextmanager
def _signals() -> Iterator[asyncio.Queue[int]]:
    """The signals this process is sent, as a queue."""
    received: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    heard = (*_STOP, signal.SIGHUP)
    for number in heard:
        loop.add_signal_handler(number, received.put_nowait, number)
    try:
        yield received
    finally:
        for number in heard:
            loop.remove_signal_handler(number)


async def _reload(server: ScoringServer, reload: Callable[[], LoadedRelease]) -> None:
    try:
        release = await asyncio.to_thread(reload)
    except LarderError as error:
        log.error("stays with release %s: %s", server.service.release.version, error)
        return
    await server.swap(release)
    log.info("serving release %s", release.version)


def _limits(settings: Settings) -> Limits:
    return Limits(candidates=settings.max_candidates, k=settings.max_k, payload_bytes=settings.max_payload_bytes)


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_payload_bytes),
        ("grpc.so_reuseport", 0),  # else a second server on the port would take half of the calls, unseen
    ]


def _bind(server: grpc.aio.Server, settings: Settings) -> int:
    address = _address(settings.host, settings.port)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise UnavailableError(
            f"cannot listen on {address}: stop what listens there, or set LARDER_PORT (0: any free port) or LARDER_HOST"
        ) from error
    return port


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
