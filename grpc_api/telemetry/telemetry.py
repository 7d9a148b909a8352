"""All that is told of calls and releases, in one place: what listens is decided by the settings."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import grpc

from feature_repo.settings import Settings
from grpc_api.calls import Call
from grpc_api.telemetry.logs import CallLog
from grpc_api.telemetry.metrics import Exposition, Metrics, Watched
from grpc_api.telemetry.record import Record
from grpc_api.telemetry.sampler import Sampler


class Telemetry:
    """Listens to a server, on its event loop."""

    def __init__(self, settings: Settings, watched: Watched) -> None:
        self.metrics = Metrics(watched)
        self._settings = settings
        self._log = CallLog(settings.log_share)
        self._listeners: list[Callable[[Record], None]] = [self._log.tell]
        self._exposition: Exposition | None = None
        self._sampler: Sampler | None = None
        self._closers: list[Callable[[], None]] = []

    def start(self) -> None:
        """Open what the settings ask for. Raises ConfigurationError, UnavailableError where the port is taken."""
        settings = self._settings
        if settings.metrics_port is not None:
            self._exposition = Exposition(self.metrics, settings)
            self._listeners.append(self.metrics.tell)
            self._closers.append(self._exposition.close)
        if settings.otlp_endpoint:
            from grpc_api.telemetry.traces import traces_to  # OpenTelemetry is loaded by those who ask for it

            traces = traces_to(settings.otlp_endpoint, settings.trace_share)
            self._listeners.append(traces.tell)
            self._closers.append(traces.close)
        if settings.sample_share:
            self._sampler = Sampler(settings)
            self._closers.append(self._sampler.close)

    @property
    def metrics_port(self) -> int | None:
        """Where `/metrics` answers."""
        return None if self._exposition is None else self._exposition.port

    def begin(self, rpc: str, call: Call) -> Record:
        """A call is to be worked on; `end` is to be told of it."""
        call.begun = True
        return Record(rpc, call, sampled=self._sampler is not None and random.random() < self._settings.sample_share)

    def end(self, record: Record) -> None:
        """The call is over; its `code` says how it went."""
        record.ended = time.perf_counter()
        for tell in self._listeners:
            tell(record)
        if self._sampler is not None and record.said and not self._sampler.offer(record):
            self.metrics.samples_dropped += 1

    def count(self, call: Call, code: grpc.StatusCode) -> None:
        """A call is over that nobody began to work on: it was turned away, or was a stream of events."""
        if not call.begun:
            self.metrics.count(call.method, code.name)
            self._log.turned_away(call.method, call.request_id, call.caller, code)

    def close(self) -> None:
        """Write and send what is left."""
        for close in self._closers:
            close()
