"""The gRPC server: binds, warms, answers, swaps releases on SIGHUP and drains on SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import uvloop
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH
from grpc_reflection.v1alpha import reflection

from feature_repo.errors import LarderError
from feature_repo.recorder import Recorder
from feature_repo.settings import Settings
from grpc_api import memory
from grpc_api.answers.raw import RawLimits
from grpc_api.dispatch import Dispatcher
from grpc_api.exposures import ExposureLog
from grpc_api.handlers import handlers
from grpc_api.health import HealthMonitor
from grpc_api.interactions.intake import Intake
from grpc_api.lane import Lane
from grpc_api.messages.describe import Limits
from grpc_api.ports import address, announce, taken
from grpc_api.rpcs import SERVICE, Work
from grpc_api.security.guard import Guard, guard_of
from grpc_api.security.interceptor import Doorkeeper
from grpc_api.security.tls import Certificates
from grpc_api.service import ScoringService
from grpc_api.telemetry.metrics import Watched
from grpc_api.telemetry.telemetry import Telemetry
from grpc_api.transport import options
from predictors.loaded import LoadedRelease

if TYPE_CHECKING:
    from grpc_api.gateway.server import Gateway

log = logging.getLogger(__name__)

GRACE_S = 10.0
BRIEF_S = 0.02  # calls that score for less are done by the event loop: a health check may wait as long
SWITCH_S = 0.0005  # that long at most the event loop waits for a thread that computes in Python, not 5 ms
_STOP = (signal.SIGTERM, signal.SIGINT)


class ScoringServer:
    """A bound server; make and use it on one event loop. Raises UnavailableError where the address is taken."""

    def __init__(
        self, settings: Settings, release: LoadedRelease, open_recorder: Callable[[], Recorder] | None = None
    ) -> None:
        guard = guard_of(settings)
        self._exposures = ExposureLog(settings.exposures_dir)
        self.service = ScoringService(release, _limits(settings), _raw_limits(settings), self._exposures)
        self.health = HealthMonitor(self.service)
        brief_s = {Work.SCORING: BRIEF_S, Work.ENCODING: 0.0}
        waiting, sees_all = (settings.max_waiting, settings.max_waiting_s), settings.max_at_door is None
        self.lanes = {work: Lane(work, *waiting, brief_s[work], sees_all=sees_all) for work in Work}
        self._intake = None if open_recorder is None else Intake(open_recorder, self.service.limits.events)
        self.telemetry = Telemetry(settings, self._watched())
        dispatcher = Dispatcher(self.service, self.lanes, self.telemetry)
        self._server = grpc.aio.server(options=options(settings), interceptors=[Doorkeeper(guard.gate, self.telemetry)])
        self._server.add_generic_rpc_handlers((handlers(dispatcher, self._intake),))
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, self._server)
        reflection.enable_server_reflection((SERVICE, HEALTH, reflection.SERVICE_NAME), self._server)
        self.port = _bind(self._server, settings, guard.certificates)
        self.gateway = _gateway(settings, dispatcher, guard, self.health)

    async def start(self) -> None:
        """Answer from here on. Raises ConfigurationError, UnavailableError where the metrics' address is taken."""
        self.telemetry.start()
        for lane in self.lanes.values():
            lane.start()
        if self._intake is not None:
            self._intake.start()
        self._exposures.start()
        await self.health.start()
        await self._server.start()
        if self.gateway is not None:
            await self.gateway.start()

    def _watched(self) -> Watched:
        events = {} if self._intake is None else self._intake.events

        def lanes() -> list[Lane]:
            return [*self.lanes.values(), *([] if self.gateway is None else [self.gateway.lane])]

        return Watched(lambda: self.service.release, lanes, events, lambda: self._exposures.dropped)

    async def swap(self, release: LoadedRelease) -> None:
        """Answer from another release; requests under way stay with theirs."""
        self.service.release = release
        self.telemetry.metrics.swaps += 1
        await self.health.refresh()

    async def drain(self, grace_s: float = GRACE_S) -> None:
        """Report NOT_SERVING, take no more requests, and give those under way `grace_s` seconds to finish."""
        await self.health.stop()
        stopping = [self._server.stop(grace_s), *([self.gateway.stop(grace_s)] if self.gateway else [])]
        await asyncio.gather(*stopping)
        for lane in self.lanes.values():
            await lane.close()
        if self._intake is not None:
            await self._intake.close()
        await asyncio.to_thread(self._exposures.close)
        await asyncio.to_thread(self.telemetry.close)


