"""Class probabilities that can be believed, from the regressor and the classifier together."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import ndtr

from predictors.labels import Classes, Floats

BINS = 10  # of the calibration error
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Calibration:
    """`temperature` divides the classifier's log-odds (Guo et al. 2017); `deviation` is the spread of the truth about
    the regressor's score; `trust` is the regressor's share, from 0 to 1.
    """

    temperature: float
    deviation: float
    trust: float

    def __call__(self, score: Floats, logits: Floats, edges: tuple[float, ...]) -> Floats:
        """Probabilities (n, 5) from scores (n,) and the classifier's logits (n, 5)."""
        ordinal = interval_shares(score, edges, self.deviation)
        return self.trust * ordinal + (1 - self.trust) * softmax(logits / self.temperature)

    def to_json(self) -> dict[str, Any]:
        """As it is saved."""
        return asdict(self)


def fit_calibration(
    score: Floats, logits: Floats, edges: tuple[float, ...], truth: Classes
) -> tuple[Calibration, dict[str, float]]:
    """The three numbers with the least log-loss on validation rows, and the calibration error before and after.

    They are fitted on rows that the models have not seen: on the others every model seems surer than it is.
    """

    def made(free: npt.NDArray[np.float64]) -> Calibration:
        temperature, deviation = np.exp(np.clip(free[:2], -3, 3))
        return Calibration(float(temperature), float(deviation), float(1 / (1 + np.exp(-np.clip(free[2], -6, 6)))))

    def loss(free: npt.NDArray[np.float64]) -> float:
        return log_loss(truth, made(free)(score, logits, edges))

    found = minimize(loss, np.zeros(3), method="Nelder-Mead", options={"maxiter": 400, "xatol": 1e-3, "fatol": 1e-6})
    calibration = made(found.x)
    plain = softmax(logits)
    return calibration, {
        "classifier_error": calibration_error(truth, plain),
        "calibrated_error": calibration_error(truth, calibration(score, logits, edges)),
        "classifier_log_loss": log_loss(truth, plain),
        "calibrated_log_loss": log_loss(truth, calibration(score, logits, edges)),
    }


def softmax(logits: Floats) -> Floats:
    """(n, k) by row. SciPy's takes twice as long over a request's rows."""
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Floats = odds / odds.sum(axis=1, keepdims=True)
    return shares


def interval_shares(score: Floats, edges: tuple[float, ...], deviation: float) -> Floats:
    """(n, 5): how much of a normal distribution about each score lies between the edges of each class."""
    below = ndtr((np.array(edges) - score[:, None]) / deviation)
    return np.diff(np.hstack([np.zeros((len(score), 1)), below, np.ones((len(score), 1))]), axis=1)


def log_loss(truth: Classes, probabilities: Floats) -> float:
    """Mean negative log-probability of the true class."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(truth)), truth], _TINY)).mean())


def calibration_error(truth: Classes, probabilities: Floats) -> float:
    """Expected calibration error (Naeini et al. 2015): how far the likeliest class's probability lies from how often
    it is the true one, over `BINS` equal bins of that probability, weighted by their rows.
    """
    sure = probabilities.max(axis=1)
    right = (probabilities.argmax(axis=1) == truth).astype(np.float64)
    places = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(places, sure - right, minlength=BINS)
    return float(np.abs(gaps).sum() / max(len(truth), 1))
