"""Kernel ridge regression on facts and vectors together (Saunders et al. 1998), as stacked features of the trees.

Trees cut one column at a time, and a ridge score adds one embedding up. What a picture is worth depends on the facts
beside it, so the joint kernel is a product: facts alike, times one plus how alike each embedding is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from predictors.popularity.reduction import steady_product, unit

Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]

NAMES = ("facts", "joint")  # columns that come out
FACTS_WIDTH, VECTORS_WIDTH = 0.05, 0.7  # of the Gaussian kernels, in 1 / squared distance
VECTORS_SHARE = 0.4  # of each embedding's kernel beside the constant 1
PENALTIES = (0.3, 0.6)  # of the ridge, by column; chosen on validation rows of real films


@dataclass(frozen=True, slots=True)
class JointKernel:
    """`facts` (m, F) of m centres, `vectors[name]` (m, P) unit rows (0 where absent), `weights` (m, 2), `level` the
    mean target; `mean` and `scale` (F,) standardise the facts. All float32.
    """

    mean: Matrix
    scale: Matrix
    facts: Matrix
    vectors: Mapping[str, Matrix]
    weights: Matrix
    level: float

    def __call__(self, facts: Matrix, vectors: Mapping[str, Matrix]) -> Matrix:
        """(n, 2) float32 from facts (n, F) with NaN where unknown and vectors (n, P) with NaN rows where absent."""
        inputs = [_standard(facts, self.mean, self.scale), *(_unit(vectors[name]) for name in self.vectors)]
        kernels = _kernels(inputs, [self.facts, *self.vectors.values()])
        columns = [np.vecdot(kernel, weights) for kernel, weights in zip(kernels, self.weights.T, strict=True)]
        return np.column_stack(columns) + np.float32(self.level)


def fit_kernel(
    facts: Matrix,
    vectors: Mapping[str, Matrix],
    targets: Floats,
    folds: npt.NDArray[np.intp],
    centres: int,
) -> tuple[JointKernel, Matrix]:
    """Fit on the training rows: the model for unseen rows, and the training rows' own out-of-fold (n, 2) columns.

    The first `centres` rows are the centres: with as many as rows it is kernel ridge itself, with fewer its subset of
    regressors (Smola and Bartlett 2001). The folds share `mean` and `scale`, which no target enters.
    """
    mean, scale = _scales(facts)
    inputs = [_standard(facts, mean, scale), *(_unit(part) for part in vectors.values())]
    kernels = [kernel.astype(np.float64) for kernel in _kernels(inputs, [part[:centres] for part in inputs])]
    level = float(targets.mean())
    weights = _solve_all(kernels, targets - level, np.ones(len(targets), bool))
    held_out = np.empty((len(targets), len(NAMES)), np.float32)
    for fold in np.unique(folds):
        rest = folds != fold
        base = float(targets[rest].mean())
        solved = _solve_all(kernels, targets - base, rest)
        held_out[~rest] = base + np.column_stack([k[~rest] @ w for k, w in zip(kernels, solved.T, strict=True)])
    named = {name: part[:centres] for name, part in zip(vectors, inputs[1:], strict=True)}
    return JointKernel(mean, scale, inputs[0][:centres], named, weights.astype(np.float32), level), held_out


def _solve_all(kernels: Sequence[Floats], y: Floats, rows: npt.NDArray[np.bool_]) -> Floats:
    """Weights (m, 2) of the centres from the given rows; centres outside of them weigh nothing."""
    used = rows[: kernels[0].shape[1]]
    weights = np.zeros((len(used), len(NAMES)))
    for column, (kernel, penalty) in enumerate(zip(kernels, PENALTIES, strict=True)):
        seen = kernel[np.ix_(rows, used)]
        among = kernel[: len(used)][np.ix_(used, used)]
        normal = seen.T @ seen + penalty * among
        normal[np.diag_indices_from(normal)] += 1e-6 * np.trace(normal) / len(normal)
        weights[used, column] = np.linalg.solve(normal, seen.T @ y[rows])
    return weights


def _kernels(inputs: Sequence[Matrix], centres: Sequence[Matrix]) -> tuple[Matrix, Matrix]:
    """The kernels (n, m) of `NAMES` between rows and centres."""
    facts = _gaussian(inputs[0], centres[0], FACTS_WIDTH)
    likeness = np.ones_like(facts)
    for part, those in zip(inputs[1:], centres[1:], strict=True):
        likeness += np.float32(VECTORS_SHARE) * _gaussian(part, those, VECTORS_WIDTH)
    return facts, facts * likeness


def _gaussian(rows: Matrix, centres: Matrix, width: float) -> Matrix:
    squares = np.vecdot(rows, rows)[:, None] + np.vecdot(centres, centres) - 2 * steady_product(rows, centres)
    kernel: Matrix = np.exp(np.float32(-width) * np.maximum(squares, 0))
    return kernel


def _scales(facts: Matrix) -> tuple[Matrix, Matrix]:
    """Mean (F,) and factor (F,) of each fact. A flag keeps its own scale: a rare one would outweigh all others."""
    known = np.isfinite(facts)
    count = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, facts, 0).astype(np.float64)
    mean = filled.sum(axis=0) / count
    deviation = np.sqrt((np.where(known, filled - mean, 0) ** 2).sum(axis=0) / count)
    flag = (np.isin(facts, (0, 1)) | ~known).all(axis=0)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-6)
    return mean.astype(np.float32), np.where(flag, 1.0, scale).astype(np.float32)


def _standard(facts: Matrix, mean: Matrix, scale: Matrix) -> Matrix:
    """Zero mean, unit deviation; what is unknown is the mean."""
    standard: Matrix = np.nan_to_num((facts - mean) * scale, nan=0.0).astype(np.float32)
    return standard


def _unit(vectors: Matrix) -> Matrix:
    """Rows of length 1; an absent one is 0, as far from all others."""
    return unit(np.nan_to_num(vectors))
