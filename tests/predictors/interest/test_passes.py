"""The compiled passes say what the same sums say in numpy and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from predictors.interest.passes import _exp, _gelu, _layer, _softmax, standardise


@settings(max_examples=200, deadline=None)
@given(st.floats(-86, 86, width=32))
def test_exponential_and_gelu_are_rounded_ones(x: float) -> None:
    near = np.float32(x)
    assert _exp(near) == pytest.approx(np.exp(np.float64(near)), rel=3e-7)
    truth = F.gelu(torch.tensor(near, dtype=torch.float64))
    assert _gelu(near) == pytest.approx(float(truth), rel=3e-7, abs=1e-6)


def test_what_is_far_counts_nothing_in_a_softmax() -> None:
    x = np.array([[0, 500, -1e4], [-200, 0, -1e4]], np.float32)
    _softmax(x)
    np.testing.assert_allclose(x, [[1, 1, 0.5], [0, 0, 0.5]], atol=1e-7)


@pytest.mark.parametrize("inputs", [1, 3, 4, 9])
def test_a_layer_is_a_product_and_a_bias(inputs: int) -> None:
    rng = np.random.default_rng(inputs)
    weight, x = (rng.normal(size=shape).astype(np.float32) for shape in ((5, 1 + inputs), (inputs, 11)))
    to = np.full((5, 11), np.nan, np.float32)
    _layer(weight, x, to)
    np.testing.assert_allclose(to, weight[:, :1] + weight[:, 1:] @ x, rtol=1e-5, atol=1e-6)


def test_statistics_are_cut_and_the_absent_ones_are_the_mean() -> None:
    raw = np.array([[1.0, 3.0, np.nan, 1e6, -1e6]])
    to = np.empty(raw.shape, np.float32)
    standardise(raw, np.array([1], np.float32), np.array([0.5], np.float32), 5.0, to)
    np.testing.assert_array_equal(to, [[0, 1, 0, 5, -5]])
