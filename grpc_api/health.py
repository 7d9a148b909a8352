"""Standard gRPC health with a status for each part: store, catalog, `index/<embedding>`, `predictor/<name>`.

The server as a whole ("" and `larder.v1.ScoringService`) serves while every part does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from grpc_health.v1 import health, health_pb2

from grpc_api.rpcs import SERVICE
from grpc_api.service import ScoringService

log = logging.getLogger(__name__)

INTERVAL_S = 5.0

_STATUS = {
    True: health_pb2.HealthCheckResponse.SERVING,
    False: health_pb2.HealthCheckResponse.NOT_SERVING,
}


class HealthMonitor:
    """Asks every part now and then whether it answers, and tells the health servicer. Lives on one event loop."""

    def __init__(self, service: ScoringService, interval_s: float = INTERVAL_S) -> None:
        self.servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]  # its stub is older
        self._service = service
        self._interval_s = interval_s
        self._told: dict[str, bool] = {}
        self._refreshing = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look once, so that the first answer is a true one, and go on beside the calls."""
        await self.refresh()
        self._watching = asyncio.create_task(self._watch())

    async def refresh(self) -> None:
        """Ask every part of the release in use; parts that an earlier release had no longer serve."""
        async with self._refreshing:
            parts = await asyncio.to_thread(_ask, self._service.probes())
            whole = all(parts.values())
            gone = dict.fromkeys(self._told.keys() - parts.keys(), False)
            self._told = {**gone, **parts, SERVICE: whole, "": whole}
            for name, serves in self._told.items():
                await self.servicer.set(name, _STATUS[serves])

    async def stop(self) -> None:
        """Nothing serves from here on."""
        if self._watching is not None:
            self._watching.cancel()
        await self.servicer.enter_graceful_shutdown()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            await self.refresh()


def _ask(probes: dict[str, Callable[[], object]]) -> dict[str, bool]:
    return {name: _answers(name, probe) for name, probe in probes.items()}


def _answers(name: str, probe: Callable[[], object]) -> bool:
    try:
        probe()
    except Exception:
        log.exception("health: %s does not answer", name)
        return False
    return True
