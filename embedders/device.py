"""Where encoders run, and how pixels get there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy

import numpy as np
import torch

from embedders.media.image import Pixels
from feature_repo.errors import ConfigurationError
from feature_repo.settings import Settings

_AT_ONCE = 4  # batches, at most: each needs memory of its own


def pick_device(settings: Settings) -> torch.device:
    """The device that `settings.device` means. Raises ConfigurationError for a GPU that is not there."""
    if settings.device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigurationError("setting device (LARDER_DEVICE): torch sees no GPU; use auto or cpu")
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(auto if settings.device == "auto" else settings.device)


def devices(settings: Settings) -> list[str]:
    """Every device that a run may use at once: all GPUs where it may use them and there are any."""
    device = str(pick_device(settings))
    return [f"cuda:{index}" for index in range(torch.cuda.device_count())] if device == "cuda" else [device]


@contextmanager
def shared_cores(settings: Settings) -> Iterator[int]:
    """How many batches are to be encoded at once, each by a thread that is started within the block and has its share
    of the cores.

    Cores that work on one batch wait for each other at every layer: for the slowest, where something else wants a core
    too. Two that have a batch each do not. A GPU takes one batch at a time.
    """
    threads = torch.get_num_threads()
    at_once = min(_AT_ONCE, threads) if pick_device(settings).type == "cpu" else 1
    torch.set_num_threads(threads // at_once)
    try:
        yield at_once
    finally:
        torch.set_num_threads(threads)


class PixelNorm:
    """Pixels -> (pixels - mean) / std as a (n, 3, h, w) tensor on the device, float32 or as `at` says.

    Units: 0 to 255.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device) -> None:
        self._device = device
        self._dtype = torch.float32
        self._mean = torch.tensor(mean, device=device).view(-1, 1, 1)
        self._scale = 1 / torch.tensor(std, device=device).view(-1, 1, 1)

    def __call__(self, pictures: Sequence[Pixels]) -> torch.Tensor:
        """Stack (h, w, 3) uint8 pictures; they travel as bytes and become floats, channels last, on the device."""
        batch = self._stack(pictures).to(self._device, non_blocking=True)
        pixels = batch.permute(0, 3, 1, 2).float().sub_(self._mean).mul_(self._scale)
        return pixels.to(self._dtype)

    def at(self, dtype: torch.dtype) -> PixelNorm:
        """One like this that gives numbers of another type."""
        other = copy(self)
        other._dtype = dtype
        return other

    def _stack(self, pictures: Sequence[Pixels]) -> torch.Tensor:
        """(n, h, w, 3) uint8; for a GPU in memory that it reads by itself, while the thread goes on."""
        if self._device.type != "cuda":
            return torch.from_numpy(np.stack(pictures))
        pinned = torch.empty((len(pictures), *pictures[0].shape), dtype=torch.uint8, pin_memory=True)
        np.stack(pictures, out=pinned.numpy())
        return pinned
