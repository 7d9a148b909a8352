"""The gRPC server: binds, warms, answers, swaps releases on SIGHUP and drains on SIGTERM or SIGINT."""

from __future__ import annotations

import gc
import logging
import queue
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH
from grpc_reflection.v1alpha import reflection

from feature_repo.errors import LarderError, UnavailableError
from feature_repo.files import replacing
from feature_repo.settings import Settings
from grpc_api.health import SERVICE, HealthMonitor
from grpc_api.interceptors import INTERCEPTORS
from grpc_api.messages import Limits
from grpc_api.service import ScoringService
from grpc_api.servicer import ScoringServicer
from predictors.loaded import LoadedRelease
from protos.larder.v1 import scoring_pb2_grpc

log = logging.getLogger(__name__)

GRACE_S = 10.0
_THREADS = 8  # scoring lets go of the GIL in NumPy, FAISS and CatBoost; more threads only queue for it
_STOP = (signal.SIGTERM, signal.SIGINT)


class ScoringServer:
    """A bound server. Raises UnavailableError where the address is taken."""

    def __init__(self, settings: Settings, release: LoadedRelease) -> None:
        self.service = ScoringService(release, _limits(settings))
        self.health = HealthMonitor(self.service)
        self._pool = ThreadPoolExecutor(_THREADS, "scoring")
        self._server = grpc.server(self._pool, interceptors=INTERCEPTORS, options=_options(settings))
        servicer = ScoringServicer(self.service)
        scoring_pb2_grpc.add_ScoringServicer_to_server(servicer, self._server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, self._server)
        reflection.enable_server_reflection((SERVICE, HEALTH, reflection.SERVICE_NAME), self._server)
        self.port = _bind(self._server, settings)

    def start(self) -> None:
        """Answer from here on."""
        self.health.start()
        self._server.start()

    def swap(self, release: LoadedRelease) -> None:
        """Answer from another release; requests under way stay with theirs."""
        self.service.release = release
        self.health.refresh()

    def drain(self, grace_s: float = GRACE_S) -> None:
        """Report NOT_SERVING, take no more requests, and give those under way `grace_s` seconds to finish."""
        self.health.stop()
        self._server.stop(grace_s).wait()
        self._pool.shutdown()


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

    server = ScoringServer(settings, warmed(release))
    with _signals() as received:
        server.start()
        # What is loaded stays: taken out of the collector's sight, it costs no pauses.
        gc.collect()
        gc.freeze()
        _announce(server.port, ready, port_file)
        log.info("serving release %s on %s", release.version, _address(settings.host, server.port))
        while (number := received.get()) not in _STOP:
            if reload is not None:
                _reload(server, lambda: warmed(reload()))
        log.info("draining after %s", signal.Signals(number).name)
        server.drain(grace_s)


@contextmanager
def _signals() -> Iterator[queue.SimpleQueue[int]]:
    """The signals this process is sent, as a queue: its `put` is the one that may be called from a handler."""
    received: queue.SimpleQueue[int] = queue.SimpleQueue()
    before = {s: signal.signal(s, lambda number, _: received.put(number)) for s in (*_STOP, signal.SIGHUP)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _reload(server: ScoringServer, reload: Callable[[], LoadedRelease]) -> None:
    try:
        release = reload()
    except LarderError as error:
        log.error("stays with release %s: %s", server.service.release.version, error)
        return
    server.swap(release)
    log.info("serving release %s", release.version)


def _announce(port: int, ready: Callable[[int], None] | None, port_file: Path | None) -> None:
    if port_file is not None:
        with replacing(port_file) as beside:
            beside.write_text(f"{port}\n")
    if ready is not None:
        ready(port)


def _limits(settings: Settings) -> Limits:
    return Limits(candidates=settings.max_candidates, k=settings.max_k, payload_bytes=settings.max_payload_bytes)


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_payload_bytes),
        ("grpc.so_reuseport", 0),  # else a second server on the port would take half of the calls, unseen
    ]


def _bind(server: grpc.Server, settings: Settings) -> int:
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
