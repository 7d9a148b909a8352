"""Traces for OpenTelemetry: a span for each traced call, with one for each of its stages.

They are made of the record when the call is over, so a call that is not traced costs nothing. A caller's `traceparent`
(W3C Trace Context) is gone on with, and decides whether the call is traced; without one, `trace_share` does.
"""

from __future__ import annotations

import time
from importlib.metadata import version

from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from feature_repo.errors import ConfigurationError
from grpc_api.calls import TRACEPARENT
from grpc_api.rpcs import SERVICE
from grpc_api.telemetry.record import Record

_FAULTS = ("INTERNAL", "UNKNOWN", "UNAVAILABLE", "UNIMPLEMENTED", "DEADLINE_EXCEEDED")
"""Codes that make a server's span an error: OpenTelemetry's semantic conventions for RPC."""


class Traces:
    """Sends spans to an exporter, from a thread of its own."""

    def __init__(self, exporter: SpanExporter, share: float) -> None:
        """`share` of the calls that come without a `traceparent` are traced."""
        resource = Resource.create({SERVICE_NAME: "larder", SERVICE_VERSION: version("larder")})
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(share)), resource=resource, shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("grpc_api")
        self._propagator = TraceContextTextMapPropagator()

    def tell(self, record: Record) -> None:
        """A call is over."""
        call = record.call
        parent = self._propagator.extract({TRACEPARENT: call.traceparent})
        offset = time.time() - time.perf_counter()

        def at(seconds: float) -> int:
            return int((offset + seconds) * 1e9)

        span = self._tracer.start_span(f"{SERVICE}/{record.rpc}", parent, SpanKind.SERVER, start_time=at(record.began))
        if span.is_recording():
            attributes = {
                "rpc.system": "grpc",
                "rpc.service": SERVICE,
                "rpc.method": record.rpc,
                "rpc.grpc.status_code": record.code.value[0],
                "larder.request_id": call.request_id,
                "larder.release": record.release,
                "larder.variant": record.variant,
                "larder.candidates": record.candidates,
            }
            span.set_attributes(attributes)
            if record.code.name in _FAULTS:
                span.set_status(Status(StatusCode.ERROR))
            inside = set_span_in_context(span)
            for name, start, end in record.stages:
                self._tracer.start_span(name, inside, start_time=at(start)).end(at(end))
        span.end(at(record.ended))

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def traces_to(endpoint: str, share: float) -> Traces:
    """Traces for a collector that speaks OTLP over gRPC. Raises ConfigurationError without the exporter."""
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise ConfigurationError(
            "LARDER_OTLP_ENDPOINT is set, but the exporter of traces is not installed: pip install 'larder[otlp]', "
            "or leave it empty"
        ) from error
    return Traces(OTLPSpanExporter(endpoint=endpoint, insecure=not endpoint.startswith("https://")), share)
