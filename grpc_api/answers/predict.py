"""Predict: one read of the store for each feature service that is needed, and every predictor over its columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Columns, Mask, Users, Wanted, stamp
from feature_repo.schema import VIEWS
from grpc_api.answers.names import named
from grpc_api.messages.predict import PredictorScores, PredictQuery, Status
from grpc_api.telemetry.record import note_scores, stage
from predictors.base import Predictor, Scores
from predictors.loaded import LoadedRelease, Model

# What a read gives whether or not there is such a content: what was asked, and the user's features
_ASKED = frozenset({"content_id", "user_id", "event_timestamp"})
_OF_THE_USER = frozenset(name for entity, features in VIEWS.values() if entity == "user" for name in features)
# Every content of the catalog has a row there, whatever else it lacks
_KNOWN = Wanted(frozenset(), stamps=frozenset({"content_meta"}))


def predict(release: LoadedRelease, query: PredictQuery) -> tuple[PredictorScores, ...]:
    """What each predictor says of all candidates. Raises NotFoundError for an unknown predictor."""
    [found] = predict_many(release, [query], [0])
    return found


def predict_many(
    release: LoadedRelease, queries: Sequence[PredictQuery], numbers: Sequence[int]
) -> list[tuple[PredictorScores, ...]]:
    """`predict` of several queries for the same predictors, at the cost of one for all their candidates.

    `numbers` are the places of their calls among those under way.
    """
    first, *others = queries
    ids = [content_id for query in queries for content_id in query.content_ids] if others else first.content_ids
    users: Users = [query.user_id for query in queries for _ in query.content_ids] if others else first.user_id
    found = _predict(release, first.predictors, ids, users)
    ends = accumulate(len(query.content_ids) for query in queries)
    parts = [tuple(one.part(*span) for one in found) for span in pairwise([0, *ends])] if others else [found]
    for query, number, scores in zip(queries, numbers, parts, strict=True):
        note_scores(release, query.content_ids, query.user_id, scores, number)
    return parts


def _predict(
    release: LoadedRelease, predictors: Sequence[str], content_ids: Sequence[str], users: Users
) -> tuple[PredictorScores, ...]:
    models = [named("predictor", name, release.models) for name in predictors]
    wanted: dict[str, Wanted] = {}
    for model in models:
        service = model.predictor.service
        wanted[service] = wanted.get(service, _KNOWN) | model.wanted
    with stage("read"):
        read = {
            service: release.store.read(service, content_ids, users, wanted=all_of_it)
            for service, all_of_it in wanted.items()
        }
    with stage("score"):
        return tuple(
            of_predictor(name, model, read[model.predictor.service])
            for name, model in zip(predictors, models, strict=True)
        )


def of_predictor(name: str, model: Model, columns: Columns) -> PredictorScores:
    """What one predictor says of rows that hold the features it wants; the rows of which nothing is known get NaN."""
    known = _known(columns)
    missing = _missing(model.predictor, columns, known)
    statuses = np.where(known, Status.OK, Status.UNKNOWN_CONTENT).astype(np.int32)
    for rows in missing.values():
        statuses[rows] = Status.INCOMPLETE
    scores = _score(model, columns, known)
    return PredictorScores(
        predictor=name,
        version=model.predictor.version,
        statuses=statuses,
        scores=scores.score,
        probabilities=scores.probabilities,
        classes=scores.classes,
        missing=missing,
    )


def _known(columns: Columns) -> Mask:
    """Contents that the store has: (n,) bool. What is equal on every row says nothing of them."""
    masks = [mask for name, mask in columns.present.items() if name not in _OF_THE_USER | _ASKED]
    return np.logical_or.reduce(masks) if masks else np.zeros(columns.rows, bool)


def _missing(predictor: Predictor, columns: Columns, known: Mask) -> dict[str, npt.NDArray[np.intp]]:
    """The embeddings that the predictor reads and known contents lack, and the rows that lack them."""
    nowhere = np.zeros(columns.rows, bool)
    there = {e: columns.present.get(e, columns.present.get(stamp(e), nowhere)) for e in sorted(predictor.embeddings)}
    rows = {embedding: np.flatnonzero(known & ~present) for embedding, present in there.items()}
    return {embedding: lacking for embedding, lacking in rows.items() if len(lacking)}


def _score(model: Model, columns: Columns, known: Mask) -> Scores:
    """Scores of all rows, of which the predictor sees the known ones only: the others get NaN, and class -1."""
    if known.all():
        return model.score(columns)
    rows = np.flatnonzero(known)
    found = model.score(columns.take(rows))

    def spread(part: npt.NDArray[Any], empty: float) -> npt.NDArray[Any]:
        full = np.full((columns.rows, *part.shape[1:]), empty, part.dtype)
        full[rows] = part
        return full

    return Scores(spread(found.score, np.nan), spread(found.probabilities, np.nan), spread(found.classes, -1))
