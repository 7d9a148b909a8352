"""Quantised codes of vectors: residual k-means, as in TIGER (Rajput et al. 2023, https://arxiv.org/abs/2305.05065).

A vector becomes one word per level: the nearest of the level's centres to what the levels before it left over. A net
reads them one-hot, so that each word has an embedding of its own: the first layer's column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]

_ROUNDS = 20
_SEED = 0


@dataclass(frozen=True, slots=True)
class Codebook:
    """`mean` (dim,) is taken off first; `words` (levels, count, dim) are the centres of each level. Both float32."""

    mean: Matrix
    words: Matrix

    @classmethod
    def fit(cls, vectors: Matrix, levels: int, count: int) -> Codebook:
        """Fit on (n, dim) finite vectors; a level has at most n words."""
        mean = vectors.mean(axis=0)
        rest = vectors - mean
        count = min(count, len(vectors))
        rng = np.random.default_rng(_SEED)
        found = []
        for _ in range(levels):
            centres = _k_means(rest, count, rng)
            rest = rest - centres[_nearest(rest, centres)]
            found.append(centres)
        return cls(mean, np.stack(found))

    @property
    def width(self) -> int:
        """Numbers that come out: a column per word."""
        levels, count, _ = self.words.shape
        return int(levels * count)

    def codes(self, vectors: Matrix) -> Rows:
        """The words of each vector, (n, levels)."""
        rest = vectors - self.mean
        found = []
        for centres in self.words:
            found.append(_nearest(rest, centres))
            rest = rest - centres[found[-1]]
        return np.stack(found, axis=1)

    def __call__(self, vectors: Matrix) -> Matrix:
        """(n, dim) float32 without NaN -> (n, width): 1 where a vector has the word."""
        levels, count, _ = self.words.shape
        marked = np.zeros((len(vectors), levels, count), np.float32)
        np.put_along_axis(marked, self.codes(vectors)[:, :, None], 1.0, axis=2)
        return marked.reshape(len(vectors), -1)


def _k_means(rows: Matrix, count: int, rng: np.random.Generator) -> Matrix:
    """Lloyd's rounds from rows that were drawn; a centre that nobody is nearest to stays where it is."""
    centres = rows[np.sort(rng.choice(len(rows), count, replace=False))].copy()
    for _ in range(_ROUNDS):
        owner = _nearest(rows, centres)
        sizes = np.bincount(owner, minlength=count)
        sums = np.zeros_like(centres)
        np.add.at(sums, owner, rows)
        centres = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centres).astype(np.float32)
    return centres


def _nearest(rows: Matrix, centres: Matrix) -> Rows:
    nearest: Rows = ((centres**2).sum(axis=1) - 2 * rows @ centres.T).argmin(axis=1)
    return nearest
