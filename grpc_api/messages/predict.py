"""Predict: candidates and what predictors say of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum

import numpy as np
import numpy.typing as npt


class Status(IntEnum):
    """How one candidate fared; the numbers are those of `larder.v1.Status`."""

    OK = 1
    UNKNOWN_CONTENT = 2
    INCOMPLETE = 3
    UNREADABLE = 4


@dataclass(frozen=True, slots=True)
class RawContent:
    """A content that the store does not have; `clip` is a path below the server's folder of clips."""

    content_id: str
    title: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    language: str | None = None
    creator_id: str | None = None
    published_at: datetime | None = None
    image: bytes = b""
    clip: str = ""


@dataclass(frozen=True, slots=True)
class PredictQuery:
    """Candidates to score, those of the store and then raw ones, for a user or (None) for no one in particular."""

    predictors: tuple[str, ...]
    content_ids: list[str]
    raw_contents: tuple[RawContent, ...] = ()
    user_id: str | None = None

    @property
    def candidates(self) -> list[str]:
        """The ids of the answer's rows."""
        return [*self.content_ids, *(raw.content_id for raw in self.raw_contents)]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One candidate's answer; `score` is NaN, and the class None, without a score."""

    content_id: str
    status: Status
    score: float
    probabilities: tuple[float, ...]
    predicted_class: int | None
    missing_features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PredictorScores:
    """What one predictor says of n candidates, as columns.

    `statuses` (n,) int32, `scores` (n,) float64, `probabilities` (n, classes) float64 (float32 on the wire) and
    `classes` (n,) int64. NaN and class -1 stand where there is no score. `missing` gives, by feature, the rows that
    lack it.
    """

    predictor: str
    version: str
    statuses: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64]
    classes: npt.NDArray[np.int64]
    missing: Mapping[str, npt.NDArray[np.intp]]

    def part(self, start: int, end: int) -> PredictorScores:
        """What it says of the candidates from row `start` to before row `end`."""
        here = slice(start, end)
        lacking = {name: rows[(rows >= start) & (rows < end)] - start for name, rows in self.missing.items()}
        return replace(
            self,
            statuses=self.statuses[here],
            scores=self.scores[here],
            probabilities=self.probabilities[here],
            classes=self.classes[here],
            missing={name: rows for name, rows in lacking.items() if len(rows)},
        )

    def rows(self, content_ids: list[str]) -> Iterator[Prediction]:
        """One `Prediction` a candidate, in order."""
        lacking: dict[int, tuple[str, ...]] = {}
        for name, rows in self.missing.items():
            for row in rows.tolist():
                lacking[row] = (*lacking.get(row, ()), name)
        columns = zip(
            content_ids,
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
class Predictions:
    """The answers of one request: what each predictor says of the candidates `content_ids`."""

    release: str
    variant: str
    request_id: str
    content_ids: list[str]
    results: tuple[PredictorScores, ...]

    def __getitem__(self, predictor: str) -> PredictorScores:
        """What one predictor says."""
        return next(found for found in self.results if found.predictor == predictor)
