"""What the scoring service is asked and answers, as plain data: shared by the service, the servicer and the client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

DEFAULT_K = 10


class Status(IntEnum):
    """How one candidate fared; the numbers are those of `larder.v1.Status`."""

    OK = 1
    UNKNOWN_CONTENT = 2
    INCOMPLETE = 3


@dataclass(frozen=True, slots=True)
class PredictQuery:
    """Candidates to score with one predictor, for a user or (None) for no one in particular."""

    predictor: str
    content_ids: list[str]
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """One candidate's answer; `score` is NaN, and the class None, for an unknown content."""

    content_id: str
    status: Status
    score: float
    probabilities: tuple[float, ...]
    predicted_class: int | None
    missing_features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Predictions:
    """The answers of one request as columns over its n candidates.

    `statuses` (n,) int32, `scores` (n,) float64, `probabilities` (n, classes) float64 (float32 on the wire) and
    `classes` (n,) int64. An unknown content has NaN and class -1. `missing` gives, by feature, the rows that lack it.
    """

    release: str
    predictor: str
    predictor_version: str
    content_ids: list[str]
    statuses: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64]
    classes: npt.NDArray[np.int64]
    missing: Mapping[str, npt.NDArray[np.intp]]

    def rows(self) -> Iterator[Prediction]:
        """One `Prediction` a candidate, in order."""
        lacking: dict[int, tuple[str, ...]] = {}
        for name, rows in self.missing.items():
            for row in rows.tolist():
                lacking[row] = (*lacking.get(row, ()), name)
        columns = zip(
            self.content_ids,
            self.statuses.tolist(),
            self.scores.tolist(),
            self.probabilities.tolist(),
            self.classes.tolist(),
            strict=True,
        )
        for row, (content_id, status, score, chance, best) in enumerate(columns):
            chosen = best if best >= 0 else None
            yield Prediction(content_id, Status(status), score, tuple(chance), chosen, lacking.get(row, ()))


@dataclass(frozen=True, slots=True)
class ByContent:
    """Neighbours of a content that the index holds."""

    content_id: str
    include_self: bool = False


@dataclass(frozen=True, slots=True)
class ByText:
    """Neighbours of a text."""

    text: str


@dataclass(frozen=True, slots=True)
class ByImage:
    """Neighbours of a picture file's bytes."""

    image: bytes


@dataclass(frozen=True, slots=True)
class ByVector:
    """Neighbours of a vector, (dim,) float32."""

    vector: npt.NDArray[np.float32]


Query = ByContent | ByText | ByImage | ByVector


@dataclass(frozen=True, slots=True)
class SimilarQuery:
    """What to find neighbours of, under which embedding (empty: the release's default) and how many."""

    query: Query | None
    embedding: str = ""
    k: int = 0


@dataclass(frozen=True, slots=True)
class TitledNeighbour:
    """One content near the query; a greater score is nearer."""

    content_id: str
    score: float
    title: str


@dataclass(frozen=True, slots=True)
class Similarities:
    """Neighbours, nearest first, and what they were found with."""

    release: str
    embedding: str
    index_version: str
    neighbours: list[TitledNeighbour]


@dataclass(frozen=True, slots=True)
class PredictorInfo:
    """A loaded predictor."""

    name: str
    version: str
    service: str
    features: tuple[str, ...]
    class_count: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class EmbeddingInfo:
    """An embedding of the release."""

    name: str
    dim: int
    spec_digest: str
    query_modalities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """A loaded index; `recall` is recall@10 against exact search."""

    embedding: str
    version: str
    kind: str
    count: int
    recall: float


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may ask at most."""

    candidates: int = 1000
    k: int = 1000
    text_characters: int = 10_000
    payload_bytes: int = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Description:
    """What is loaded."""

    release: str
    predictors: tuple[PredictorInfo, ...]
    embeddings: tuple[EmbeddingInfo, ...]
    indexes: tuple[IndexInfo, ...]
    limits: Limits
