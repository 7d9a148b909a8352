"""How many contents share a forward pass: as many as keep the net's widest layer within a bound of memory.

Found from sizes, not from times, so that the same machine always cuts the same batches and a vector's last bits do not
hang on how busy it was. On a CPU a batch for each core has to find its way through the same caches (contents a second
of two cores by MiB of a batch, float32: MiniLM 48 125, 20 154, 12 139; EfficientNet-Lite0 48 80, 20 78, 12 68); on a
GPU the bound is a sixteenth of its memory.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from feature_repo.settings import Settings

CPU_BYTES = 20 * 2**20
GPU_SHARE = 16
LARGEST = 256


def widest_layer(net: nn.Module, run: Callable[[], object]) -> int:
    """Bytes of the largest output of any of the net's modules while `run` is at work."""
    sizes = [1]

    def note(module: nn.Module, inputs: object, outputs: object) -> None:
        sizes.extend(leaf.nbytes for leaf in tree_leaves(outputs) if isinstance(leaf, torch.Tensor))

    hooks = [module.register_forward_hook(note) for module in net.modules()]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return max(sizes)


def batch_of(each: int, settings: Settings, device: torch.device) -> int:
    """How many contents of which each takes so many bytes: a power of two, and no more than the settings allow."""
    fitting = 1 << (max(1, bound_of(settings, device) // each).bit_length() - 1)
    return min(fitting, largest(settings))


def largest(settings: Settings) -> int:
    """The setting `batch_size` where it is given, else 256."""
    return settings.batch_size if "batch_size" in settings.model_fields_set else LARGEST


def bound_of(settings: Settings, device: torch.device) -> int:
    """Bytes that the widest layer of a batch may take."""
    if settings.batch_mb or device.type != "cuda":
        return settings.batch_mb * 2**20 or CPU_BYTES
    return int(torch.cuda.get_device_properties(device).total_memory) // GPU_SHARE
