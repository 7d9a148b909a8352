"""Scores -> probabilities: a logistic regression on validation rows (Platt 1999), of one score or of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from predictors.labels import Floats

_PENALTY = 1.0  # on the weights of standardised scores: what one validation row weighs
_ROUNDS = 50
_EDGE = 1e-6  # a probability is never surer than this


@dataclass(frozen=True, slots=True)
class Platt:
    """P = logistic(scores @ weights + offset)."""

    weights: Sequence[float]
    offset: float

    @classmethod
    def fit(cls, scores: Floats, truth: Floats) -> Platt:
        """Newton's method with a small ridge on (n, k) scores and (n,) labels of 0 and 1."""
        mean, deviation = scores.mean(axis=0), scores.std(axis=0)
        scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-9)
        z = np.column_stack([(scores - mean) * scale, np.ones(len(scores))])
        ridge = np.diag([_PENALTY] * scores.shape[1] + [1e-6])
        weights = np.zeros(z.shape[1])
        for _ in range(_ROUNDS):
            p = logistic(z @ weights)
            slope = z.T @ (truth - p) - ridge @ weights
            step = np.linalg.solve((z * (p * (1 - p))[:, None]).T @ z + ridge, slope)
            weights = weights + step / max(1.0, float(np.abs(step).max()))
            if np.abs(step).max() < 1e-9:
                break
        own = weights[:-1] * scale
        return cls(own.tolist(), float(weights[-1] - mean @ own))

    def __call__(self, scores: Floats) -> Floats:
        """(n, k) -> (n,) probabilities, the same for a row whatever the others are."""
        weighed = np.vecdot(scores, np.array(self.weights)) + self.offset
        p: Floats = np.clip(logistic(weighed), _EDGE, 1 - _EDGE)
        return p

    def to_json(self) -> dict[str, Any]:
        """What the constructor takes."""
        return asdict(self)


def logistic(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    p: Floats = 0.5 * (1 + np.tanh(x / 2))
    return p


def log_odds(p: Floats) -> Floats:
    """What `logistic` came from."""
    odds: Floats = np.log(p / (1 - p))
    return odds
