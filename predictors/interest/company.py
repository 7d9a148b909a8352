"""Who meets what: factors of implicit feedback, by which a history of any user is placed in one small solve.

Weighted least squares, alternately of users and of contents (Hu, Koren and Volinsky 2008), each regularised by how
often it occurs, pairs that did not meet counting a little (Rendle et al. 2022, "Revisiting the performance of iALS").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from predictors.interest.history import Histories
from predictors.labels import Floats

Ints = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float32]

_ROUNDS = 8
_UNMET = 0.2  # what a pair that did not meet counts
_RIDGE = 0.1  # times the square root of how often a user or a content occurs, pairs that did not meet included
_HISTORY_RIDGE = 2.0  # of a history, whose length hangs on what the store keeps
_AT_ONCE = 1024  # histories, users or contents that are solved together


@dataclass(frozen=True, slots=True)
class Company:
    """Of m contents, and in a last row of one that nobody has met, the factors (m + 1, k); and `unmet` (k, k), what all
    contents together add to the solve of a history.
    """

    factors: Matrix
    unmet: Matrix

    @classmethod
    def fit(cls, users: Ints, items: Ints, weights: Floats, contents: int, k: int) -> Company:
        """From n encounters (n,) of users with contents 0 to m - 1, which count as `weights` say."""
        of_item = np.random.default_rng(0).normal(scale=0.1, size=(contents, k))
        for _ in range(_ROUNDS):
            of_user = _solved(users, int(users.max()) + 1, of_item[items], of_item, weights)
            of_item = _solved(items, contents, of_user[users], of_user, weights)
        unmet = _UNMET * of_item.T @ of_item + _HISTORY_RIDGE * np.eye(k)
        return cls(np.vstack([of_item, np.zeros(k)]).astype(np.float32), unmet.astype(np.float32))

    def places(self, histories: Histories, factors: Matrix) -> Matrix:
        """Where those who have these histories stand, (h, k): a dot product with a content's factors says how likely
        they meet it. `factors` (r, k) are those of the related contents.
        """
        factors = np.vstack([factors, np.zeros(factors.shape[1], np.float32)])
        weights = np.where(histories.known, counted(histories.reactions), 0.0).astype(np.float32)
        found = np.empty((len(weights), factors.shape[1]), np.float32)
        for start in range(0, len(found), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            met = factors[histories.items[part]]
            weighed = met * weights[part, :, None]
            gram = self.unmet + weighed.transpose(0, 2, 1) @ met
            found[part] = np.linalg.solve(gram, weighed.sum(axis=1)[:, :, None])[:, :, 0]
        return found


def counted(reactions: Floats) -> Floats:
    """What an encounter counts by the reaction to it in [0, 1]: one that was liked says more of what is met next."""
    weights: Floats = 0.25 + 1.5 * reactions
    return weights


def _solved(groups: Ints, count: int, met: Floats, everything: Floats, weights: Floats) -> Floats:
    """The factors (count, k) of each group's best fit to 1 where it `met` (n, k) and to 0 for `everything` (all, k)."""
    k = met.shape[1]
    order, sizes = np.argsort(groups, kind="stable"), np.bincount(groups, minlength=count)
    ends = np.cumsum(sizes)
    ridges = _RIDGE * np.sqrt(sizes + _UNMET * len(everything))
    shared, solved = _UNMET * everything.T @ everything, np.empty((count, k))
    for first in range(0, count, _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        grams = shared + ridges[part, None, None] * np.eye(k)
        sums = np.zeros((len(grams), k))
        for place in np.flatnonzero(sizes[part]):
            group = first + place
            rows = order[ends[group] - sizes[group] : ends[group]]
            own = met[rows]
            weighed = own * weights[rows, None]
            grams[place] += weighed.T @ own
            sums[place] = weighed.sum(axis=0)
        solved[part] = np.linalg.solve(grams, sums[:, :, None])[:, :, 0]
    return solved
