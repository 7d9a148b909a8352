"""Bayesian matrix factorisation by Gibbs sampling, after Salakhutdinov & Mnih (ICML 2008), contents with side
information after Simm et al. (Macau, https://arxiv.org/abs/1509.04610).

A value is the dot product of its row's and its column's factors, plus a level of each, plus noise. Nothing is tuned to
the data: spreads and noise are drawn along with the factors, and a prediction is a mean over draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

_SPREAD = 0.05  # expected variance of a factor before any data
_PULL = 2.0  # how many entities the prior mean of zero counts for
_SIDE_PENALTY = 5.0  # on the weights of side information, in entities


@dataclass(frozen=True, slots=True)
class Draw:
    """One sample. `users` (u, K + 1) and `contents` (c, K + 1) are factors and, last, levels; `user` (K + 1,) is the
    mean user, `side` (features, K + 1) and `content` (K + 1,) what a content is from its features alone; `noise` is
    the deviation of a value.
    """

    users: Floats
    contents: Floats
    user: Floats
    content: Floats
    side: Floats
    noise: float


@dataclass(frozen=True, slots=True)
class Values:
    """Known values (n,), each of a user and a content."""

    users: Rows
    contents: Rows
    values: Floats


def draws(values: Values, users: int, features: Floats, factors: int, sweeps: int, seed: int) -> Iterator[Draw]:
    """A chain of samples given the values and the features (c, features) of the contents."""
    rng = np.random.default_rng(seed)
    by_user, by_content = _Grouped(values.users, users), _Grouped(values.contents, len(features))
    gram = features.T @ features + _SIDE_PENALTY * np.eye(features.shape[1])
    root = np.linalg.cholesky(np.linalg.inv(gram))
    mine, theirs = (rng.normal(scale=0.1, size=(n, factors + 1)) for n in (users, len(features)))
    mine[:, -1] = theirs[:, -1] = 0
    side, noise = np.zeros((features.shape[1], factors + 1)), 1.0
    for _ in range(sweeps):
        middle, precision = _prior(theirs - features @ side, rng)
        expected = features @ side + middle
        theirs = by_content.sample(mine, values.users, mine[:, -1], values.values, expected, precision, noise, rng)
        spread = np.linalg.cholesky(np.linalg.inv(precision))
        weights = np.linalg.solve(gram, features.T @ (theirs - middle))
        side = weights + root @ rng.normal(size=weights.shape) @ spread.T
        usual, precision = _prior(mine, rng)
        expected = np.broadcast_to(usual, mine.shape)
        mine = by_user.sample(theirs, values.contents, theirs[:, -1], values.values, expected, precision, noise, rng)
        own, other = mine[values.users], theirs[values.contents]
        error = values.values - np.vecdot(own[:, :-1], other[:, :-1]) - own[:, -1] - other[:, -1]
        noise = float(np.sqrt((1 + error @ error / 2) / rng.gamma(1 + len(error) / 2)))
        yield Draw(mine, theirs, usual, middle, side, noise)


class _Grouped:
    """Values by one of their two sides, whose factors are drawn all at once given the other side's."""

    def __init__(self, owners: Rows, count: int) -> None:
        self._order = np.argsort(owners, kind="stable")
        self._bounds = np.searchsorted(owners[self._order], np.arange(count + 1))

    def sample(
        self,
        others: Floats,
        rows: Rows,
        levels: Floats,
        values: Floats,
        expected: Floats,
        precision: Floats,
        noise: float,
        rng: np.random.Generator,
    ) -> Floats:
        """Factors and level of each owner, (count, K + 1): a linear regression on the others' factors and 1."""
        rows = rows[self._order]
        design = others[rows].copy()
        design[:, -1] = 1.0
        target = values[self._order] - levels[rows]
        precisions = np.repeat(precision[None], len(expected), 0)
        moments = expected @ precision
        for owner, (start, stop) in enumerate(zip(self._bounds[:-1], self._bounds[1:], strict=True)):
            own = design[start:stop]
            precisions[owner] += own.T @ own / noise**2
            moments[owner] += target[start:stop] @ own / noise**2
        mean = np.linalg.solve(precisions, moments[:, :, None])
        roots = np.linalg.cholesky(precisions).transpose(0, 2, 1)
        noisy = mean + np.linalg.solve(roots, rng.normal(size=mean.shape))
        return np.asarray(noisy[:, :, 0], np.float64)


def _prior(rows: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Mean and precision of the normal distribution that the rows come from, drawn from their normal-Wishart one."""
    n, width = rows.shape
    mean = rows.mean(axis=0)
    centred = rows - mean
    scatter = np.eye(width) * width * _SPREAD + centred.T @ centred + n * _PULL / (n + _PULL) * np.outer(mean, mean)
    root = np.linalg.cholesky(np.linalg.inv(scatter))
    bartlett = np.tril(rng.normal(size=(width, width)), -1)
    bartlett[np.diag_indices(width)] = np.sqrt(rng.chisquare(width + n - np.arange(width)))
    factor = root @ bartlett
    precision: Floats = factor @ factor.T
    spread = np.linalg.cholesky(np.linalg.inv((n + _PULL) * precision))
    return n * mean / (n + _PULL) + spread @ rng.normal(size=width), precision
