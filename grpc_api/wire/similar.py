"""Similar."""

from __future__ import annotations

import numpy as np

from grpc_api.calls import Call
from grpc_api.messages.similar import (
    ByContent,
    ByContents,
    ByImage,
    ByText,
    ByVector,
    Query,
    Similarities,
    SimilarQuery,
)
from grpc_api.service import ScoringService
from grpc_api.wire.filters import filters
from protos.larder.v1 import scoring_pb2 as pb


def answer(service: ScoringService, request: pb.SimilarRequest, call: Call) -> pb.SimilarResponse:
    """Neighbours of a query."""
    embeddings = tuple((one.name, one.weight if one.HasField("weight") else 1.0) for one in request.embeddings)
    query = SimilarQuery(_query(request), embeddings, request.k, filters(request.filters))
    return to_proto(service.similar(query, call))


def to_proto(found: Similarities) -> pb.SimilarResponse:
    """Neighbours to messages."""
    answer = pb.SimilarResponse(release=found.release, request_id=found.request_id)
    for index in found.indexes:
        answer.indexes.add(embedding=index.embedding, version=index.version, weight=index.weight)
    for one in found.neighbours:
        answer.neighbours.add(content_id=one.content_id, score=one.score, title=one.title)
    return answer


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
        case "contents":
            return ByContents(tuple(request.contents.ids), request.include_self)
    return None
