"""Explain."""

from __future__ import annotations

from grpc_api.calls import Call
from grpc_api.messages.explain import ExplainQuery, Explanation
from grpc_api.service import ScoringService
from protos.larder.v1 import scoring_pb2 as pb


def answer(service: ScoringService, request: pb.ExplainRequest, call: Call) -> pb.ExplainResponse:
    """What moved a score."""
    user_id = request.user_id if request.HasField("user_id") else None
    return to_proto(service.explain(ExplainQuery(request.predictor, request.content_id, user_id, request.top), call))


def to_proto(found: Explanation) -> pb.ExplainResponse:
    """Contributions to messages."""
    return pb.ExplainResponse(
        release=found.release,
        request_id=found.request_id,
        predictor=found.predictor,
        predictor_version=found.predictor_version,
        score=found.score,
        method=found.method,
        base=found.base,
        contributions=[pb.Contribution(name=name, value=value) for name, value in found.contributions],
        modalities=found.modalities,
    )
