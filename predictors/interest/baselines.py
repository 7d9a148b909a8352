"""Naive answers to who engages with what, each learnt from the encounters before the test alone.

What a predictor has to beat: a constant, the content's own share of engaged encounters, and the biases of user and
content. For lists: how often a content engaged, matrix factorisation, and likeness to what the user engaged with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from predictors.interest.examples import EventExamples
from predictors.labels import Floats

Items = npt.NDArray[np.int64]
Users = npt.NDArray[Any]

_PRIOR = 5.0  # encounters of the average that every share starts from
_SWEEPS = 10  # of the alternating least squares behind the biases
_FACTORS, _RIDGE, _CONFIDENCE, _ROUNDS = 32, 20.0, 10.0, 12  # of the factorisation


class Baseline(Protocol):
    """A fitted naive answer."""

    def score(self, users: Users, items: Items, /) -> Floats:
        """Of each pair, (n,): a probability for those of `NAIVE`, any number that orders for those of `RANKING`."""


@dataclass(frozen=True, slots=True)
class Biases:
    """`level` + bias of the user + bias of the content, held to [0, 1]; an unknown one's bias is 0."""

    level: float
    of_user: Mapping[str, float]
    of_item: Floats

    def score(self, users: Users, items: Items, /) -> Floats:
        """(n,) probabilities."""
        own = np.array([self.of_user.get(user, 0.0) for user in users])
        return np.clip(self.level + own + self.of_item[items], 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Factors:
    """Dot products of users' and contents' factors, (users, k) and (contents, k); a user without any scores 0."""

    rows: Mapping[str, int]
    of_user: Floats
    of_item: Floats

    def score(self, users: Users, items: Items, /) -> Floats:
        """(n,) scores."""
        row = np.array([self.rows.get(user, len(self.of_user)) for user in users], np.intp)
        factors = np.vstack([self.of_user, np.zeros(self.of_user.shape[1])])[row]
        scores: Floats = np.einsum("nk,nk->n", factors, self.of_item[items])
        return scores


def fit_mean(examples: EventExamples) -> Biases:
    """Always the share of engaged training encounters."""
    return Biases(_learnt(examples)[2].mean(), {}, np.zeros(examples.contents.rows))


def fit_item_mean(examples: EventExamples) -> Biases:
    """The content's share, shrunken to that of all."""
    _, items, engaged = _learnt(examples)
    return Biases(engaged.mean(), {}, _shrunken(items, engaged - engaged.mean(), examples.contents.rows))


def fit_biases(examples: EventExamples) -> Biases:
    """Biases of users and contents, each fitted to what the other leaves (Koren et al. 2009)."""
    users, items, engaged = _learnt(examples)
    names, user = np.unique(users.astype(str), return_inverse=True)
    left, of_user, of_item = engaged - engaged.mean(), np.zeros(len(names)), np.zeros(examples.contents.rows)
    for _ in range(_SWEEPS):
        of_item = _shrunken(items, left - of_user[user], len(of_item))
        of_user = _shrunken(user, left - of_item[items], len(of_user))
    return Biases(engaged.mean(), dict(zip(names.tolist(), of_user.tolist(), strict=True)), of_item)


def fit_popularity(examples: EventExamples) -> Biases:
    """How often each content engaged, as a share of all engaged encounters."""
    _, items, engaged = _learnt(examples)
    counts = np.bincount(items, engaged, examples.contents.rows)
    return Biases(0.0, {}, counts / max(counts.sum(), 1.0))


def fit_als(examples: EventExamples) -> Factors:
    """Weighted matrix factorisation of who engaged with what (Hu, Koren and Volinsky 2008)."""
    users, items, engaged = _learnt(examples)
    names, user = np.unique(users.astype(str), return_inverse=True)
    liked = engaged > 0
    pairs = np.unique(np.column_stack([user[liked], items[liked]]), axis=0)
    rng = np.random.default_rng(0)
    of_item = rng.normal(scale=0.01, size=(examples.contents.rows, _FACTORS))
    of_user = np.zeros((len(names), _FACTORS))
    for _ in range(_ROUNDS):
        of_user = _solve(pairs[:, 0], pairs[:, 1], of_item, len(of_user))
        of_item = _solve(pairs[:, 1], pairs[:, 0], of_user, len(of_item))
    return Factors({name: row for row, name in enumerate(names.tolist())}, of_user, of_item)


def fit_likeness(examples: EventExamples, embedding: str) -> Factors:
    """Cosine of the content to the mean of those that the user engaged with, less the mean of all contents."""
    users, items, engaged = _learnt(examples)
    vectors = np.nan_to_num(examples.contents.vectors(embedding)).astype(np.float64)
    vectors -= vectors.mean(axis=0)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    names, user = np.unique(users.astype(str), return_inverse=True)
    means = np.zeros((len(names), vectors.shape[1]))
    np.add.at(means, user[engaged > 0], vectors[items[engaged > 0]])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    return Factors({name: row for row, name in enumerate(names.tolist())}, means, vectors)


Fit = Callable[[EventExamples], Baseline]

NAIVE: Mapping[str, Fit] = {"mean": fit_mean, "item_mean": fit_item_mean, "biases": fit_biases}


def ranking_baselines(examples: EventExamples) -> dict[str, Fit]:
    """Those that order lists, by name: popularity, ALS, and likeness by each embedding."""
    likeness: dict[str, Fit] = {
        f"{name}_likeness": lambda known, name=name: fit_likeness(known, name)  # type: ignore[misc]
        for name in sorted(examples.digests)
    }
    return {"popularity": fit_popularity, "als": fit_als, **likeness}


def _learnt(examples: EventExamples) -> tuple[Users, Items, Floats]:
    """Users, items and labels of all rows before the test: a baseline chooses nothing that would need validation."""
    rows = np.concatenate([examples.splits.train, examples.splits.valid])
    return examples.columns.objects("user_id")[rows], examples.items[rows], examples.labels["engaged"][rows]


def _shrunken(groups: npt.NDArray[Any], values: Floats, count: int) -> Floats:
    shares: Floats = np.bincount(groups, values, count) / (np.bincount(groups, minlength=count) + _PRIOR)
    return shares


def _solve(rows: Items, others: Items, factors: Floats, count: int) -> Floats:
    """Each row's factors, the other side's being given."""
    everywhere = factors.T @ factors + _RIDGE * np.eye(_FACTORS)
    solved = np.zeros((count, _FACTORS))
    order = np.argsort(rows, kind="stable")
    bounds = np.searchsorted(rows[order], np.arange(count + 1))
    for row in np.flatnonzero(np.diff(bounds)):
        mine = factors[others[order[bounds[row] : bounds[row + 1]]]]
        gram = everywhere + _CONFIDENCE * mine.T @ mine
        solved[row] = np.linalg.solve(gram, (1 + _CONFIDENCE) * mine.sum(axis=0))
    return solved
