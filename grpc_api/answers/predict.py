"""Predict: one read of the store for each feature service that is needed, and every predictor over its columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Columns, Mask
from feature_repo.schema import VIEWS
from grpc_api.answers.names import named
from grpc_api.messages.predict import PredictorScores, PredictQuery, Status
from predictors.base import Predictor, Scores
from predictors.loaded import LoadedRelease, Model

# What a read gives whether or not there is such a content: what was asked, and the user's features
_ASKED = frozenset({"content_id", "user_id", "event_timestamp"})
_OF_THE_USER = frozenset(name for entity, features in VIEWS.values() if entity == "user" for name in features)


def predict(release: LoadedRelease, query: PredictQuery) -> tuple[PredictorScores, ...]:
    """What each predictor says of all candidates. Raises NotFoundError for an unknown predictor."""
    models = [named("predictor", name, release.models) for name in query.predictors]
    read: dict[str, Columns] = {}
    for model in models:
        service = model.predictor.service
        if service not in read:
            read[service] = release.store.read(service, query.content_ids, query.user_id)
    return tuple(
        _of_predictor(name, model, read[model.predictor.service])
        for name, model in zip(query.predictors, models, strict=True)
    )


def _of_predictor(name: str, model: Model, columns: Columns) -> PredictorScores:
    known = _known(columns)
    missing = _missing(model.predictor, columns, known)
    statuses = np.where(known, Status.OK, Status.UNKNOWN_CONTENT).astype(np.int32)
    for rows in missing.values():
        statuses[rows] = Status.INCOMPLETE
    scores = _score(model.predictor, columns, known)
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
    rows = {e: np.flatnonzero(known & ~columns.present.get(e, nowhere)) for e in sorted(predictor.embeddings)}
    return {embedding: lacking for embedding, lacking in rows.items() if len(lacking)}


def _score(predictor: Predictor, columns: Columns, known: Mask) -> Scores:
    """Scores of all rows, of which the predictor sees the known ones only: the others get NaN, and class -1."""
    if known.all():
        return predictor.score(columns)
    rows = np.flatnonzero(known)
    found = predictor.score(columns.take(rows))

    def spread(part: npt.NDArray[Any], empty: float) -> npt.NDArray[Any]:
        full = np.full((columns.rows, *part.shape[1:]), empty, part.dtype)
        full[rows] = part
        return full

    return Scores(spread(found.score, np.nan), spread(found.probabilities, np.nan), spread(found.classes, -1))
