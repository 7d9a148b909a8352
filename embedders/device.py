"""Where encoders run, and how pixels get there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from embedders.media.image import Pixels
from feature_repo.errors import ConfigurationError
from feature_repo.settings import Settings


def pick_device(settings: Settings) -> torch.device:
    """The device that `settings.device` means. Raises ConfigurationError for a GPU that is not there."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("setting device (LARDER_DEVICE): torch sees no GPU; use auto or cpu")
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(auto if settings.device == "auto" else settings.device)


class PixelNorm:
    """Pixels -> (pixels - mean) / std as a (n, 3, h, w) float32 tensor on the device. Units: 0 to 255."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device) -> None:
        self._device = device
        self._mean = torch.tensor(mean, device=device).view(-1, 1, 1)
        self._scale = 1 / torch.tensor(std, device=device).view(-1, 1, 1)

    def __call__(self, pictures: Sequence[Pixels]) -> torch.Tensor:
        """Stack (h, w, 3) uint8 pictures; they travel as bytes and become floats, channels last, on the device."""
        batch = torch.from_numpy(np.stack(pictures)).to(self._device)
        return (batch.permute(0, 3, 1, 2).float() - self._mean) * self._scale
