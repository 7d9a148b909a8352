"""Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): good contents that are unlike each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def diversified(
    scores: npt.NDArray[np.float64], vectors: npt.NDArray[np.float32], k: int, diversity: float
) -> npt.NDArray[np.intp]:
    """Rows of the k that are chosen one after the other, each for its score less its cosine to the nearest chosen one.

    `scores` (n,) count by their place between the least and the greatest, 0 to 1. `vectors` (n, dim) have length 1, or
    are all zeros, which is unlike everything. `diversity` weighs likeness against score, from 0 (the best scores in
    their order) to 1 (the best one, and what is most unlike). Of equals, the better score goes first.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, space = scores[order], vectors[order]
    spread = np.ptp(ranked) if len(ranked) else 0.0
    worth = (1 - diversity) * ((ranked - ranked[-1]) / spread if spread else np.ones(len(ranked)))
    nearest = np.full(len(ranked), -1.0)
    chosen = []
    for _ in range(min(k, len(ranked))):
        best = int(np.argmax(worth - diversity * nearest))
        chosen.append(best)
        worth[best] = -np.inf
        np.maximum(nearest, space @ space[best], out=nearest)
    return order[chosen]
