"""Embeddings -> a few columns, fitted inside the training split.

CatBoost's cost at serving grows with its columns, and raw vectors drown few labels, so each embedding becomes
one ridge score (Hoerl & Kennard 1970) and its first principal components. Training rows get the score
out of fold (stacked generalisation, Wolpert 1992): no row's column has seen the row's own label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.contracts import digest

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]

_BLOCK = 1024  # rows of each side that a product takes at once

ALPHAS = tuple(10.0 ** (k / 2) for k in range(-6, 5))  # times the number of rows: the scale of Z'Z


@dataclass(frozen=True, slots=True)
class Reduction:
    """An affine map from a vector of `dim` numbers to `width` columns: the ridge score, then P components.

    `weights` is (width, dim) and `offset` (width,), float32; `alpha` is the ridge penalty per training row
    that won the cross-validation.
    """

    weights: Vectors
    offset: Vectors
    alpha: float

    @property
    def dim(self) -> int:
        """Length of the vectors that go in."""
        return self.weights.size // len(self.offset)

    @property
    def width(self) -> int:
        """Columns that come out."""
        return len(self.offset)

    def __call__(self, vectors: Vectors) -> Vectors:
        """(n, dim) float32 -> (n, width) float32; a row with NaN stays NaN."""
        return steady_product(vectors, self.weights) + self.offset


def steady_product(rows: Vectors, others: Vectors) -> Vectors:
    """`rows @ others.T`, (n, m) float32, in which a row's numbers do not depend on the rows beside it.

    A matrix product rounds by where among its rows one lies, and a content must score the same alone and among others:
    so it is taken in float64, whose last digits are rounded away.
    """
    product = np.empty((len(rows), len(others)), np.float32)
    for left in range(0, len(others), _BLOCK):
        wide = others[left : left + _BLOCK].T.astype(np.float64)
        for top in range(0, len(rows), _BLOCK):
            product[top : top + _BLOCK, left : left + _BLOCK] = rows[top : top + _BLOCK].astype(np.float64) @ wide
    return product


def unit(vectors: Vectors) -> Vectors:
    """Rows of length 1; a row of zeros stays one, a row with NaN stays NaN."""
    length = np.sqrt(np.vecdot(vectors, vectors))[:, None]
    scaled: Vectors = vectors / np.maximum(length, np.float32(1e-12))
    return scaled


def fit_reduction(
    vectors: Vectors, targets: Floats, folds: npt.NDArray[np.intp], components: int
) -> tuple[Reduction, Vectors]:
    """Fit on the training rows: the map for unseen rows, and the training rows' own (n, width) columns.

    `vectors` is (n, dim) float32 with NaN rows where absent, `targets` (n,), `folds` (n,) the fold of each row.
    The penalty is the one of `ALPHAS` with the least out-of-fold squared error.
    """
    known = np.isfinite(vectors).all(axis=1)
    rows = vectors[known].astype(np.float64)
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-12)
    z = (rows - mean) * scale
    y = targets[known]
    held_out = _out_of_fold(z, y, folds[known])
    best = int(np.argmin(((held_out - y[:, None]) ** 2).mean(axis=0)))

    gram = z.T @ z
    values, basis = np.linalg.eigh(gram)
    ridge = _solve(values, basis, z.T @ (y - y.mean()), len(y), (ALPHAS[best],))
    axes = _oriented(basis[:, ::-1][:, :components])
    weights = scale[:, None] * np.hstack([ridge, axes])
    offset = np.r_[y.mean(), np.zeros(axes.shape[1])] - mean @ weights
    reduction = Reduction(np.ascontiguousarray(weights.T, np.float32), offset.astype(np.float32), ALPHAS[best])
    columns = reduction(vectors)
    columns[known, 0] = held_out[:, best]
    return reduction, columns


def fold_of(content_ids: Sequence[str], folds: int, seed: int) -> npt.NDArray[np.intp]:
    """The fold (n,) of each content: a hash of its id, so that it does not move when contents are added."""
    return np.array([int(digest("fold", str(seed), c), 16) % folds for c in content_ids], np.intp)


def _out_of_fold(z: Floats, y: Floats, folds: npt.NDArray[np.intp]) -> Floats:
    """Ridge predictions (n, len(ALPHAS)) of each row by a model that was fitted without the row's fold."""
    gram, moment = z.T @ z, z.T @ y
    held_out = np.empty((len(y), len(ALPHAS)))
    for fold in np.unique(folds):
        out = folds == fold
        held, rest = z[out], ~out
        level, centre = y[rest].mean(), z[rest].mean(axis=0)
        n = int(rest.sum())
        # The fold's rows are taken off the whole's sums, so the Gram matrix is formed once
        part = gram - held.T @ held - n * np.outer(centre, centre)
        values, basis = np.linalg.eigh(part)
        weights = _solve(values, basis, moment - held.T @ y[out] - n * centre * level, n, ALPHAS)
        held_out[out] = (held - centre) @ weights + level
    return held_out


def _solve(values: Floats, basis: Floats, moment: Floats, n: int, alphas: tuple[float, ...]) -> Floats:
    """Ridge weights (dim, len(alphas)) from the eigenvalues and eigenvectors of the Gram matrix."""
    rotated = basis.T @ moment
    penalties = n * np.array(alphas)
    weights: Floats = basis @ (rotated[:, None] / (np.maximum(values, 0.0)[:, None] + penalties))
    return weights


def _oriented(axes: Floats) -> Floats:
    """The axes (dim, P) with the largest entry of each positive: an eigenvector's sign is arbitrary."""
    largest = np.abs(axes).argmax(axis=0)
    signs = np.sign(axes[largest, np.arange(axes.shape[1])])
    oriented: Floats = axes * signs
    return oriented
