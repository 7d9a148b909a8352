"""How much of what an exact search finds an index finds too: pure functions on arrays."""

from __future__ import annotations

import numpy as np

from indexers.kinds import Matrix, Positions

K = 10
SAMPLE = 1000
_BLOCK = 16_384
"""Rows compared at a time: 1,000 queries against a block take 64 MiB."""
_ROUNDING = 1e-6
"""Two float32 inner products of the same unit rows, summed in another order, differ by less than this."""


def sample_positions(count: int, size: int, seed: int) -> Positions:
    """At most `size` different positions out of `count`, ascending; the same for the same seed."""
    chosen = np.random.default_rng(seed).choice(count, size=min(size, count), replace=False)
    return np.sort(chosen).astype(np.int64)


def exact_scores(unit: Matrix, sample: Positions, k: int) -> Matrix:
    """Cosines of each sampled row's `k` nearest other rows by full comparison, unordered: (s, min(k, n - 1)) float32.

    `unit` is (n, dim), rows of length 1.
    """
    k = min(k, len(unit) - 1)
    queries = unit[sample]
    best = np.full((len(sample), k), -np.inf, np.float32)
    for start in range(0, len(unit), _BLOCK):
        scores = queries @ unit[start : start + _BLOCK].T
        own = np.flatnonzero((sample >= start) & (sample < start + _BLOCK))
        scores[own, sample[own] - start] = -np.inf
        both = np.concatenate([best, scores], axis=1)
        best = np.partition(both, both.shape[1] - k, axis=1)[:, both.shape[1] - k :]
    return best


def recall_at_k(unit: Matrix, sample: Positions, found: Positions, k: int) -> float:
    """Share of the sampled rows' exact `k` nearest that `found` holds, 0 to 1; 1 where there is nothing to find.

    `found` is (s, >= k + 1) positions, best first, -1 for none; a row found for itself does not count. A row counts
    as right when its true cosine reaches that of the k-th exact neighbour, so equally near rows are as good.
    """
    k = min(k, len(unit) - 1)
    if k < 1 or not len(sample):
        return 1.0
    threshold = exact_scores(unit, sample, k).min(axis=1) - _ROUNDING
    right = 0
    for row, position, least in zip(found, sample, threshold, strict=True):
        others = row[(row >= 0) & (row != position)][:k]
        right += int((unit[np.unique(others)] @ unit[position] >= least).sum())
    return right / (len(sample) * k)
