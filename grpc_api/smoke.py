"""What a release is asked before it is served: the requests of a caller, answered by the code that answers callers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from feature_repo.errors import StateError
from grpc_api.answers.predict import predict
from grpc_api.answers.recommend import recommend
from grpc_api.answers.similar import similar
from grpc_api.calls import Call
from grpc_api.messages.predict import PredictQuery, Status
from grpc_api.messages.recommend import RecommendQuery
from grpc_api.messages.similar import ByContent, SimilarQuery
from predictors.loaded import LoadedRelease
from predictors.pins import Smoke

T = TypeVar("T")
Floats = npt.NDArray[np.float64]

log = logging.getLogger(__name__)

CONTENTS = 8
_K, _POOL = 5, 50
_CALL = Call("smoke")
_ROUNDING = 1e-3


def first(release: LoadedRelease, user_id: str | None) -> Smoke:
    """Ask a release that was just made about popular contents, to be kept in it. Raises StateError as `check` does."""
    facts = release.facts
    ids = tuple(facts.content_ids[row] for row in facts.popular[:CONTENTS].tolist())
    scores = _ask(release, Smoke(ids, user_id, {}))
    scored = np.logical_and.reduce([np.isfinite(one) for one in scores.values()], axis=0) if ids else np.empty(0, bool)
    kept = {name: tuple(one[scored].tolist()) for name, one in scores.items()}
    return Smoke(tuple(np.array(ids, object)[scored]), user_id, kept)


def check(release: LoadedRelease) -> None:
    """Ask a release, and those of an experiment beside it, what they were asked when they were made.

    Data move, so scores may be others. Raises StateError that names the release and the request where one raises,
    finds none of the contents in the store, or is answered by what is no score, probability or cosine.
    """
    for one in release.every:
        smoke = one.manifest.smoke
        if smoke is not None:
            for name, scores in _ask(one, smoke).items():
                moved = np.abs(scores - smoke.scores.get(name, np.nan))
                log.info("release %s: scores of %s moved by at most %.3g", one.version, name, np.fmax.reduce(moved))


def _ask(release: LoadedRelease, smoke: Smoke) -> dict[str, Floats]:
    """Scores by predictor, (n,) along the contents, NaN where the store lacks one."""
    if not smoke.content_ids:
        return {}
    scores = {
        name: _run(release, f"Predict by {name}", partial(_predicted, release, smoke, name)) for name in release.models
    }
    for name, index in release.indexes.items():
        if indexed := [content_id for content_id in smoke.content_ids if content_id in index]:
            _run(release, f"Similar by {name}", partial(_similar, release, name, indexed[0]))
    if smoke.user_id is not None:
        _run(release, "Recommend", partial(_recommended, release, smoke.user_id))
    return scores


def _run(release: LoadedRelease, request: str, ask: Callable[[], T]) -> T:
    try:
        return ask()
    except Exception as error:  # whatever a broken part raises
        raise StateError(
            f"release {release.version} fails its own request, {request} ({type(error).__name__}: {error})"
        ) from error


def _predicted(release: LoadedRelease, smoke: Smoke, name: str) -> Floats:
    [said] = predict(release, PredictQuery((name,), list(smoke.content_ids), user_id=smoke.user_id))
    known = said.statuses != Status.UNKNOWN_CONTENT
    if not known.any():
        raise StateError("the online store has none of its contents: run `larder materialize`")
    _require_finite("scores", said.scores[known])
    _require_finite("probabilities", said.probabilities[known])
    if np.abs(said.probabilities[known].sum(axis=1) - 1).max() > _ROUNDING:
        raise StateError("probabilities do not sum to 1")
    return said.scores


def _similar(release: LoadedRelease, name: str, content_id: str) -> None:
    query = ByContent(content_id)
    _, found = similar(release, SimilarQuery(query, ((name, 1.0),)), query, _K, _CALL)
    cosines = np.array([one.score for one in found])
    _require_finite("cosines", cosines)
    if cosines.size and np.abs(cosines).max() > 1 + _ROUNDING:
        raise StateError("cosines are above 1")


def _recommended(release: LoadedRelease, user_id: str) -> None:
    found = recommend(release, RecommendQuery(user_id), _K, _POOL, _CALL)
    _require_finite("scores", np.array([one.score for one in found.contents]))


def _require_finite(what: str, values: Floats) -> None:
    if not np.isfinite(values).all():
        raise StateError(f"{what} are not finite")
