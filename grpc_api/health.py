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
PATIENCE_S = 5.0

_STATUS = {
    True: health_pb2.HealthCheckResponse.SERVING,
    False: health_pb2.HealthCheckResponse.NOT_SERVING,
}


class HealthMonitor:
    """Asks every part now and then whether it answers, and tells the health servicer. Lives on one event loop.

    Probes have a thread of their own, so that they wait behind no calls. Parts that have not answered after
    `patience_s` seconds do not serve.
    """

    def __init__(self, service: ScoringService, interval_s: float = INTERVAL_S, patience_s: float = PATIENCE_S) -> None:
        self.servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]  # its stub is older
        self._service = service
        self._interval_s = interval_s
        self._patience_s = patience_s
        self._asking: asyncio.Task[None] | None = None
        self._answers: dict[str, bool] = {}
        self._told: dict[str, bool] = {}
        self._refreshing = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look once, so that the first answer is a true one, and go on beside the calls."""
        await self.refresh()
        self._watching = asyncio.create_task(self._watch())

    @property
    def serving(self) -> bool:
        """Whether the server as a whole serves, as it was told last."""
        return self._told.get("", False)

    async def refresh(self) -> None:
        """Ask every part of the release in use; parts that an earlier release had no longer serve."""
        async with self._refreshing:
            parts = await self._ask()
            whole = all(parts.values())
            gone = dict.fromkeys(self._told.keys() - parts.keys(), False)
            self._told = {**gone, **parts, SERVICE: whole, "": whole}
            for name, serves in self._told.items():
                await self.servicer.set(name, _STATUS[serves])

    async def stop(self) -> None:
        """Nothing serves from here on."""
        for task in (self._watching, self._asking):
            if task is not None:
                task.cancel()
        self._told[""] = False
        await self.servicer.enter_graceful_shutdown()

    async def _ask(self) -> dict[str, bool]:
        probes = self._service.probes()
        if self._asking is None or self._asking.done():  # else the last probes still hang: no more are sent after them
            self._answers = {}
            self._asking = asyncio.create_task(asyncio.to_thread(_ask, probes, self._answers))
        await asyncio.wait([self._asking], timeout=self._patience_s)
        return {name: self._answers.get(name, False) for name in probes}

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            await self.refresh()


def _ask(probes: dict[str, Callable[[], object]], answers: dict[str, bool]) -> None:
    for name, probe in probes.items():
        answers[name] = _answers(name, probe)


def _answers(name: str, probe: Callable[[], object]) -> bool:
    try:
        probe()
    except Exception:
        log.exception("health: %s does not answer", name)
        return False
    return True
