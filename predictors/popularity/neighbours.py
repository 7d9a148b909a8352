"""How popular the contents nearest to a content were that were published before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from predictors.popularity.reduction import steady_product, unit

Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]

SHARPNESS = 5.0  # a neighbour weighs exp(SHARPNESS * cosine)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Training contents: unit `vectors` (m, dim) float32, `published` (m,) µs since 1970 and `targets` (m,); the
    `nearest` of them by cosine are averaged.
    """

    vectors: Matrix
    published: Floats
    targets: Floats
    nearest: int

    @classmethod
    def fit(cls, vectors: Matrix, published: Floats, targets: Floats, nearest: int) -> Neighbours:
        """Keep the training rows that have a vector."""
        known = np.isfinite(vectors).all(axis=1)
        return cls(unit(vectors[known]), published[known], targets[known], nearest)

    def __call__(self, vectors: Matrix, as_of: Floats) -> Matrix:
        """Mean target (n,) float32, nearer ones weighing more; NaN without a vector or an earlier content.

        Only contents published strictly before `as_of` (n,) count, which leaves a training row itself out too.
        """
        said = np.full(len(vectors), np.nan, np.float32)
        rows = np.flatnonzero(np.isfinite(vectors).all(axis=1))
        cosines = steady_product(unit(vectors[rows]), self.vectors)
        said[rows] = self._means(np.where(self.published < as_of[rows, None], cosines, -np.inf))
        return said

    def _means(self, cosines: Matrix) -> Floats:
        top = np.argsort(-cosines, axis=1, kind="stable")[:, : self.nearest]
        weights = np.exp(SHARPNESS * np.take_along_axis(cosines, top, axis=1).astype(np.float64))
        total = weights.sum(axis=1)
        means: Floats = np.full(len(cosines), np.nan)
        np.divide(np.vecdot(weights, self.targets[top]), total, out=means, where=total > 0)
        return means