def serve(
    settings: Settings,
    release: LoadedRelease,
    *,
    reload: Callable[[], LoadedRelease] | None = None,
    open_recorder: Callable[[], Recorder] | None = None,
    ready: Callable[[int], None] | None = None,
    port_file: Path | None = None,
    warm: bool = False,
    grace_s: float = GRACE_S,
) -> None:
    """Serve until SIGTERM or SIGINT; call from the main thread.

    `ready` is called with the port, and `port_file` holds it, once requests are answered. `warm` loads the
    embedders first. SIGHUP swaps to what `reload` gives; where that raises, the old release stays.
    `open_recorder` opens what LogInteraction records to; without it, no events are taken.
    """

    def warmed(one: LoadedRelease) -> LoadedRelease:
        if warm:
            for release in one.every:
                release.encoders.warm()
        return one

    def started(port: int) -> None:
        # What is loaded stays: out of the collector's sight it costs no pauses. What is swapped in is to go again.
        gc.collect()
        gc.freeze()
        announce(port, port_file, ready)

    following = None if reload is None else lambda: warmed(reload())
    sys.setswitchinterval(SWITCH_S)
    if settings.lock_memory:
        memory.lock()
    uvloop.run(_serve(settings, warmed(release), open_recorder, following, started, grace_s))


async def _serve(
    settings: Settings,
    release: LoadedRelease,
    open_recorder: Callable[[], Recorder] | None,
    reload: Callable[[], LoadedRelease] | None,
    started: Callable[[int], None],
    grace_s: float,
) -> None:
    server = ScoringServer(settings, release, open_recorder)
    with _signals() as received:
        await server.start()
        started(server.port)
        log.info("serving release %s on %s", release.version, address(settings.host, server.port))
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
    except Exception as error:  # whatever is wrong with another release, this one goes on
        server.telemetry.metrics.releases_refused += 1
        unforeseen = not isinstance(error, LarderError)
        log.error("stays with release %s: %s", server.service.release.version, error, exc_info=unforeseen)
        return
    await server.swap(release)
    # Feast's objects refer to each other, and with so much frozen the collector would let dozens of swaps go by: a few
    # milliseconds, as it looks at nothing but what came since the start.
    gc.collect()
    log.info("serving release %s", release.version)


def _limits(settings: Settings) -> Limits:
    return Limits(candidates=settings.max_candidates, k=settings.max_k, payload_bytes=settings.max_payload_bytes)


def _raw_limits(settings: Settings) -> RawLimits:
    return RawLimits(settings.raw_seconds, settings.max_clip_mb * 2**20, settings.clips_dir)


def _gateway(settings: Settings, dispatcher: Dispatcher, guard: Guard, health: HealthMonitor) -> Gateway | None:
    if settings.http_port is None:
        return None
    from grpc_api.gateway.server import Gateway  # brings FastAPI, which only those who ask for it should load

    return Gateway(settings, dispatcher, guard, lambda: health.serving)


def _bind(server: grpc.aio.Server, settings: Settings, certificates: Certificates | None) -> int:
    try:
        bound = address(settings.host, settings.port)
        if certificates is None:
            port = server.add_insecure_port(bound)
        else:
            port = server.add_secure_port(bound, certificates.for_grpc())
    except RuntimeError as error:
        raise taken(settings.host, settings.port) from error
    return port
