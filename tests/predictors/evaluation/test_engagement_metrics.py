import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn import metrics

from predictors.evaluation import engagement_metrics as ev

TRUTH = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
CLASSES = np.arange(5)


def test_perfect_predictions() -> None:
    found = ev.evaluate(TRUTH, TRUTH, CLASSES, CLASSES)
    assert found == pytest.approx(
        {"accuracy": 1, "macro_f1": 1, "weighted_kappa": 1, "r2": 1, "mae": 0, "rmse": 0, "spearman": 1}
    )


def test_measures_by_hand() -> None:
    predicted = np.array([1.0, 1.0, 2.0, 3.0, 2.0])
    assert ev.mae(TRUTH, predicted) == pytest.approx(3 / 5)
    assert ev.rmse(TRUTH, predicted) == pytest.approx(1.0)
    assert ev.r2(TRUTH, predicted) == pytest.approx(1 - 5 / 10)
    classes = np.array([1, 1, 2, 3, 2])
    assert ev.accuracy(CLASSES, classes) == pytest.approx(0.6)
    # F1 by class: 0, 2/3, 2/3, 1, 0
    assert ev.macro_f1(CLASSES, classes) == pytest.approx((2 / 3 + 2 / 3 + 1) / 5)
    # observed squared distance 1 + 4; by chance sum_ij (i-j)^2 row_i col_j / n = 65 / 5
    expected = sum((i - j) ** 2 for i in CLASSES for j in classes) / 5
    assert ev.weighted_kappa(CLASSES, classes) == pytest.approx(1 - 5 / expected)


@pytest.mark.parametrize("seed", range(5))
def test_measures_are_those_of_scikit_learn_and_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = rng.normal(size=60).round(1), rng.normal(size=60).round(1)
    classes, guessed = rng.integers(0, 4, 60), rng.integers(0, 3, 60)
    assert ev.evaluate(truth, predicted, classes, guessed) == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(classes, guessed),
            "macro_f1": metrics.f1_score(classes, guessed, labels=range(5), average="macro", zero_division=0),
            "weighted_kappa": metrics.cohen_kappa_score(classes, guessed, labels=range(5), weights="quadratic"),
            "r2": metrics.r2_score(truth, predicted),
            "mae": metrics.mean_absolute_error(truth, predicted),
            "rmse": metrics.root_mean_squared_error(truth, predicted),
            "spearman": spearmanr(truth, predicted).statistic,
        }
    )


def test_ranks_decide_spearman() -> None:
    assert ev.spearman(TRUTH, np.exp(TRUTH)) == pytest.approx(1.0)
    assert ev.spearman(TRUTH, -TRUTH) == pytest.approx(-1.0)


def test_constant_predictions_are_defined() -> None:
    found = ev.evaluate(TRUTH, np.full(5, TRUTH.mean()), CLASSES, np.zeros(5, int))
    assert (found["r2"], found["spearman"], found["weighted_kappa"], found["accuracy"]) == (0.0, 0.0, 0.0, 0.2)


def test_intervals_hold_the_measure_and_repeat_with_their_seed() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=200)
    predicted = truth + rng.normal(size=200)
    classes, guessed = rng.integers(0, 5, 200), rng.integers(0, 5, 200)
    found = ev.intervals(truth, predicted, classes, guessed, resamples=100, seed=1)
    for name, value in ev.evaluate(truth, predicted, classes, guessed).items():
        low, high = found[name]
        assert low < value < high
    assert found == ev.intervals(truth, predicted, classes, guessed, resamples=100, seed=1)
    assert found != ev.intervals(truth, predicted, classes, guessed, resamples=100, seed=2)
