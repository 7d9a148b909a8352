import numpy as np
import pytest

from predictors.calibration import (
    Calibration,
    calibration_error,
    fit_calibration,
    interval_shares,
    log_loss,
)

EDGES = (-0.84, -0.25, 0.25, 0.84)


def world(rows: int = 2000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with unit noise about them, a classifier that is five times too sure, and the true classes."""
    rng = np.random.default_rng(seed)
    score = rng.normal(size=rows)
    truth = np.searchsorted(EDGES, score + rng.normal(scale=1.0, size=rows))
    return score, 5 * np.log(interval_shares(score, EDGES, 1.0)), truth


def test_an_overconfident_classifier_is_cooled_down() -> None:
    score, logits, truth = world()
    found, errors = fit_calibration(score[:1000], logits[:1000], EDGES, truth[:1000])
    assert errors["calibrated_error"] < 0.06 < 0.2 < errors["classifier_error"]
    assert calibration_error(truth[1000:], found(score, logits, EDGES)[1000:]) < 0.08


def test_the_spread_of_the_truth_about_the_score_is_found() -> None:
    score, logits, truth = world()
    noise = np.random.default_rng(1).normal(size=logits.shape)
    found, _ = fit_calibration(score, noise, EDGES, truth)
    assert found.deviation == pytest.approx(1.0, abs=0.15)
    assert found.trust > 0.9


def test_probabilities_sum_to_one() -> None:
    score, logits, _ = world(50)
    made = Calibration(temperature=2.0, deviation=0.5, trust=0.3)(score, logits, EDGES)
    np.testing.assert_allclose(made.sum(axis=1), 1.0)
    assert (made >= 0).all()


def test_equal_edges_leave_a_class_empty() -> None:
    shares = interval_shares(np.array([0.0]), (0.0, 0.0, 1.0, 1.0), 1.0)
    assert shares[0, 1] == shares[0, 3] == 0
    assert shares.sum() == pytest.approx(1.0)


def test_the_calibration_error_is_the_gap_between_sure_and_right() -> None:
    sure = np.array([[0.9, 0.1, 0, 0, 0]] * 10)
    assert calibration_error(np.zeros(10, np.int64), sure) == pytest.approx(0.1)
    assert calibration_error(np.ones(10, np.int64), sure) == pytest.approx(0.9)


def test_the_log_loss_of_a_sure_error_is_finite() -> None:
    assert np.isfinite(log_loss(np.array([1]), np.array([[1.0, 0, 0, 0, 0]])))
