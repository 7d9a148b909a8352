"""A regression's scores -> probabilities of ordered classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import ndtr

from predictors.labels import Floats, Quintiles

_LEAST = 1e-6  # probability that is given to any class in the likelihood


@dataclass(frozen=True, slots=True)
class OrdinalLink:
    """The ordered probit model (McKelvey and Zavoina 1975) with known edges: the truth of a score s is normal around
    `offset + slope * s` with `deviation`, and its class the one whose edges it falls between.
    """

    edges: tuple[float, ...]
    offset: float
    slope: float
    deviation: float

    @classmethod
    def fit(cls, scores: Floats, truth: Floats, quintiles: Quintiles) -> OrdinalLink:
        """By the likelihood of the classes of held-out rows, (n,) scores and truth; never of the training rows, whose
        scores are too good.
        """
        classes = quintiles.classes(truth)
        spread = max(float(np.std(truth - scores)), 1e-3)

        def loss(said: Floats) -> float:
            link = cls(quintiles.edges, float(said[0]), float(np.exp(said[1])), float(np.exp(said[2])))
            right = link(scores)[np.arange(len(classes)), classes]
            return float(-np.log(np.maximum(right, _LEAST)).mean() + 1e-3 * (said[1] ** 2 + said[0] ** 2))

        found = minimize(loss, np.array([0.0, 0.0, np.log(spread)]), method="Nelder-Mead").x
        return cls(quintiles.edges, float(found[0]), float(np.exp(found[1])), float(np.exp(found[2])))

    def __call__(self, scores: Floats) -> Floats:
        """Probabilities (n, 5) of scores (n,)."""
        centre = self.offset + self.slope * scores[:, None]
        below = ndtr((np.array(self.edges) - centre) / self.deviation)
        steps = np.hstack([np.zeros((len(scores), 1)), below, np.ones((len(scores), 1))])
        probabilities: Floats = np.diff(steps, axis=1)
        return probabilities
