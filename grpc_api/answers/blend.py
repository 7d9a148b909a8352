"""The nearest contents by the weighted mean of several embeddings' cosines.

The threshold algorithm (Fagin, Lotem and Naor, 2003): each index gives its nearest contents, all those get their exact
cosine under every embedding, and the search goes deeper until no content that was not seen can be among the best.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Mask
from grpc_api.calls import Call
from indexers.search import Neighbour, VectorIndex

Vector = npt.NDArray[np.float32]

_LEAST_DEPTH = 64
_DEEPER = 4  # times as deep at each step, so that all steps together cost a third more than the last


@dataclass(frozen=True, slots=True)
class Part:
    """An index, its weight, above 0 (the weights of all parts sum to 1), and the query in its space, (dim,) float32 of
    length 1.
    """

    index: VectorIndex
    weight: float
    vector: Vector

    @property
    def name(self) -> str:
        """Name of the embedding."""
        return self.index.manifest.embedding

    def search(self, depth: int, without: Collection[str], allowed: Mapping[str, Mask] | None) -> list[Neighbour]:
        """The nearest contents in this index."""
        return self.index.around(self.vector, depth, without, None if allowed is None else allowed[self.name])

    def cosines(self, content_ids: Sequence[str]) -> Vector:
        """Those of contents with the query, (n,); 0, as of nothing in common, where the index has no such content."""
        matrix, _ = self.index.vectors_of(content_ids)
        cosines: Vector = matrix @ self.vector
        return cosines


def blended(
    parts: Sequence[Part], k: int, without: Collection[str], allowed: Mapping[str, Mask] | None, call: Call
) -> list[Neighbour]:
    """The k best contents of those that any of the indexes has and `allowed` marks (by name of the index).

    As exact as the indexes' own searches. Raises DeadlineError between two steps.
    """
    if len(parts) == 1:
        return parts[0].search(k, without, allowed)
    depth = max(_DEEPER * k, _LEAST_DEPTH)
    while True:
        lists = [part.search(depth, without, allowed) for part in parts]
        best = _best(parts, sorted({n.content_id for found in lists for n in found}), k)
        ends = [(part.weight, found[-1].score) for part, found in zip(parts, lists, strict=True) if len(found) == depth]
        # Who is in none of the lists has at most the last cosine of each that could go on, and 0 of the others
        unseen = sum(weight * max(cosine, 0.0) for weight, cosine in ends)
        if not ends or (len(best) == k and best[-1].score >= unseen):
            return best
        call.check()
        depth *= _DEEPER


def _best(parts: Sequence[Part], content_ids: list[str], k: int) -> list[Neighbour]:
    scores = np.zeros(len(content_ids))
    for part in parts:
        scores += part.weight * part.cosines(content_ids)
    order = np.argsort(-scores, kind="stable")[:k]
    return [Neighbour(content_ids[row], float(scores[row])) for row in order.tolist()]
