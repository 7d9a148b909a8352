"""Plain data to requests and answers to plain data, for both clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypedDict, TypeVar

import numpy as np
import numpy.typing as npt
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import status_pb2

from feature_repo.errors import InputError, LarderError
from grpc_api.errors import KINDS, code_of
from grpc_api.messages.describe import Description, EmbeddingInfo, IndexInfo, Limits, PredictorInfo, VariantInfo
from grpc_api.messages.explain import Explanation
from grpc_api.messages.filters import Filter
from grpc_api.messages.predict import Predictions, PredictorScores, PredictQuery, RawContent
from grpc_api.messages.recommend import Recommendation, Recommendations, RecommendQuery, Source
from grpc_api.messages.similar import DEFAULT_K, SearchedIndex, Similarities, TitledNeighbour
from grpc_api.wire.filters import to_proto
from protos.larder.v1 import scoring_pb2 as pb

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask(Generic[T]):
    """A request of the method of that name, and how its answer is read."""

    method: str
    request: Message
    read: Callable[[Any], T]
    request_id: str = ""


class SimilarOptions(TypedDict, total=False):
    """One of content_id, contents, text, image (a file's bytes) or vector ((dim,), of the one embedding that is named).

    `embedding` searches one index, `embeddings` several with a weight each; neither: the release's default.
    """

    content_id: str | None
    contents: Sequence[str] | None
    text: str | None
    image: bytes | None
    vector: npt.ArrayLike | None
    embedding: str
    embeddings: Mapping[str, float] | None
    k: int
    include_self: bool
    filters: Sequence[Filter]


def predict_request(query: PredictQuery) -> pb.PredictRequest:
    """The request of a query. Raises InputError."""
    return _message(
        pb.PredictRequest,
        predictors=query.predictors,
        content_ids=query.content_ids,
        raw_contents=[_raw(one) for one in query.raw_contents],
        user_id=query.user_id,
    )


def similar(options: SimilarOptions) -> Ask[Similarities]:
    """Raises InputError where there is not one query."""
    names = ("content_id", "contents", "text", "image", "vector")
    said: dict[str, Any] = {**options}
    given = {name: said[name] for name in names if said.get(name) is not None}
    if len(given) != 1:
        raise InputError(f"query: give one of {', '.join(names)}, not {', '.join(given) or 'none'}")
    if "vector" in given:
        given["vector"] = pb.Vector(values=np.asarray(given["vector"], np.float32).ravel().tolist())
    if "contents" in given:
        given["contents"] = _message(pb.ContentIds, ids=given["contents"])
    one = options.get("embedding")
    weights = options.get("embeddings") or ({one: 1.0} if one else {})
    request = _message(
        pb.SimilarRequest,
        **given,
        embeddings=[_message(pb.WeightedEmbedding, name=name, weight=weight) for name, weight in weights.items()],
        k=options.get("k", DEFAULT_K),
        include_self=options.get("include_self", False),
        filters=list(map(to_proto, options.get("filters", ()))),
    )
    return Ask("Similar", request, _similarities)


def recommend(query: RecommendQuery) -> Ask[Recommendations]:
    """Raises InputError."""
    fields = {name: getattr(query, name) for name in RecommendQuery.__slots__}
    request = _message(pb.RecommendRequest, **fields | {"filters": list(map(to_proto, query.filters))})
    return Ask("Recommend", request, _recommendations)


def explain(content: str, predictor: str, user: str | None, top: int) -> Ask[Explanation]:
    """Raises InputError."""
    request = _message(pb.ExplainRequest, predictor=predictor, content_id=content, user_id=user, top=top)
    return Ask("Explain", request, _explanation)


def describe() -> Ask[Description]:
    """What is loaded."""
    return Ask("Describe", pb.DescribeRequest(), _description)


def streamed(query: PredictQuery) -> pb.PredictStreamRequest:
    """One request of a stream. Raises InputError."""
    return pb.PredictStreamRequest(request=predict_request(query))


def streamed_answer(said: pb.PredictStreamResponse) -> Predictions | LarderError:
    """One answer of a stream, or the error that stands in its place."""
    if said.WhichOneof("answer") == "response":
        return predictions(said.response)
    code = code_of(status_pb2.Status(code=said.failure.code))
    return KINDS.get(code, LarderError)(said.failure.message)


def predictions(said: pb.PredictResponse) -> Predictions:
    """Packed fields to columns."""
    results = tuple(map(_scores, said.results))
    return Predictions(said.release, said.variant, said.request_id, list(said.content_ids), results)


def _message(kind: Callable[..., T], **fields: Any) -> T:
    """The message of these fields. Raises InputError for a value that its type cannot hold."""
    try:
        return kind(**fields)
    except (ValueError, TypeError) as error:
        raise InputError(f"request: {error}; give numbers from 0 and text in UTF-8") from error


def _raw(one: RawContent) -> pb.RawContent:
    published = None
    if one.published_at is not None:
        published = Timestamp()
        published.FromDatetime(one.published_at)
    fields = {name: getattr(one, name) for name in RawContent.__slots__}
    return _message(pb.RawContent, **fields | {"published_at": published})


def _scores(said: pb.PredictorScores) -> PredictorScores:
    return PredictorScores(
        predictor=said.predictor,
        version=said.version,
        statuses=np.array(said.statuses, np.int32),
        scores=np.array(said.scores, np.float64),
        probabilities=np.array(said.class_probabilities, np.float64).reshape(-1, said.class_count),
        classes=np.array(said.classes, np.int64),
        missing={feature.name: np.array(feature.rows, np.intp) for feature in said.missing_features},
    )


def _similarities(said: pb.SimilarResponse) -> Similarities:
    indexes = tuple(SearchedIndex(i.embedding, i.version, i.weight) for i in said.indexes)
    neighbours = [TitledNeighbour(n.content_id, n.score, n.title) for n in said.neighbours]
    return Similarities(said.release, said.request_id, indexes, neighbours)


def _recommendations(said: pb.RecommendResponse) -> Recommendations:
    return Recommendations(
        said.release,
        said.variant,
        said.request_id,
        said.predictor,
        said.predictor_version,
        said.embedding,
        [Recommendation(one.content_id, one.score, one.title) for one in said.recommendations],
        Source(said.source),
    )


def _explanation(said: pb.ExplainResponse) -> Explanation:
    return Explanation(
        said.release,
        said.request_id,
        said.predictor,
        said.predictor_version,
        said.score,
        said.method,
        said.base,
        tuple((one.name, one.value) for one in said.contributions),
        dict(said.modalities),
    )


def _description(said: pb.DescribeResponse) -> Description:
    return Description(
        release=said.release,
        predictors=tuple(
            PredictorInfo(p.name, p.version, p.service, tuple(p.features), p.class_count, dict(p.metrics))
            for p in said.predictors
        ),
        embeddings=tuple(
            EmbeddingInfo(e.name, e.dim, e.spec_digest, tuple(e.query_modalities)) for e in said.embeddings
        ),
        indexes=tuple(IndexInfo(i.embedding, i.version, i.kind, i.count, i.recall) for i in said.indexes),
        limits=Limits(**{name: getattr(said.limits, name) for name in Limits.__slots__}),
        variants=tuple(VariantInfo(v.name, v.release, v.share) for v in said.variants),
    )
