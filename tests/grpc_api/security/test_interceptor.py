"""The gate on gRPC's side, where the table of RPCs does not reach."""

from __future__ import annotations

import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_status import rpc_status

from feature_repo.settings import Settings
from grpc_api.calls import Call
from grpc_api.security.roles import Role
from grpc_api.security.tokens import add_token, new_token
from predictors.loaded import LoadedRelease
from protos.larder.v1 import scoring_pb2 as pb
from tests.grpc_api.doors import called, channel, code
from tests.grpc_api.parts import TableStore
from tests.grpc_api.running import running

PREDICT = pb.PredictRequest(predictors=["popularity"], content_ids=["c01", "c02"]).SerializeToString()


def _bearer(settings: Settings, *roles: str) -> list[tuple[str, str]]:
    secret, token = new_token("-".join(roles), roles, 1)
    add_token(settings.callers_path, token)
    return [("authorization", f"Bearer {secret}")]


def test_health_and_reflection_stay_open_and_nothing_else_does(settings: Settings, release: LoadedRelease) -> None:
    score, admin = _bearer(settings, Role.SCORE), _bearer(settings, Role.ADMIN)
    listing = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
    check = health_pb2.HealthCheckRequest().SerializeToString()
    with running(settings, release) as server, channel(server.port) as over:
        assert code(over, "/grpc.health.v1.Health/Check", check) == "OK"
        assert code(over, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", listing) == "OK"
        for unknown in ("Forget", "/larder.v9.ScoringService/Predict", "/grpc.health.v1.HealthX/Check"):
            assert code(over, unknown, b"") == "UNAUTHENTICATED"
            assert code(over, unknown, b"", score) == "PERMISSION_DENIED"
            assert code(over, unknown, b"", admin) == "UNIMPLEMENTED"


def test_a_refusal_is_rich_and_known_by_the_callers_id(settings: Settings, release: LoadedRelease) -> None:
    _bearer(settings, Role.SCORE)
    with running(settings, release) as server, channel(server.port) as over:
        _, refused = called(over, "Predict", PREDICT, [("x-request-id", "mine")])
    assert refused is not None
    assert refused.details() == "authorization: is missing; send `Bearer TOKEN`"
    said = rpc_status.from_call(refused)  # type: ignore[arg-type]  # a call that failed is its error
    assert said is not None
    assert b"mine" in said.SerializeToString()
    assert b"UnauthenticatedError" in said.SerializeToString()


def test_metadata_beyond_what_is_read(settings: Settings, release: LoadedRelease, store: TableStore) -> None:
    score = _bearer(settings, Role.SCORE)
    with running(settings, release) as server, channel(server.port) as over:
        before = len(store.reads)
        ended = code(over, "Predict", PREDICT, [("authorization", "Bearer " + "x" * 100_000)])
        assert ended in ("RESOURCE_EXHAUSTED", "UNAVAILABLE", "INTERNAL")  # gRPC core says it, as its version words it
        assert len(store.reads) == before
        assert code(over, "Predict", PREDICT, score) == "OK"


def test_the_token_and_no_header_names_the_caller(
    settings: Settings, release: LoadedRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one caller could take the share of many."""
    callers: list[str] = []

    class Watched(Call):
        def check(self) -> None:
            callers.append(self.caller)

    monkeypatch.setattr("grpc_api.handlers.Call", Watched)
    score = _bearer(settings, Role.SCORE)
    with running(settings, release) as server, channel(server.port) as over:
        assert code(over, "Predict", PREDICT, [*score, ("x-caller", "somebody")]) == "OK"
    assert set(callers) == {"score"}
