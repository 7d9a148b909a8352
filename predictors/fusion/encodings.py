"""Encodings of numbers and tokens that a net reads well, each fitted on training rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.errors import StateError

Matrix = npt.NDArray[np.float32]

_SAMPLE = 8192  # tokens, evenly taken, that components are fitted on: more change nothing but the time


@dataclass(frozen=True, slots=True)
class Scale:
    """x -> (x - mean) * scale, and NaN -> 0."""

    mean: Matrix
    scale: Matrix

    @classmethod
    def fit(cls, rows: Matrix) -> Scale:
        """Of (n, columns) rows; a column that never changes becomes 0."""
        mean, deviation = np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)
        scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-6)
        return cls(mean.astype(np.float32), scale.astype(np.float32))

    def __call__(self, rows: Matrix) -> Matrix:
        """Of (n, columns) rows."""
        standard: Matrix = np.nan_to_num((rows - self.mean) * self.scale)
        return standard


@dataclass(frozen=True, slots=True)
class Bins:
    """Piecewise-linear encoding of numbers (Gorishniy et al. 2022): a net then bends where the training rows do.

    `low` and `width` (bins,) are each bin's, `column` (bins,) which number it belongs to. Beside the bins stands, for
    each of the F numbers, whether it is unknown.
    """

    low: npt.NDArray[np.float64]
    width: npt.NDArray[np.float64]
    column: npt.NDArray[np.int64]

    @classmethod
    def fit(cls, numbers: Matrix, bins: int) -> Bins:
        """Between quantiles of the known (n, F) values; equal quantiles are one edge."""
        low, width, column = [], [], []
        for number, values in enumerate(numbers.T):
            known = values[np.isfinite(values)]
            edges = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1))) if len(known) else np.empty(0)
            low.append(edges[:-1])
            width.append(np.diff(edges))
            column.append(np.full(len(edges[:-1]), number))
        return cls(
            np.concatenate(low).astype(np.float64),
            np.concatenate(width).astype(np.float64),
            np.concatenate(column).astype(np.int64),
        )

    def __call__(self, numbers: Matrix) -> Matrix:
        """(n, F) -> (n, bins + F): how far each number has got through each of its bins, NaN where it is unknown."""
        through = np.clip((numbers[:, self.column] - self.low) / self.width, 0.0, 1.0)
        return np.hstack([through, np.isnan(numbers)]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class TokenMap:
    """Principal components (D, C) of an embedding's tokens, `count` of them a content, around their `mean` (D,)."""

    count: int
    mean: Matrix
    axes: Matrix

    @classmethod
    def fit(cls, tokens: Matrix, components: int) -> TokenMap:
        """Of known training tokens (n, K, D). The components have a mean variance of 1."""
        rows = tokens.reshape(-1, tokens.shape[2])
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), _SAMPLE)).astype(np.int64)].astype(np.float64)
        mean = rows.mean(axis=0)
        values, basis = np.linalg.eigh(np.cov(rows - mean, rowvar=False))
        values, axes = values[::-1][:components], basis[:, ::-1][:, :components]
        axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])  # a sign is arbitrary
        scale = 1 / np.sqrt(max(values.mean(), 1e-12))
        return cls(tokens.shape[1], mean.astype(np.float32), np.ascontiguousarray(axes * scale, np.float32))

    def __call__(self, tokens: Matrix) -> Matrix:
        """(n, K D) -> (n, K, C); zeros for a content without tokens. Raises StateError for another length."""
        size = self.count * len(self.mean)
        if tokens.shape[1] not in (0, size):
            raise StateError(f"tokens have {tokens.shape[1]} numbers, the model was trained on {size}: train again")
        if tokens.shape[1] == 0:  # a frame or an answer in which no content has any
            return np.zeros((len(tokens), self.count, self.axes.shape[1]), np.float32)
        mapped: Matrix = np.nan_to_num((tokens.reshape(len(tokens), self.count, -1) - self.mean) @ self.axes)
        return mapped
