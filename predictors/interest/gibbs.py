"""Bayesian matrix factorisation by Gibbs sampling, after Salakhutdinov & Mnih (ICML 2008), contents with side
information after Simm et al. (Macau, https://arxiv.org/abs/1509.04610).

A value is the dot product of its user's and its content's factors, plus a level of each, plus noise; users change in
time (`walks`). Nothing is tuned to the data: spreads, noise and how fast users change are drawn along with the factors,
and a prediction is a mean over draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from predictors.interest.walks import PERIODS, Stops, Walks

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

_SPREAD = 0.05  # expected variance of a factor before any data
_PULL = 2.0  # how many entities the prior mean of zero counts for
_SIDE_PENALTY = 5.0  # on the weights of side information, in entities
_STILL = 15  # sweeps for which users stand still: from a random start, factors of those who walk are found slowly


@dataclass(frozen=True, slots=True)
class Draw:
    """One sample. `users` (u, K + 1), when they had their last value, and `contents` (c, K + 1) are factors and, last,
    levels; `user` (K + 1,) is the mean user, `side` (features, K + 1) and `content` (K + 1,) what a content is by
    its features alone; `noise` is the deviation of a value, `half_life` that of users' ways, in lengths of the log.
    """

    users: Floats
    contents: Floats
    user: Floats
    content: Floats
    side: Floats
    noise: float
    half_life: float


@dataclass(frozen=True, slots=True)
class Values:
    """Known values (n,), each of a user and a content at a time."""

    users: Rows
    contents: Rows
    values: Floats
    times: Floats


def draws(values: Values, users: int, features: Floats, factors: int, sweeps: int, seed: int) -> Iterator[Draw]:
    """A chain of samples given the values and the features (c, features) of the contents."""
    rng = np.random.default_rng(seed)
    by_content = _Grouped(values.contents, len(features))
    gram = features.T @ features + _SIDE_PENALTY * np.eye(features.shape[1])
    root = np.linalg.cholesky(np.linalg.inv(gram))
    mine, theirs = (rng.normal(scale=0.1, size=(n, factors + 1)) for n in (users, len(features)))
    mine[:, -1] = theirs[:, -1] = 0
    usual, precision = _prior(mine, np.ones(users), rng)
    side, noise = np.zeros((features.shape[1], factors + 1)), 1.0
    for sweep in range(sweeps):
        if sweep in (0, _STILL):
            walks = Walks(Stops.of(values.users, values.times * (sweep > 0), users))
            stops, mine = walks.stops, mine[walks.stops.owner]
            by_stop = _Grouped(stops.of_value, len(mine))
        middle, pull = _prior(theirs - features @ side, np.ones(len(theirs)), rng)
        expected = features @ side + middle
        precisions, moments = by_content.told(mine[stops.of_value], values.values, noise)
        theirs = _drawn(pull + precisions, expected @ pull + moments, rng)
        weights = np.linalg.solve(gram, features.T @ (theirs - middle))
        side = weights + root @ rng.normal(size=weights.shape) @ np.linalg.cholesky(np.linalg.inv(pull)).T
        precisions, moments = by_stop.told(theirs[values.contents], values.values, noise)
        mine = walks.sample(precisions, moments, usual, np.asarray(np.linalg.inv(precision), np.float64), rng)
        usual, precision = _prior(*walks.moves(mine), rng)
        own, other = mine[stops.of_value], theirs[values.contents]
        error = values.values - np.vecdot(own[:, :-1], other[:, :-1]) - own[:, -1] - other[:, -1]
        noise = float(np.sqrt((1 + error @ error / 2) / rng.gamma(1 + len(error) / 2)))
        yield Draw(mine[stops.last], theirs, usual, middle, side, noise, walks.half_life / PERIODS)


class _Grouped:
    """Values by what one of their two sides was drawn as, given the other side's factors."""

    def __init__(self, owners: Rows, count: int) -> None:
        self._order = np.argsort(owners, kind="stable")
        self._bounds = np.searchsorted(owners[self._order], np.arange(count + 1))

    def told(self, others: Floats, values: Floats, noise: float) -> tuple[Floats, Floats]:
        """What values (n,) with `others` (n, K + 1) say of an owner's factors and level, by a linear regression on the
        others' factors and 1: precisions (count, K + 1, K + 1) and moments (count, K + 1).
        """
        target = (values - others[:, -1])[self._order] / noise
        design = others[self._order] / noise
        design[:, -1] = 1 / noise
        count, k = len(self._bounds) - 1, design.shape[1]
        precisions, moments = np.empty((count, k, k)), np.empty((count, k))
        for owner, (start, stop) in enumerate(zip(self._bounds[:-1], self._bounds[1:], strict=True)):
            own = design[start:stop]
            precisions[owner] = own.T @ own
            moments[owner] = target[start:stop] @ own
        return precisions, moments


def _drawn(precisions: Floats, moments: Floats, rng: np.random.Generator) -> Floats:
    """Of each of n normal distributions by their precisions (n, k, k) and moments (n, k)."""
    mean = np.linalg.solve(precisions, moments[:, :, None])
    roots = np.linalg.cholesky(precisions).transpose(0, 2, 1)
    return np.asarray((mean + np.linalg.solve(roots, rng.normal(size=mean.shape)))[:, :, 0], np.float64)


def _prior(rows: Floats, holds: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Mean and precision of the normal distribution that the rows come from, drawn from their normal-Wishart one; each
    row (n, k) holds the mean as often as `holds` (n,) says.
    """
    (n, width), held = rows.shape, holds @ holds
    mean = holds @ rows / held
    centred = rows - holds[:, None] * mean
    pulled = held * _PULL / (held + _PULL)
    scatter = np.eye(width) * width * _SPREAD + centred.T @ centred + pulled * np.outer(mean, mean)
    root = np.linalg.cholesky(np.linalg.inv(scatter))
    bartlett = np.tril(rng.normal(size=(width, width)), -1)
    bartlett[np.diag_indices(width)] = np.sqrt(rng.chisquare(width + n - np.arange(width)))
    factor = root @ bartlett
    precision: Floats = factor @ factor.T
    spread = np.linalg.cholesky(np.linalg.inv((held + _PULL) * precision))
    return held * mean / (held + _PULL) + spread @ rng.normal(size=width), precision
