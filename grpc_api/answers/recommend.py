"""Recommend: candidates that suit a user, or are popular; scored; spread over unlike contents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Mask
from feature_repo.errors import NotFoundError
from feature_repo.facts import Facts, Rows
from grpc_api.answers.candidates import candidates
from grpc_api.answers.diversity import diversified
from grpc_api.answers.filters import meeting
from grpc_api.answers.histories import History, history_of
from grpc_api.answers.names import named
from grpc_api.answers.predict import predict
from grpc_api.calls import Call
from grpc_api.messages.predict import PredictQuery
from grpc_api.messages.recommend import Recommendation, RecommendQuery, Source
from grpc_api.telemetry.record import stage
from indexers.search import VectorIndex
from predictors.base import PREDICTORS
from predictors.loaded import LoadedRelease

_FOR_USERS = "interest"  # the feature service of predictors that score for a user


@dataclass(frozen=True, slots=True)
class Recommended:
    """Contents, best first, and what they were found and scored by; `embedding` is empty where none found them."""

    predictor: str
    version: str
    embedding: str
    source: Source
    contents: list[Recommendation]


def recommend(release: LoadedRelease, query: RecommendQuery, k: int, pool: int, call: Call) -> Recommended:
    """The k contents to show, fewer only where fewer can be shown: that meet the filters, are not excluded, were not
    met by the user (unless those are wanted too) and are in the store.

    Raises NotFoundError for an unknown predictor or embedding, DeadlineError.
    """
    name = query.predictor or _default_predictor(release)
    model = named("predictor", name, release.models)
    index = _index(release, query.embedding)
    with stage("read"):
        history = history_of(release, query.user_id)
    eligible = _eligible(release.facts, query, history)
    with stage("search"):
        own = next((one for one in history.vectors if query.embedding in ("", one)), None)
        found = candidates(release, own, index, history, eligible, pool)
    scored = _scored(release, query.user_id, name, _line(release.facts, found.rows, eligible), k, pool, call)
    chosen = _chosen(index, scored, k, query.diversity)
    titles = release.facts.titles(content_id for content_id, _ in chosen)
    return Recommended(
        predictor=name,
        version=model.predictor.version,
        embedding=found.embedding,
        source=found.source,
        contents=[Recommendation(*one, title) for one, title in zip(chosen, titles, strict=True)],
    )


def _default_predictor(release: LoadedRelease) -> str:
    """The first, in the order of the table of predictors, that scores for a user; else the first."""
    order = [name for name in PREDICTORS if name in release.models]
    order += sorted(set(release.models) - set(order))
    if not order:
        raise NotFoundError("predictor: this release has none")
    personal = (name for name in order if release.models[name].predictor.service == _FOR_USERS)
    return next(personal, order[0])


def _index(release: LoadedRelease, embedding: str) -> VectorIndex | None:
    """Whose vectors say what contents are alike: the index of that name, else of the release's default for contents."""
    if embedding:
        named("embedding", embedding, {**release.indexes, **release.users})
    default = release.manifest.defaults.get("content", "")
    return release.indexes.get(embedding, release.indexes.get(default))


def _eligible(facts: Facts, query: RecommendQuery, history: History) -> Mask:
    """Contents that may be shown, (len(facts),) bool."""
    mask = meeting(facts, query.filters)
    unwanted = facts.rows_of([*query.exclude_ids, *(() if query.include_seen else history.met)])
    mask[unwanted[unwanted >= 0]] = False
    return mask


def _line(facts: Facts, found: Rows, eligible: Mask) -> Rows:
    """All rows that may be shown: those that were found, then the others, the most popular first."""
    rest = eligible.copy()
    rest[found] = False
    return np.concatenate([found, facts.popular[rest[facts.popular]]])


@dataclass(frozen=True, slots=True)
class _Scored:
    """Contents with their scores, (n,)."""

    content_ids: list[str]
    scores: npt.NDArray[np.float64]


def _scored(release: LoadedRelease, user_id: str, predictor: str, line: Rows, k: int, pool: int, call: Call) -> _Scored:
    """The first `pool` contents in the line, scored; more of them until k have a score, where the store lacks some."""
    ids: list[str] = []
    scores: list[float] = []
    for asked in _parts(release.facts, line, pool):
        [said] = predict(release, PredictQuery((predictor,), asked, user_id=user_id))
        call.check()
        known = np.flatnonzero(np.isfinite(said.scores))
        ids += [asked[row] for row in known.tolist()]
        scores += said.scores[known].tolist()
        if len(ids) >= k:
            break
    return _Scored(ids, np.array(scores))


def _parts(facts: Facts, line: Rows, size: int) -> Iterator[list[str]]:
    for start in range(0, len(line), size):
        yield [facts.content_ids[row] for row in line[start : start + size].tolist()]


def _chosen(index: VectorIndex | None, scored: _Scored, k: int, diversity: float) -> list[tuple[str, float]]:
    """The k that are shown, with their scores."""
    ids = scored.content_ids
    vectors = np.zeros((len(ids), 1), np.float32) if index is None else index.vectors_of(ids)[0]
    rows = diversified(scored.scores, vectors, k, diversity)
    return [(ids[row], float(scored.scores[row])) for row in rows.tolist()]
