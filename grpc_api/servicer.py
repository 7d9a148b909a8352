"""Protobuf to the service's plain data and back, and nothing else."""

from __future__ import annotations

from dataclasses import asdict

import grpc
import numpy as np

from grpc_api.messages import (
    ByContent,
    ByImage,
    ByText,
    ByVector,
    Description,
    Predictions,
    PredictQuery,
    Query,
    Similarities,
    SimilarQuery,
)
from grpc_api.service import ScoringService
from protos.larder.v1 import scoring_pb2 as pb
from protos.larder.v1 import scoring_pb2_grpc


class ScoringServicer(scoring_pb2_grpc.ScoringServicer):
    """`larder.v1.Scoring` over a `ScoringService`."""

    def __init__(self, service: ScoringService) -> None:
        self._service = service

    def Predict(self, request: pb.PredictRequest, context: grpc.ServicerContext) -> pb.PredictResponse:  # noqa: N802
        """Scores of candidates."""
        user_id = request.user_id if request.HasField("user_id") else None
        query = PredictQuery(request.predictor, list(request.content_ids), user_id)
        return predictions_to_proto(self._service.predict(query))

    def Similar(self, request: pb.SimilarRequest, context: grpc.ServicerContext) -> pb.SimilarResponse:  # noqa: N802
        """Neighbours of a query."""
        query = SimilarQuery(_query(request), request.embedding, request.k)
        return similarities_to_proto(self._service.similar(query))

    def Describe(self, request: pb.DescribeRequest, context: grpc.ServicerContext) -> pb.DescribeResponse:  # noqa: N802
        """What is loaded."""
        return description_to_proto(self._service.describe())


def _query(request: pb.SimilarRequest) -> Query | None:
    match request.WhichOneof("query"):
        case "content_id":
            return ByContent(request.content_id, request.include_self)
        case "text":
            return ByText(request.text)
        case "image":
            return ByImage(request.image)
        case "vector":
            return ByVector(np.array(request.vector.values, np.float32))
    return None


def predictions_to_proto(found: Predictions) -> pb.PredictResponse:
    """Columns to packed fields."""
    return pb.PredictResponse(
        release=found.release,
        predictor=found.predictor,
        predictor_version=found.predictor_version,
        content_ids=found.content_ids,
        statuses=found.statuses.tolist(),
        scores=found.scores.tolist(),
        class_count=found.probabilities.shape[1],
        class_probabilities=found.probabilities.ravel().tolist(),
        classes=found.classes.tolist(),
        missing_features=[pb.MissingFeature(name=n, rows=rows.tolist()) for n, rows in found.missing.items()],
    )


def similarities_to_proto(found: Similarities) -> pb.SimilarResponse:
    """Neighbours to messages."""
    neighbours = [pb.Neighbour(content_id=n.content_id, score=n.score, title=n.title) for n in found.neighbours]
    return pb.SimilarResponse(
        release=found.release, embedding=found.embedding, index_version=found.index_version, neighbours=neighbours
    )


def description_to_proto(found: Description) -> pb.DescribeResponse:
    """Every field has the name that the message gives it."""
    return pb.DescribeResponse(
        release=found.release,
        predictors=[pb.Predictor(**asdict(p)) for p in found.predictors],
        embeddings=[pb.Embedding(**asdict(e)) for e in found.embeddings],
        indexes=[pb.Index(**asdict(i)) for i in found.indexes],
        limits=pb.Limits(**asdict(found.limits)),
    )
