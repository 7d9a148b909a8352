"""Metrics over a real server: each is brought about and read."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import grpc
import pytest

from feature_repo.errors import DeniedError, InputError, UnauthenticatedError, UnavailableError
from feature_repo.settings import Settings
from grpc_api.client import Scorer
from grpc_api.client.access import Access
from grpc_api.gateway.transcode import to_payload
from grpc_api.messages.recommend import RecommendQuery
from grpc_api.rpcs import UNARY, Rpc, Work
from grpc_api.security.roles import Role
from grpc_api.security.tokens import new_token
from grpc_api.telemetry.metrics import OTHER
from grpc_api.workers import own_settings
from predictors.loaded import LoadedRelease
from protos.larder.v1 import scoring_pb2 as pb
from protos.larder.v1 import scoring_pb2_grpc
from tests.grpc_api.doors import ask
from tests.grpc_api.parts import WITHOUT_VECTOR, TableStore, until
from tests.grpc_api.running import RunningServer, running
from tests.grpc_api.telemetry.scraped import Scraped

ASKED = pb.PredictRequest(predictors=["popularity"], content_ids=["c01"])


def scraped(server: RunningServer) -> Scraped:
    return Scraped(server.server.telemetry.metrics_port)


def test_calls_by_rpc_and_status_and_their_stages(server: RunningServer, scorer: Scorer) -> None:
    for _ in range(3):
        scorer.predict(["c01", "c02"])
    scorer.similar(content_id="c01", k=2)
    scorer.similar(text="3", k=2)
    scorer.recommend(RecommendQuery("u1", k=2))
    with pytest.raises(InputError):
        scorer.predict([])
    found = scraped(server)
    assert found("larder_calls_total", rpc="Predict", code="OK") == 3
    assert found("larder_call_seconds_count", rpc="Predict", code="OK") == 3
    assert found("larder_call_seconds_count", rpc="Predict", code="INVALID_ARGUMENT") == 1
    assert 0 < found("larder_call_seconds_sum", rpc="Predict", code="OK") < 30
    stages = {
        "Predict": {"queue", "read", "score", "serialise"},
        "Similar": {"queue", "search", "encode", "serialise"},
        "Recommend": {"queue", "read", "search", "score", "serialise"},
    }
    said = found.labels("larder_stage_seconds_count")
    assert {rpc: {one["stage"] for one in said if one["rpc"] == rpc} for rpc in stages} == stages
    assert found("larder_stage_seconds_count", rpc="Predict", stage="read") == 3
    parts = sum(found("larder_stage_seconds_sum", rpc="Similar", stage=stage) for stage in stages["Similar"])
    assert parts <= found("larder_call_seconds_sum", rpc="Similar", code="OK")


def test_candidates_and_what_they_lacked(server: RunningServer, scorer: Scorer) -> None:
    scorer.predict(["c01", WITHOUT_VECTOR, "nobody", "noone"])
    found = scraped(server)
    assert found("larder_candidates_total", store="hit") == 2
    assert found("larder_candidates_total", store="miss") == 2
    assert found("larder_missing_features_total", embedding="tiny") == 1


def test_the_release_and_its_swaps(server: RunningServer, release: LoadedRelease) -> None:
    assert scraped(server)("larder_release_info", release=release.version) == 1
    assert scraped(server)("larder_predictor_info", predictor="popularity", version="v1") == 1
    other = replace(release, manifest=replace(release.manifest, defaults={}))
    server.swap(other)
    found = scraped(server)
    assert [one["release"] for one in found.labels("larder_release_info")] == [other.version] != [release.version]
    assert found("larder_swaps_total") == 1
    assert found("larder_releases_refused_total") == 0


def test_the_process_is_seen(server: RunningServer) -> None:
    assert scraped(server)("process_resident_memory_bytes") > 1e7


def test_what_waits_and_what_is_shed(settings: Settings, release: LoadedRelease) -> None:
    going, held = threading.Event(), threading.Event()

    def hold() -> None:
        if threading.current_thread().name == Work.SCORING:  # the health probe reads too
            held.set()
            assert going.wait(30)

    with running(settings.model_copy(update={"max_waiting": 1}), replace(release, store=TableStore(hold))) as server:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            predict = scoring_pb2_grpc.ScoringServiceStub(channel).Predict  # type: ignore[no-untyped-call]  # generated
            first = predict.future(ASKED)
            assert held.wait(30)
            second = predict.future(ASKED)
            assert until(lambda: scraped(server)("larder_waiting_calls", lane="scoring") == 1)
            with pytest.raises(grpc.RpcError):
                predict(ASKED)
            going.set()
            assert first.result(30).results
            assert second.result(30).results
        found = scraped(server)
    assert found("larder_shed_calls_total", lane="scoring", reason="full") == 1
    assert found("larder_calls_total", rpc="Predict", code="RESOURCE_EXHAUSTED") == 1
    assert found("larder_waiting_calls", lane="scoring") == 0


def test_the_lane_of_the_gateway_is_seen(
    settings: Settings, release: LoadedRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    going, held = threading.Event(), threading.Event()

    def slow(rpc: Rpc, body: bytes) -> bytes:
        held.set()
        assert going.wait(30)
        return to_payload(rpc, body)

    monkeypatch.setattr("grpc_api.gateway.calls.to_payload", slow)
    with (
        running(settings.model_copy(update={"max_waiting": 1, "http_port": 0}), release) as server,
        ThreadPoolExecutor(2) as callers,
    ):
        assert server.server.gateway is not None
        describe = partial(ask, server.server.gateway.port, "/v1/describe", b"{}")
        first = callers.submit(describe)
        assert held.wait(30)
        second = callers.submit(describe)
        assert until(lambda: scraped(server)("larder_waiting_calls", lane="json") == 1)
        assert describe().status == 429
        found = scraped(server)
        going.set()
        assert {first.result(30).status, second.result(30).status} <= {200, 429}  # there is one place to be written at
        assert scraped(server)("larder_waiting_calls", lane="json") == 0
    assert found("larder_shed_calls_total", lane="json", reason="full") == 1
    assert found("larder_calls_total", rpc="Describe", code="RESOURCE_EXHAUSTED") == 1


def test_who_is_turned_away_is_counted_and_what_nobody_knows_has_one_name(
    settings: Settings, release: LoadedRelease
) -> None:
    secret, token = new_token("feed", [Role.LOG], 1.0)
    with running(settings.model_copy(update={"callers": str(token)}), release) as server:
        with Scorer(f"127.0.0.1:{server.port}") as nobody, pytest.raises(UnauthenticatedError):
            nobody.predict(["c01"])
        with Scorer(f"127.0.0.1:{server.port}", access=Access(token=secret)) as feed, pytest.raises(DeniedError):
            feed.predict(["c01"])
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            for number in range(3):
                with pytest.raises(grpc.RpcError):
                    channel.unary_unary(f"/made.up/Method{number}", None, None)(b"")
        found = scraped(server)
    assert found("larder_calls_total", rpc="Predict", code="UNAUTHENTICATED") == 1
    assert found("larder_calls_total", rpc="Predict", code="PERMISSION_DENIED") == 1
    assert found("larder_calls_total", rpc=OTHER, code="UNAUTHENTICATED") == 3
    assert {one["rpc"] for one in found.labels("larder_calls_total")} <= {*UNARY, OTHER}


def test_no_metrics_unless_asked_for(settings: Settings, release: LoadedRelease) -> None:
    with running(settings.model_copy(update={"metrics_port": None}), release) as server:
        assert server.server.telemetry.metrics_port is None


def test_a_taken_port_is_an_error_that_names_the_setting(settings: Settings, release: LoadedRelease) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(UnavailableError, match="LARDER_METRICS_PORT"),
            running(settings.model_copy(update={"metrics_port": port}), release),
        ):
            pass


def test_each_worker_has_a_port() -> None:
    ports = [own_settings(Settings(metrics_port=9100), number)["LARDER_METRICS_PORT"] for number in range(3)]
    assert ports == ["9100", "9101", "9102"]
    assert "LARDER_METRICS_PORT" not in own_settings(Settings(), 1)
    assert "LARDER_METRICS_PORT" not in own_settings(Settings(metrics_port=0), 1)
