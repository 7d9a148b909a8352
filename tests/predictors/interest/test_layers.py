"""The compiled layers say what the same sums say in numpy and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from predictors.interest.layers import exp, gelu, layer, norm, room, softmax


@settings(max_examples=200, deadline=None)
@given(st.floats(-86, 86, width=32))
def test_exponential_and_gelu_are_rounded_ones(x: float) -> None:
    near = np.float32(x)
    assert exp(near) == pytest.approx(np.exp(np.float64(near)), rel=3e-7)
    truth = F.gelu(torch.tensor(near, dtype=torch.float64))
    assert gelu(near) == pytest.approx(float(truth), rel=3e-7, abs=1e-6)


def test_what_is_far_counts_nothing_in_a_softmax() -> None:
    x = np.array([[0, 500, -1e4], [-200, 0, -1e4]], np.float32)
    softmax(x)
    np.testing.assert_allclose(x, [[1, 1, 0.5], [0, 0, 0.5]], atol=1e-7)


@pytest.mark.parametrize(("outputs", "inputs", "n"), [(1, 1, 1), (3, 5, 1), (4, 4, 130), (5, 3, 11), (9, 10, 64)])
def test_a_layer_is_a_product_and_a_bias(outputs: int, inputs: int, n: int) -> None:
    rng = np.random.default_rng(inputs)
    weight, x = (rng.normal(size=shape).astype(np.float32) for shape in ((outputs, 1 + inputs), (inputs, n)))
    to = np.full((outputs, n), np.nan, np.float32)
    layer(weight, x, to)
    np.testing.assert_allclose(to, weight[:, :1] + weight[:, 1:] @ x, rtol=1e-5, atol=1e-6)


def test_a_norm_is_torchs_and_may_take_its_own_place() -> None:
    x, by = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) for shape in ((6, 9), (2, 6)))
    truth = F.layer_norm(x.T, (6,), by[0], by[1], eps=1e-5).T
    place = x.clone().numpy()
    norm(place, by.numpy(), 1e-5, place)
    np.testing.assert_allclose(place, truth, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("rows", "n"), [(0, 3), (1, 1), (7, 16), (200, 128)])
def test_room_begins_with_a_line_of_the_cache(rows: int, n: int) -> None:
    some = room(rows, n)
    assert some.shape == (rows, n)
    assert some.ctypes.data % 64 == 0
