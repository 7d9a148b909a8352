from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from embedders.base import load_embedder
from embedders.batching import CPU_BYTES, LARGEST, batch_of, widest_layer
from feature_repo.settings import load_settings

CPU = torch.device("cpu")


def test_the_widest_layer_is_found_inside_and_leaves_no_hook() -> None:
    net = nn.Sequential(nn.Linear(4, 100), nn.ReLU(), nn.Linear(100, 2))
    assert widest_layer(net, lambda: net(torch.zeros(3, 4))) == 3 * 100 * 4
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize(
    ("each", "given", "expected"),
    [
        (CPU_BYTES // 10, {}, 8),
        (CPU_BYTES // 10, {"batch_size": 3}, 3),
        (2 * CPU_BYTES, {}, 1),
        (1, {}, LARGEST),
        (1, {"batch_size": 4096}, 4096),
        (2**20, {"batch_mb": 5}, 4),
    ],
)
def test_a_batch_is_a_power_of_two_within_the_bound(each: int, given: dict[str, int], expected: int) -> None:
    assert batch_of(each, load_settings(**given), CPU) == expected


def test_long_texts_share_a_pass_with_fewer() -> None:
    embedder: Any = load_embedder("minilm", load_settings(batch_mb=1, device="cpu"))
    lengths = [200] * 3 + [4] * 30
    passes = list(embedder.cut(lengths))
    assert sorted(row for rows in passes for row in rows) == list(range(33))
    widths = [len(rows) * max(lengths[row] for row in rows) for rows in passes]
    assert max(len(rows) for rows in passes) > 10
    assert [len(rows) for rows in passes if max(lengths[row] for row in rows) == 200] == [1, 1, 1]
    assert max(width for width, rows in zip(widths, passes, strict=True) if len(rows) > 1) <= 2**20 / (4 * 1536) + 1
    texts = [np.arange(1000, 1000 + length) for length in (9, 3, 6)]
    together = embedder.encode(texts)
    alone = np.concatenate([embedder.encode([text]) for text in texts])
    assert np.allclose(together, alone, atol=1e-5)
