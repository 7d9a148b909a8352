"""Predict."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC

from feature_repo.errors import InputError
from grpc_api.calls import Call
from grpc_api.messages.predict import Predictions, PredictorScores, PredictQuery, RawContent
from grpc_api.service import ScoringService
from grpc_api.telemetry.record import stage
from protos.larder.v1 import scoring_pb2 as pb


def answer(service: ScoringService, request: pb.PredictRequest, call: Call) -> pb.PredictResponse:
    """Scores of candidates."""
    found = service.predict(_query(request), call)
    with stage("serialise"):
        return to_proto(found)


def answer_together(
    service: ScoringService, requests: Sequence[pb.PredictRequest], calls: Sequence[Call]
) -> list[pb.PredictResponse]:
    """The same for several requests."""
    found = service.predict_many(list(map(_query, requests)), calls)
    with stage("serialise"):
        return list(map(to_proto, found))


def answer_streamed(service: ScoringService, request: pb.PredictStreamRequest, call: Call) -> pb.PredictStreamResponse:
    """The same for one request of a stream."""
    return pb.PredictStreamResponse(response=answer(service, request.request, call))


def answer_streamed_together(
    service: ScoringService, requests: Sequence[pb.PredictStreamRequest], calls: Sequence[Call]
) -> list[pb.PredictStreamResponse]:
    """The same for several requests of streams."""
    answers = answer_together(service, [one.request for one in requests], calls)
    return [pb.PredictStreamResponse(response=one) for one in answers]


def failure(code: int, message: str) -> pb.PredictStreamResponse:
    """Why one request of a stream has no scores."""
    return pb.PredictStreamResponse(failure=pb.Failure(code=code, message=message))


def to_proto(found: Predictions) -> pb.PredictResponse:
    """Columns to packed fields."""
    return pb.PredictResponse(
        release=found.release,
        variant=found.variant,
        request_id=found.request_id,
        content_ids=found.content_ids,
        results=[_scores(one) for one in found.results],
    )


def _scores(found: PredictorScores) -> pb.PredictorScores:
    return pb.PredictorScores(
        predictor=found.predictor,
        version=found.version,
        statuses=found.statuses.tolist(),
        scores=found.scores.tolist(),
        class_count=found.probabilities.shape[1],
        class_probabilities=found.probabilities.ravel().tolist(),
        classes=found.classes.tolist(),
        missing_features=[pb.MissingFeature(name=n, rows=rows.tolist()) for n, rows in found.missing.items()],
    )


def _query(request: pb.PredictRequest) -> PredictQuery:
    return PredictQuery(
        predictors=tuple(request.predictors),
        content_ids=list(request.content_ids),
        raw_contents=tuple(map(_raw, request.raw_contents)),
        user_id=request.user_id if request.HasField("user_id") else None,
    )


def _raw(said: pb.RawContent) -> RawContent:
    try:
        published = said.published_at.ToDatetime(UTC) if said.HasField("published_at") else None
    except ValueError as error:
        raise InputError(f"raw_contents.published_at: {error}") from error
    return RawContent(
        content_id=said.content_id,
        title=said.title,
        description=said.description,
        tags=tuple(said.tags),
        language=said.language if said.HasField("language") else None,
        creator_id=said.creator_id if said.HasField("creator_id") else None,
        published_at=published,
        image=said.image,
        clip=said.clip,
    )
