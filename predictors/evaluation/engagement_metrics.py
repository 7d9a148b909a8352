"""How good predictions are on held-out contents: the usual measures, small enough to be bootstrapped."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from predictors.labels import CLASSES, Classes, Floats


def accuracy(truth: Classes, predicted: Classes) -> float:
    """Share of contents in their true class."""
    return float((truth == predicted).mean())


def macro_f1(truth: Classes, predicted: Classes) -> float:
    """Mean F1 over the five classes; a class that is neither true nor predicted counts as 0."""
    table = confusion(truth, predicted)
    either = table.sum(axis=0) + table.sum(axis=1)
    return float((2 * np.diag(table) / np.maximum(either, 1)).mean())


def weighted_kappa(truth: Classes, predicted: Classes) -> float:
    """Quadratic-weighted kappa (Cohen 1968); 0 where one side is a single class."""
    table = confusion(truth, predicted)
    distance = np.subtract.outer(np.arange(CLASSES), np.arange(CLASSES)) ** 2
    by_chance = np.outer(table.sum(axis=1), table.sum(axis=0)) / len(truth)
    single = max(table.sum(axis=0).max(), table.sum(axis=1).max()) == len(truth)
    return 0.0 if single else float(1 - (distance * table).sum() / (distance * by_chance).sum())


def confusion(truth: Classes, predicted: Classes) -> npt.NDArray[np.int64]:
    """Counts (5, 5): row the true class, column the predicted one."""
    return np.bincount(truth * CLASSES + predicted, minlength=CLASSES**2).reshape(CLASSES, CLASSES)


def r2(truth: Floats, predicted: Floats) -> float:
    """Coefficient of determination: 0 for the mean of `truth`, negative below that; 0 where `truth` is constant."""
    spread = ((truth - truth.mean()) ** 2).sum()
    return float(1 - ((truth - predicted) ** 2).sum() / spread) if spread > 0 else 0.0


def mae(truth: Floats, predicted: Floats) -> float:
    """Mean absolute error, in units of the score."""
    return float(np.abs(truth - predicted).mean())


def rmse(truth: Floats, predicted: Floats) -> float:
    """Root mean squared error, in units of the score."""
    return float(np.sqrt(((truth - predicted) ** 2).mean()))


def spearman(truth: Floats, predicted: Floats) -> float:
    """Rank correlation, ties at their mean rank; 0 where one side is constant."""
    if truth.min() == truth.max() or predicted.min() == predicted.max():
        return 0.0
    return float(np.corrcoef(rankdata(truth), rankdata(predicted))[0, 1])


def evaluate(truth: Floats, predicted: Floats, classes: Classes, predicted_classes: Classes) -> dict[str, float]:
    """Every measure of one set of predictions, by name; all arrays are (n,)."""
    return {
        "accuracy": accuracy(classes, predicted_classes),
        "macro_f1": macro_f1(classes, predicted_classes),
        "weighted_kappa": weighted_kappa(classes, predicted_classes),
        "r2": r2(truth, predicted),
        "mae": mae(truth, predicted),
        "rmse": rmse(truth, predicted),
        "spearman": spearman(truth, predicted),
    }


def intervals(
    truth: Floats, predicted: Floats, classes: Classes, predicted_classes: Classes, resamples: int, seed: int
) -> dict[str, tuple[float, float]]:
    """95 % percentile-bootstrap interval of every measure (Efron 1979), resampling contents."""
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {}
    for _ in range(resamples):
        rows = rng.integers(0, len(truth), len(truth))
        for name, value in evaluate(truth[rows], predicted[rows], classes[rows], predicted_classes[rows]).items():
            drawn.setdefault(name, []).append(value)
    return {name: _interval(np.array(values)) for name, values in drawn.items()}


def _interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
