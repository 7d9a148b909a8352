"""Many states to K tokens: each the mean of an equal share, so that a short text or a small grid has K as well."""

from __future__ import annotations

from math import isqrt

import torch
from torch import nn


def pool_tokens(states: torch.Tensor, mask: torch.Tensor, count: int) -> torch.Tensor:
    """(n, length, dim) states, of which `mask` (n, length) marks the valid ones -> (n, count, dim) in their order.

    Token i is the mean of the valid states in [i l / K, (i + 1) l / K), rounded outwards, as adaptive pooling does it;
    fewer states than tokens are repeated. What lies under the mask counts for nothing, so a text has the same
    tokens in any batch. Every row needs a valid state.
    """
    valid = mask.bool()
    lengths = valid.sum(1)[:, None]  # (n, 1)
    run = torch.arange(count, device=states.device)[None]
    first = run * lengths // count
    after = ((run + 1) * lengths + count - 1) // count  # (n, count)
    rank = (valid.cumsum(1) - 1)[:, None, :]  # place among the valid ones, (n, 1, length)
    share = (rank >= first[:, :, None]) & (rank < after[:, :, None]) & valid[:, None, :]
    weights = share.to(states.dtype) / (after - first)[:, :, None]
    return weights @ states.masked_fill(~valid[:, :, None], 0.0)


def pool_grid(states: torch.Tensor, count: int) -> torch.Tensor:
    """(n, dim, height, width) states of a picture's places -> (n, count, dim), row by row.

    The picture is cut into as square a grid of fields as `count` allows: 16 are 4 x 4, 8 are 2 x 4, 7 are 1 x 7.
    """
    fields: torch.Tensor = nn.functional.adaptive_avg_pool2d(states, grid_of(count))
    return fields.flatten(2).transpose(1, 2)


def grid_of(count: int) -> tuple[int, int]:
    """Rows and columns of the fields that `count` tokens of a picture are of."""
    rows = next(size for size in range(isqrt(count), 0, -1) if count % size == 0)
    return rows, count // rows
