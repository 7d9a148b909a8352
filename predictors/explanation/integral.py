"""Integrated gradients (Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365) of the predictors that are nets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from captum.attr import IntegratedGradients

from embedders.tokens import grid_of
from predictors.labels import Floats
from predictors.torch_fit import cpu_threads

METHOD = "integrated gradients"

Tensors = Mapping[str, torch.Tensor]
Maps = npt.NDArray[np.float32]

_STEPS = 64  # of the quadrature (Gauss-Legendre), in float64: its error is `Explanation.residual`
_AT_ONCE = 256  # rows of a forward pass, so that memory does not grow with the steps


@dataclass(frozen=True, slots=True)
class Integrated:
    """What each number of each input added, in the inputs' shapes; what the path begins and ends at, (n,)."""

    added: Mapping[str, Floats]
    base: Floats
    total: Floats


def integrate(
    forward: Callable[[Tensors, Tensors], torch.Tensor], inputs: Tensors, bases: Tensors, fixed: Tensors
) -> Integrated:
    """Integrated gradients of `forward`, which gives (n,) of `inputs` and of what is `fixed` along the path.

    All have n rows; `bases` are where the inputs' paths begin. Works in float64 and on one thread.
    """
    names, kept = list(inputs), list(fixed)

    def of_tensors(*tensors: torch.Tensor) -> torch.Tensor:
        own, rest = tensors[: len(names)], tensors[len(names) :]
        return forward(dict(zip(names, own, strict=True)), dict(zip(kept, rest, strict=True)))

    ends, starts = (tuple(each[name].detach() for name in names) for each in (inputs, bases))
    held = tuple(fixed.values())
    with cpu_threads(1):
        added = IntegratedGradients(of_tensors).attribute(
            ends,
            starts,
            additional_forward_args=held or None,
            n_steps=_STEPS,
            method="gausslegendre",
            internal_batch_size=max(_AT_ONCE, len(ends[0])),
        )
        with torch.no_grad():
            base, total = (of_tensors(*each, *held).numpy() for each in (starts, ends))
    return Integrated({name: each.numpy() for name, each in zip(names, added, strict=True)}, base, total)


def slopes_of(forward: Callable[[Tensors], torch.Tensor], ends: Tensors) -> dict[str, torch.Tensor]:
    """The gradient of each row's value with respect to each input at its end."""
    leaves = {name: end.detach().clone().requires_grad_(True) for name, end in ends.items()}
    with cpu_threads(1):
        slopes = torch.autograd.grad(forward(leaves).sum(), list(leaves.values()))
    return dict(zip(leaves, slopes, strict=True))


def as_grid(weights: torch.Tensor) -> Maps:
    """(n, K) weights of a picture's tokens -> (n, h, w) float32, as the tokens lie in it."""
    rows, columns = grid_of(weights.shape[1])
    return weights.reshape(-1, rows, columns).numpy().astype(np.float32)
