"""Where a user's candidates come from: what the user's own vector foretells, what is near to likes, or neither."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Mask
from feature_repo.facts import Facts, Rows
from grpc_api.answers.filters import along
from grpc_api.answers.histories import History
from grpc_api.messages.recommend import Source
from indexers.inner_product import lifted_queries
from indexers.search import VectorIndex
from predictors.loaded import LoadedRelease

Vector = npt.NDArray[np.float32]

_LIKES = 5  # of the last liked contents, neighbours are looked for: each is a search


@dataclass(frozen=True, slots=True)
class Candidates:
    """Rows of the release's facts, best first, and what found them; `embedding` is empty where there are none."""

    rows: Rows
    source: Source
    embedding: str


def candidates(
    release: LoadedRelease,
    own: str | None,
    index: VectorIndex | None,
    history: History,
    eligible: Mask,
    pool: int,
) -> Candidates:
    """At most `pool` of the `eligible` contents, (len(facts),) bool: foretold by the user's vector of the embedding
    `own`, else near in `index` to what the user liked; none where there is neither.
    """
    if own is not None and len(found := _foretold(release, own, history.vectors[own], eligible, pool)):
        return Candidates(found, Source.USER_VECTOR, own)
    if index is not None and len(found := _near(release.facts, index, history, eligible, pool)):
        return Candidates(found, Source.RECENT_LIKES, index.manifest.embedding)
    return Candidates(np.empty(0, np.int64), Source.POPULAR, "")


def _foretold(release: LoadedRelease, name: str, vector: Vector, eligible: Mask, pool: int) -> Rows:
    """Rows of the `pool` contents that have the greatest inner product with the user's vector, (dim,), best first."""
    allowed = along(release.facts, eligible, name)
    [found] = release.users[name].search(lifted_queries(vector[np.newaxis]), pool, allowed=allowed)
    return release.facts.rows_of(one.content_id for one in found)


def _near(facts: Facts, index: VectorIndex, history: History, eligible: Mask, pool: int) -> Rows:
    """Rows of the `pool` contents that are nearest to any of the last liked ones, nearest first.

    To any of them, not to their mean: that may lie between a user's interests, near to none of them.
    """
    liked = [content_id for content_id in history.liked if content_id in index][:_LIKES]
    vectors, _ = index.vectors_of(liked)
    lists = index.search(vectors, pool, allowed=along(facts, eligible, index.manifest.embedding))
    cosines: dict[str, float] = {}
    for found in lists:
        for content_id, cosine in found:
            cosines[content_id] = max(cosine, cosines.get(content_id, -1.0))
    return facts.rows_of(sorted(cosines, key=lambda content_id: -cosines[content_id])[:pool])
