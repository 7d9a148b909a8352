"""Standard gRPC health with a status for each part: store, catalog, `index/<embedding>`, `predictor/<name>`.

The server as a whole ("" and `larder.v1.Scoring`) serves while every part does.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from grpc_health.v1 import health, health_pb2

from grpc_api.service import ScoringService
from protos.larder.v1 import scoring_pb2

log = logging.getLogger(__name__)

SERVICE = scoring_pb2.DESCRIPTOR.services_by_name["Scoring"].full_name
INTERVAL_S = 5.0

_STATUS = {
    True: health_pb2.HealthCheckResponse.SERVING,
    False: health_pb2.HealthCheckResponse.NOT_SERVING,
}


class HealthMonitor:
    """Asks every part now and then whether it answers, and tells the health servicer."""

    def __init__(self, service: ScoringService, interval_s: float = INTERVAL_S) -> None:
        self.servicer = health.HealthServicer()
        self._service = service
        self._interval_s = interval_s
        self._told: dict[str, bool] = {}
        self._refreshing = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="health", daemon=True)

    def start(self) -> None:
        """Look once, so that the first answer is a true one, and go on in a thread."""
        self.refresh()
        self._thread.start()

    def refresh(self) -> None:
        """Ask every part of the release in use; parts that an earlier release had no longer serve."""
        with self._refreshing:
            parts = {name: _answers(name, probe) for name, probe in self._service.probes().items()}
            whole = all(parts.values())
            gone = dict.fromkeys(self._told.keys() - parts.keys(), False)
            self._told = {**gone, **parts, SERVICE: whole, "": whole}
            for name, serves in self._told.items():
                self.servicer.set(name, _STATUS[serves])

    def stop(self) -> None:
        """Nothing serves from here on."""
        self._stopping.set()
        self.servicer.enter_graceful_shutdown()

    def _watch(self) -> None:
        while not self._stopping.wait(self._interval_s):
            self.refresh()


def _answers(name: str, probe: Callable[[], object]) -> bool:
    try:
        probe()
    except Exception:
        log.exception("health: %s does not answer", name)
        return False
    return True
