"""Compiled passes; `answer` and `encode` are tested as what the predictor says."""

from __future__ import annotations

import numpy as np

from predictors.interest.passes import standardise


def test_statistics_are_cut_and_the_absent_ones_are_the_mean() -> None:
    raw = np.array([[1.0, 3.0, np.nan, 1e6, -1e6]])
    to = np.empty(raw.shape, np.float32)
    standardise(raw, np.array([1], np.float32), np.array([0.5], np.float32), 5.0, to)
    np.testing.assert_array_equal(to, [[0, 1, 0, 5, -5]])
