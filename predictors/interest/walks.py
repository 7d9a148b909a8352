"""Users whose factors wander: Ornstein-Uhlenbeck processes behind linear regressions, drawn by filtering forwards and
sampling backwards (Carter & Kohn, Biometrika 81, 1994).

A walk has the same normal distribution at every time, and forgets half of what sets it apart in a half-life. One that
is long beside the log is a user who stays as they are: users wander as far as their values say, and no further.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

PERIODS = 16  # of the log; within one a walk stands still
_HALF_LIVES = (1.0, 1000.0 * PERIODS)  # in periods: those between are as likely before any data, on a log scale
_START = 4.0 * PERIODS
_STRIDE = 0.4  # deviation of a step of the half-life's logarithm
_JITTER = 1e-9  # on variances, which rounding can leave below zero


@dataclass(frozen=True, slots=True)
class Stops:
    """The periods in which each user has values: n stops, by user and time. A user without values has one, too.

    `of_value` is the stop of each value, `owner` (n,) the user of each stop, `gap` (n,) the periods since their stop
    before, infinite at the first, `last` (users,) each one's last stop; `steps` are the first stops of all users, the
    second ones, and so on.
    """

    of_value: Rows
    owner: Rows
    gap: Floats
    last: Rows
    steps: tuple[Rows, ...]

    @classmethod
    def of(cls, users: Rows, times: Floats, count: int) -> Self:
        """Of values (n,) of users 0 to count - 1, at times in any unit."""
        since = times - times.min()
        periods = np.minimum(since / max(since.max(), 1e-12) * PERIODS, PERIODS - 1).astype(np.int64)
        absent = np.setdiff1d(np.arange(count), users)
        stops, places = np.unique(np.concatenate([users * PERIODS + periods, absent * PERIODS]), return_inverse=True)
        owners, when = np.divmod(stops, PERIODS)
        first = np.searchsorted(owners, np.arange(count))
        nth = np.arange(len(stops)) - first[owners]
        gap = np.where(nth > 0, np.diff(when, prepend=0), np.inf)
        steps = tuple(np.flatnonzero(nth == step) for step in range(nth.max() + 1))
        return cls(places[: len(users)], owners, gap, np.append(first[1:], len(stops)) - 1, steps)


@dataclass(frozen=True, slots=True)
class Filtered:
    """What the values up to each stop say of it, `mean` (n, k) and `spread` (n, k, k), what those before it say,
    `mean_before` and `spread_before`, and how much of the stop before is `kept` (n,). `evidence` is the logarithm of
    how likely all values are, but for what hangs on no walk.
    """

    kept: Floats
    mean: Floats
    spread: Floats
    mean_before: Floats
    spread_before: Floats
    evidence: float


@dataclass(slots=True)
class Walks:
    """Walks along these stops, and their half-life as it was drawn last, in periods."""

    stops: Stops
    half_life: float = _START

    def sample(
        self, precisions: Floats, moments: Floats, usual: Floats, spread: Floats, rng: np.random.Generator
    ) -> Floats:
        """Where the walks were at each stop, (n, k), whose own values say as much as `precisions` (n, k, k) and
        `moments` (n, k); `usual` (k,) and `spread` (k, k) are what is true of a walk at any time. Draws the half-life,
        too: a Metropolis step given the values alone, since walks that are known leave it no room.
        """
        seen = precisions, moments, usual, spread
        found = self._filtered(*seen, self.half_life)
        proposed = self.half_life * float(np.exp(_STRIDE * rng.normal()))
        if _HALF_LIVES[0] < proposed < _HALF_LIVES[1]:
            other = self._filtered(*seen, proposed)
            if np.log(rng.random()) < other.evidence - found.evidence:
                self.half_life, found = proposed, other
        return self._backwards(found, rng)

    def moves(self, places: Floats) -> tuple[Floats, Floats]:
        """What is new at each stop, (n, k), scaled to the spread of a walk, and how often (n,) it holds the usual."""
        kept = _kept(self.stops.gap, self.half_life)
        scale = np.sqrt(1 - kept**2)
        return (places - kept[:, None] * np.roll(places, 1, axis=0)) / scale[:, None], (1 - kept) / scale

    def _filtered(
        self, precisions: Floats, moments: Floats, usual: Floats, spread: Floats, half_life: float
    ) -> Filtered:
        kept, evidence = _kept(self.stops.gap, half_life), 0.0
        mean, mean_before = np.zeros((2, *moments.shape))
        found, before = np.zeros((2, *precisions.shape))
        for rows in self.stops.steps:
            share = kept[rows, None]  # 0 at a user's first stop, where the row before is another's
            mean_before[rows] = usual + share * (mean[rows - 1] - usual)
            before[rows] = share[:, None] ** 2 * found[rows - 1] + (1 - share[:, None] ** 2) * spread
            prior = np.linalg.inv(before[rows])
            precision = prior + precisions[rows]
            found[rows] = np.linalg.inv(precision)
            pulled = np.vecdot(prior, mean_before[rows, None, :])
            total = pulled + moments[rows]
            mean[rows] = np.vecdot(found[rows], total[:, None, :])
            evidence += np.sum(np.linalg.slogdet(prior)[1] - np.linalg.slogdet(precision)[1]) / 2
            evidence += np.sum(np.vecdot(mean[rows], total) - np.vecdot(mean_before[rows], pulled)) / 2
        return Filtered(kept, mean, found, mean_before, before, float(evidence))

    def _backwards(self, found: Filtered, rng: np.random.Generator) -> Floats:
        """Stops, the last ones first: each hangs on its own past and on where the walk went next."""
        n, k = found.mean.shape
        places, noise = np.zeros((n, k)), rng.normal(size=(n, k))
        for rows in reversed(self.stops.steps):
            later = (rows + 1) % n  # of which a user's last stop keeps nothing: it is the next user's first
            gain = found.kept[later, None, None] * found.spread[rows] @ np.linalg.inv(found.spread_before[later])
            surprise = places[later] - found.mean_before[later]
            spread = found.spread[rows] - gain @ found.spread_before[later] @ gain.transpose(0, 2, 1)
            root = np.linalg.cholesky(spread + _JITTER * np.eye(k))
            places[rows] = (
                found.mean[rows] + np.vecdot(gain, surprise[:, None, :]) + np.vecdot(root, noise[rows, None, :])
            )
        return places


def _kept(gap: Floats, half_life: float) -> Floats:
    kept: Floats = np.exp2(-gap / half_life)
    return kept
