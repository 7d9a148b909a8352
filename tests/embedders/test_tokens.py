"""Pooling to K tokens: the shares, what is masked, and what a batch may not change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from embedders.tokens import pool_grid, pool_tokens


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(1, 20), st.integers(0, 2**31))
def test_each_row_is_pooled_as_it_would_be_alone(lengths: list[int], count: int, seed: int) -> None:
    """Against torch's own adaptive pooling of the valid states alone."""
    states = torch.from_numpy(
        np.random.default_rng(seed).normal(size=(len(lengths), max(lengths), 3)).astype(np.float32)
    )
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    states[~mask] = torch.inf  # under the mask anything may stand
    pooled = pool_tokens(states, mask.long(), count)
    assert pooled.shape == (len(lengths), count, 3)
    for row, length in enumerate(lengths):
        expected = nn.functional.adaptive_avg_pool1d(states[row, :length].T[None], count)[0].T
        assert torch.allclose(pooled[row], expected, atol=1e-5)


def test_the_mask_may_have_holes() -> None:
    states = torch.tensor([[[1.0], [100.0], [3.0], [5.0]]])
    assert pool_tokens(states, torch.tensor([[1, 0, 1, 1]]), 3).flatten().tolist() == [1.0, 3.0, 5.0]


@pytest.mark.parametrize(("count", "shape"), [(16, (4, 4)), (9, (3, 3)), (8, (2, 4)), (7, (1, 7)), (1, (1, 1))])
def test_a_grid_is_cut_as_square_as_can_be(count: int, shape: tuple[int, int]) -> None:
    rows, columns = shape
    height, width = 12 * rows, 12 * columns
    place = torch.arange(rows)[:, None].repeat_interleave(12, 0) * columns + torch.arange(columns).repeat_interleave(12)
    pooled = pool_grid(place.float().expand(2, 1, height, width), count)
    assert pooled.shape == (2, count, 1)
    assert pooled[1, :, 0].tolist() == list(range(count))
