"""Recommend."""

from __future__ import annotations

from grpc_api.calls import Call
from grpc_api.messages.recommend import DEFAULT_DIVERSITY, Recommendations, RecommendQuery
from grpc_api.service import ScoringService
from grpc_api.wire.filters import filters
from protos.larder.v1 import scoring_pb2 as pb


def answer(service: ScoringService, request: pb.RecommendRequest, call: Call) -> pb.RecommendResponse:
    """What to show a user."""
    query = RecommendQuery(
        user_id=request.user_id,
        predictor=request.predictor,
        embedding=request.embedding,
        k=request.k,
        pool=request.pool,
        filters=filters(request.filters),
        exclude_ids=tuple(request.exclude_ids),
        include_seen=request.include_seen,
        diversity=request.diversity if request.HasField("diversity") else DEFAULT_DIVERSITY,
    )
    return to_proto(service.recommend(query, call))


def to_proto(found: Recommendations) -> pb.RecommendResponse:
    """Contents to messages."""
    return pb.RecommendResponse(
        release=found.release,
        variant=found.variant,
        request_id=found.request_id,
        predictor=found.predictor,
        predictor_version=found.predictor_version,
        embedding=found.embedding,
        recommendations=[
            pb.Recommendation(content_id=one.content_id, score=one.score, title=one.title)
            for one in found.recommendations
        ],
        source=pb.Source.Name(found.source),
    )
