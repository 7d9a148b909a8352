"""A typed client of the scoring service; its errors are Larder's kinds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc
import numpy as np
import numpy.typing as npt
from grpc_health.v1 import health_pb2, health_pb2_grpc

from feature_repo.errors import InputError
from grpc_api.errors import from_status
from grpc_api.messages.describe import Description, EmbeddingInfo, IndexInfo, Limits, PredictorInfo, VariantInfo
from grpc_api.messages.predict import Prediction, Predictions, PredictorScores
from grpc_api.messages.similar import DEFAULT_K, SearchedIndex, Similarities, TitledNeighbour
from protos.larder.v1 import scoring_pb2 as pb
from protos.larder.v1 import scoring_pb2_grpc

Response = TypeVar("Response")


class Scorer:
    """A connection to `larder serve`; safe to share between threads. `timeout` is seconds a call."""

    def __init__(self, address: str, timeout: float = 10.0) -> None:
        self.address = address
        self.timeout = timeout
        self._channel = grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)])
        self._scoring = scoring_pb2_grpc.ScoringServiceStub(self._channel)  # type: ignore[no-untyped-call]  # generated
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def close(self) -> None:
        """Hang up."""
        self._channel.close()

    def __enter__(self) -> Scorer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def predict(
        self, contents: Sequence[str], predictor: str = "popularity", user: str | None = None
    ) -> list[Prediction]:
        """One prediction a content, in order. Raises InputError, NotFoundError, UnavailableError."""
        found = self.predict_columns(contents, [predictor], user)
        return list(found[predictor].rows(found.content_ids))

    def predict_columns(
        self, contents: Sequence[str], predictors: Sequence[str] = ("popularity",), user: str | None = None
    ) -> Predictions:
        """What each of several predictors says, as columns, which cost less to read."""
        request = _request(pb.PredictRequest, predictors=predictors, content_ids=contents, user_id=user)
        return _predictions(self._call(self._scoring.Predict, request))

    def similar(
        self,
        *,
        content_id: str | None = None,
        text: str | None = None,
        image: bytes | None = None,
        vector: npt.ArrayLike | None = None,
        embedding: str = "",
        k: int = DEFAULT_K,
        include_self: bool = False,
    ) -> Similarities:
        """Neighbours of the one query that is given. Raises InputError, NotFoundError, UnavailableError."""
        given = {"content_id": content_id, "text": text, "image": image, "vector": vector}
        query: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if len(query) != 1:
            raise InputError(f"query: give one of {', '.join(given)}, not {', '.join(query) or 'none'}")
        if "vector" in query:
            query["vector"] = pb.Vector(values=np.asarray(vector, np.float32).ravel().tolist())
        embeddings = [pb.WeightedEmbedding(name=embedding)] if embedding else []
        request = _request(pb.SimilarRequest, **query, embeddings=embeddings, k=k, include_self=include_self)
        return _similarities(self._call(self._scoring.Similar, request))

    def describe(self) -> Description:
        """What the server has loaded. Raises UnavailableError."""
        return _description(self._call(self._scoring.Describe, pb.DescribeRequest()))

    def ready(self, part: str = "") -> bool:
        """Whether the server, or a part of it ("store", "index/minilm", "predictor/popularity"), answers requests."""
        try:
            answer = self._health.Check(health_pb2.HealthCheckRequest(service=part), timeout=self.timeout)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def _call(self, method: Callable[..., Response], request: object) -> Response:
        try:
            return method(request, timeout=self.timeout)
        except grpc.RpcError as error:
            raise from_status(error, self.address) from error


def _request(kind: Callable[..., Response], **fields: Any) -> Response:
    """The message of these fields. Raises InputError for a value that its type cannot hold."""
    try:
        return kind(**fields)
    except (ValueError, TypeError) as error:
        raise InputError(f"request: {error}; give numbers from 0 and text in UTF-8") from error


def _predictions(said: pb.PredictResponse) -> Predictions:
    results = tuple(map(_scores, said.results))
    return Predictions(said.release, said.variant, said.request_id, list(said.content_ids), results)


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
