"""Any request of any RPC, over gRPC and over HTTP: no INTERNAL, no crash, no word of the server's inside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import grpc
import pytest
import schemathesis
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, checks

from feature_repo.settings import load_settings
from grpc_api.gateway.calls import TIMEOUT
from grpc_api.rpcs import UNARY
from grpc_api.server import ScoringServer
from predictors.loaded import Encoders, LoadedRelease
from protos.larder.v1 import scoring_pb2 as pb
from tests.grpc_api.doors import called, channel
from tests.grpc_api.hostile import Tolerant, leaks, messages
from tests.grpc_api.parts import TableStore
from tests.grpc_api.running import running

METHODS = {method.name: method for method in pb.DESCRIPTOR.services_by_name["ScoringService"].methods}
EXPECTED = {"INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
RANDOM = settings(max_examples=30, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def fuzzed(built: LoadedRelease, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringServer]:
    """A server whose encoder takes all that a real one takes."""
    bounds = {"max_candidates": 50, "max_k": 20, "max_payload_bytes": 64 * 1024}
    server_settings = load_settings(home=tmp_path_factory.mktemp("fuzz"), port=0, http_port=0, **bounds)
    encoders = Encoders(built.manifest.embeddings, lambda name: Tolerant())
    with running(server_settings, replace(built, store=TableStore(), encoders=encoders)) as started:
        yield started.server


@pytest.fixture(scope="module")
def over(fuzzed: ScoringServer) -> Iterator[grpc.Channel]:
    with channel(fuzzed.port) as opened:
        yield opened


def _ask(over: grpc.Channel, method: str, payload: bytes) -> list[bytes]:
    """The answers; a failure must be one that a caller can do something about. Neither tells of the server's inside."""
    answers, failure = called(over, method, payload)
    assert not leaks(repr(answers))
    if failure is not None:
        assert failure.code().name in EXPECTED, f"{failure.code()}: {failure.details()}"
        assert not leaks(f"{failure.details()} {failure.trailing_metadata()}")
    return answers


@pytest.mark.parametrize("method", METHODS)
@RANDOM
@given(data=st.data())
def test_hostile_messages(method: str, over: grpc.Channel, data: st.DataObject) -> None:
    request: Message = data.draw(messages(METHODS[method].input_type))
    _ask(over, method, request.SerializeToString())


@pytest.mark.parametrize("method", METHODS)
@RANDOM
@given(payload=st.binary(max_size=200))
def test_random_bytes(method: str, over: grpc.Channel, payload: bytes) -> None:
    _ask(over, method, payload)


def test_the_server_is_well_after_all_that(over: grpc.Channel) -> None:
    payload = pb.PredictRequest(predictors=["popularity"], content_ids=["c03"]).SerializeToString()
    [answer] = _ask(over, "Predict", payload)
    assert list(pb.PredictResponse.FromString(answer).results[0].scores) == [3]


@pytest.fixture(scope="module")
def document(fuzzed: ScoringServer) -> schemathesis.BaseSchema:
    """The gateway's OpenAPI document, as schemathesis reads it."""
    assert fuzzed.gateway is not None
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{fuzzed.gateway.port}/openapi.json")


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("name", UNARY)
def test_the_gateway_keeps_to_its_document(document: schemathesis.BaseSchema, name: str, mode: GenerationMode) -> None:
    """Requests that fit the document, and such as do not."""
    cases = document[f"/v1/{name.lower()}"]["POST"].as_strategy(generation_mode=mode)

    @settings(max_examples=10, suppress_health_check=list(HealthCheck))
    @given(case=cases)
    def check(case: schemathesis.Case[Any]) -> None:
        answer = case.call(headers={TIMEOUT: "20000"})  # else half of the requests have a millisecond
        case.validate_response(answer, checks=CHECKS)
        assert not leaks(answer.text)

    check()
