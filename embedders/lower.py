"""Nets at another precision than float32: bfloat16 weights, compiled, or with 8-bit linear layers."""

from __future__ import annotations

from copy import copy, deepcopy
from typing import Any, TypeVar

import torch
from torch import nn

from feature_repo.settings import Precision

Net = TypeVar("Net", bound=nn.Module)

_TINY = 1e-12  # scale of what is all zeros


def lower(net: Net, precision: Precision, *methods: str) -> Net:
    """A net like `net` at a precision; `methods` are those that are called, besides `forward`, where they are compiled.

    Its weights are its own but with `compile`.
    """
    if precision == "bfloat16":
        return deepcopy(net).to(torch.bfloat16)
    if precision == "int8":
        return _quantised(deepcopy(net))
    compiled = copy(net)
    for method in methods or ("forward",):
        setattr(compiled, method, torch.compile(getattr(compiled, method), dynamic=True))
    return compiled


def dtype_of(precision: Precision) -> torch.dtype:
    """What a net of this precision takes where it takes numbers with a fraction."""
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


class Int8Linear(nn.Module):
    """A linear layer in 8 bits (https://arxiv.org/abs/2208.07339, without outliers): weights scaled by output, inputs
    by row as they come, so that a row gives the same in any batch. Runs on VNNI or AMX; inputs (..., in) float32.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight = layer.weight.detach()
        self._scale = (weight.abs().amax(1) / 127).clamp_min(_TINY)
        rounded = (weight / self._scale[:, None]).round().to(torch.int8)
        self._weight = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._zero = torch.zeros(len(weight), dtype=torch.int64)
        self._bias = layer.bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(..., out) float32."""
        rows = inputs.reshape(-1, inputs.shape[-1])
        scale = rows.abs().amax(1, keepdim=True).div_(127).clamp_min_(_TINY)
        rounded = (rows / scale).round_().to(torch.int8)
        weight = (self._weight, self._scale, self._zero)
        as_floats: tuple[Any, ...] = (
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )  # nothing is done to the products after they are summed
        outputs: torch.Tensor = torch.ops.onednn.qlinear_pointwise(rounded, 1.0, 0, *weight, None, *as_floats)
        outputs = outputs.mul_(scale)
        if self._bias is not None:
            outputs = outputs.add_(self._bias)
        return outputs.reshape(*inputs.shape[:-1], -1)


def _quantised(net: Net) -> Net:
    """`net`, its linear layers in 8 bits."""
    for parent in list(net.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear:
                setattr(parent, name, Int8Linear(layer))
    return net
