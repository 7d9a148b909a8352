"""How likely users of a made world engage: as it is (no model can pass that), and as the events could teach it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit, ndtr

from feature_repo.datasets.synthetic.events import EVENTS, Events, Mask, draw_days
from feature_repo.datasets.synthetic.lexicon import TOPICS
from feature_repo.datasets.synthetic.world import COMMENT, LIKE, SHARE, VIEW, WATCHED, Floats, Ints, World, sigmoid

_ACTS = (VIEW, LIKE, SHARE, COMMENT)  # in the order of EVENTS, without impressions
_DAY = 86_400_000_000  # microseconds
_NEWTON = 5  # steps towards the mode of the affinity behind one impression
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)


@dataclass(frozen=True, slots=True)
class Impressions:
    """All of a world, n in time order: `time` (n,) in microseconds since the start, `day`, `user` and `content` (n,),
    `acts` (4, n) whether a view, a like, a share and a comment followed, and `watched` (n,) the share that was, NaN
    without a view.
    """

    time: Ints
    day: Ints
    user: Ints
    content: Ints
    acts: Mask
    watched: Floats

    @classmethod
    def of(cls, world: World) -> Impressions:
        """Drawn once more: the same world has the same events."""
        log = Events.join(list(draw_days(world)))
        log = log.take(np.lexsort((log.time, log.user * world.contents + log.content)))
        shown = np.flatnonzero(log.kind == 0)
        of = np.cumsum(log.kind == 0) - 1  # an impression comes before what follows it
        acts = np.zeros((len(_ACTS), len(shown)), np.bool_)
        watched = np.full(len(shown), np.nan)
        for kind in range(1, len(EVENTS)):
            acts[kind - 1, of[log.kind == kind]] = True
        viewed = log.kind == 1
        watched[of[viewed]] = log.value[viewed] / world.duration[log.content[viewed]]
        order = np.argsort(log.time[shown], kind="stable")
        some = log.take(shown[order])
        day = np.minimum(some.time // _DAY, world.days - 1)
        return cls(some.time, day, some.user, some.content, acts[:, order], watched[order])


def chances(affinity: Floats, appeal: Floats) -> Floats:
    """P(an impression is followed by a view of at least half, a like, a share or a comment), elementwise."""
    view, *others = (sigmoid(act.bias + act.affinity * affinity + act.appeal * appeal) for act in _ACTS)
    nothing = ndtr(-(WATCHED.bias + WATCHED.affinity * affinity + WATCHED.appeal * appeal))
    for other in others:
        nothing = nothing * (1.0 - other)
    return np.asarray(view * (1.0 - nothing))


def known(world: World, shown: Impressions) -> Floats:
    """P(engaged), (n,), by the tastes of the day and the contents' causes."""
    tastes, mixture = np.stack(list(world.tastes())), world.truth.topic_mixture[shown.content]
    affinity = np.einsum("nk,nk->n", tastes[shown.day, shown.user], mixture)
    return chances(affinity, world.truth.appeal[shown.content])


def taught(world: World, shown: Impressions, learnt: NDArray[np.bool_]) -> Floats:
    """P(engaged), (n,), by one who knows all but the tastes, and infers those from what the `learnt` (n,) impressions
    before the day were followed by: a Kalman filter whose updates are by Laplace's approximation. A reference for what
    can be learnt, not a bound.
    """
    rules, truth = world.coefficients, world.truth
    kept = 2.0 ** (-1.0 / rules.taste_half_life_days)
    tastes = _Tastes.prior(world.users, rules.taste_spread**2)
    said = np.empty(len(shown.day))
    for day in range(world.days):
        today = np.flatnonzero(shown.day == day)
        mixture = truth.topic_mixture[shown.content[today]]
        mean, variance = tastes.affinity(shown.user[today], mixture)
        spread = mean[:, None] + np.sqrt(variance)[:, None] * _NODES
        said[today] = chances(spread, truth.appeal[shown.content[today], None]) @ (_WEIGHTS / _WEIGHTS.sum())
        left = today[learnt[today]]
        while len(left):  # of each user one at a time
            _, first = np.unique(shown.user[left], return_index=True)
            tastes.learn(shown, left[first], truth.topic_mixture, truth.appeal)
            left = np.delete(left, first)
        tastes.drift(kept, rules.taste_spread**2)
    return said


@dataclass(slots=True)
class _Tastes:
    """A normal belief of each of m users' tastes: `mean` (m, K) and `covariance` (m, K, K)."""

    mean: Floats
    covariance: Floats

    @classmethod
    def prior(cls, users: int, variance: float) -> _Tastes:
        topics = len(TOPICS)
        return cls(np.zeros((users, topics)), np.tile(variance * np.eye(topics), (users, 1, 1)))

    def affinity(self, users: Ints, mixture: Floats) -> tuple[Floats, Floats]:
        """Mean and variance, both (n,)."""
        variance = np.einsum("nk,nkl,nl->n", mixture, self.covariance[users], mixture)
        return np.einsum("nk,nk->n", self.mean[users], mixture), variance

    def drift(self, kept: float, variance: float) -> None:
        """A day goes by."""
        self.mean *= kept
        self.covariance *= kept**2
        self.covariance += variance * (1.0 - kept**2) * np.eye(len(TOPICS))

    def learn(self, shown: Impressions, rows: Ints, mixtures: Floats, appeals: Floats) -> None:
        """From impressions of different users."""
        users, mixture = shown.user[rows], mixtures[shown.content[rows]]
        before, variance = self.affinity(users, mixture)
        mode, left = _mode(before, variance, appeals[shown.content[rows]], shown.acts[:, rows], shown.watched[rows])
        gain = np.einsum("nkl,nl->nk", self.covariance[users], mixture) / variance[:, None]
        self.mean[users] += gain * (mode - before)[:, None]
        self.covariance[users] -= gain[:, :, None] * gain[:, None, :] * (variance - left)[:, None, None]


def _mode(mean: Floats, variance: Floats, appeal: Floats, acts: Mask, watched: Floats) -> tuple[Floats, Floats]:
    """Mode and variance of affinities (n,) once it is seen what followed, by Newton's method."""
    viewed = acts[0]
    keen = logit(np.where(viewed, watched, 0.5).clip(0.01, 0.99)) - WATCHED.bias - WATCHED.appeal * appeal
    x = mean
    for _ in range(_NEWTON):
        slope = (mean - x) / variance + viewed * WATCHED.affinity * (keen - WATCHED.affinity * x)
        bend = 1.0 / variance + viewed * WATCHED.affinity**2
        for act, done in zip(_ACTS, acts, strict=True):
            p = sigmoid(act.bias + act.affinity * x + act.appeal * appeal)
            asked = viewed if act is not VIEW else 1.0
            slope = slope + asked * act.affinity * (done - p)
            bend = bend + asked * act.affinity**2 * p * (1.0 - p)
        x = x + slope / bend
    return x, 1.0 / bend
