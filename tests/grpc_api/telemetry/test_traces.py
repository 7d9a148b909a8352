"""Spans, sent to an exporter in memory."""

from __future__ import annotations

import builtins
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from feature_repo.errors import ConfigurationError
from feature_repo.settings import Settings
from grpc_api.calls import Call
from grpc_api.rpcs import SERVICE
from grpc_api.telemetry import traces
from grpc_api.telemetry.record import Record
from grpc_api.telemetry.traces import Traces, traces_to
from predictors.loaded import LoadedRelease
from protos.larder.v1 import scoring_pb2 as pb
from protos.larder.v1 import scoring_pb2_grpc
from tests.grpc_api.running import running

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def spans(share: float, *records: Record) -> tuple[ReadableSpan, ...]:
    exporter = InMemorySpanExporter()
    made = Traces(exporter, share)
    for record in records:
        made.tell(record)
    made.close()
    return exporter.get_finished_spans()


def over(traceparent: str = "", code: grpc.StatusCode = grpc.StatusCode.OK) -> Record:
    now = time.perf_counter()
    record = Record("Predict", Call("/p", "r1", traceparent=traceparent), began=now - 0.010, ended=now, code=code)
    record.stages += [("queue", now - 0.010, now - 0.008), ("score", now - 0.008, now - 0.001)]
    return record


def test_a_span_a_call_with_one_for_each_stage() -> None:
    queue, score, call = spans(1.0, over())
    assert [span.name for span in (queue, score, call)] == ["queue", "score", f"{SERVICE}/Predict"]
    assert call.parent is None
    for stage in (queue, score):
        assert stage.parent is not None
        assert stage.parent.span_id == call.context.span_id
    assert call.start_time is not None
    assert call.end_time is not None
    assert call.end_time - call.start_time == pytest.approx(10e6, rel=0.01)
    assert abs(call.end_time - time.time_ns()) < 60e9
    assert call.attributes is not None
    assert call.attributes["larder.request_id"] == "r1"


@pytest.mark.parametrize(("flags", "share", "count"), [("01", 0.0, 3), ("00", 1.0, 0)])
def test_the_caller_decides_where_it_traces(flags: str, share: float, count: int) -> None:
    found = spans(share, over(f"00-{TRACE}-{PARENT}-{flags}"))
    assert len(found) == count
    for span in found:
        assert f"{span.context.trace_id:032x}" == TRACE
    if found:
        assert found[-1].parent is not None
        assert f"{found[-1].parent.span_id:016x}" == PARENT


@pytest.mark.parametrize("traceparent", ["", "rubbish", "00-0-0-01"])
def test_without_a_good_traceparent_the_share_decides(traceparent: str) -> None:
    assert not spans(0.0, over(traceparent))
    assert len(spans(1.0, over(traceparent))) == 3


def test_faults_of_the_server_are_errors_and_broken_requests_are_not() -> None:
    fault, broken = (
        spans(1.0, over(code=code))[-1] for code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT)
    )
    assert not fault.status.is_ok
    assert broken.status.is_unset


def test_a_callers_trace_goes_through_the_server(
    settings: Settings, release: LoadedRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(traces, "traces_to", lambda endpoint, share: Traces(exporter, share))
    chosen = settings.model_copy(update={"otlp_endpoint": "http://collector:4317", "trace_share": 0.0})
    with running(chosen, release) as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = scoring_pb2_grpc.ScoringServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        asked = pb.PredictRequest(predictors=["popularity"], content_ids=["c01"])
        stub.Predict(asked)
        stub.Predict(asked, metadata=[("traceparent", f"00-{TRACE}-{PARENT}-01")])
    found = exporter.get_finished_spans()
    assert {f"{span.context.trace_id:032x}" for span in found} == {TRACE}
    assert {span.name for span in found} == {"queue", "read", "score", "serialise", f"{SERVICE}/Predict"}
    [call] = [span for span in found if span.name.endswith("Predict")]
    assert call.attributes is not None
    assert call.attributes["larder.release"] == release.version


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Any] = builtins.__import__

    def lacking(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("opentelemetry.exporter"):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(ConfigurationError, match=r"larder\[otlp\]"):
        traces_to("http://localhost:4317", 1.0)
