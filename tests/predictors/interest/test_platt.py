"""Calibration on planted chances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictors.interest.platt import Platt, log_odds, logistic


def planted(rows: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(rows, 2)) * [3.0, 0.5]
    return scores, (rng.random(rows) < logistic(scores @ [0.5, -2.0] + 1.0)).astype(float)


def test_it_finds_the_weights_that_made_the_labels() -> None:
    scores, truth = planted()
    fitted = Platt.fit(scores, truth)
    assert fitted.weights == pytest.approx([0.5, -2.0], abs=0.1)
    assert fitted.offset == pytest.approx(1.0, abs=0.1)
    p = fitted(scores)
    for low in np.arange(0, 1, 0.2):
        inside = (p >= low) & (p < low + 0.2)
        assert truth[inside].mean() == pytest.approx(p[inside].mean(), abs=0.03)


def test_scores_that_part_the_labels_or_say_nothing_stay_finite() -> None:
    truth = np.repeat([0.0, 1.0], 50)
    parted = Platt.fit(np.c_[truth * 2 - 1, np.ones(100)], truth)
    assert np.isfinite(parted.weights).all()
    assert parted.weights[1] == 0
    p = parted(np.array([[-1.0, 1.0], [1.0, 1.0], [1e9, 1.0]]))
    assert (np.diff(p) >= 0).all()
    assert p[-1] < 1


@given(st.floats(-15, 15))
def test_log_odds_undo_the_logistic_curve(x: float) -> None:
    assert log_odds(logistic(np.array([x])))[0] == pytest.approx(x, abs=1e-6)


def test_what_it_says_it_is_made_of_makes_it_again() -> None:
    scores, truth = planted(200)
    fitted = Platt.fit(scores, truth)
    np.testing.assert_array_equal(Platt(**fitted.to_json())(scores), fitted(scores))
