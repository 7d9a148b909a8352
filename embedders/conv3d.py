"""Clips through a 3D CNN whose convolutions are split in space and time: R(2+1)D, https://arxiv.org/abs/1711.11248."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torchvision.models import get_model  # type: ignore[import-untyped]

from embedders.base import Decoded, Embedder, Matrix
from embedders.device import PixelNorm, pick_device
from embedders.fitted import Weights, current, load_weights
from embedders.hub import model_source, weights_error
from embedders.media.image import Fit
from embedders.media.video import Frames, Sampling
from embedders.video import ClipReader
from embedders.video_specs import OWN_MODEL, weights_path
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import EmbeddingSpec
from feature_repo.errors import StateError
from feature_repo.settings import Settings

# Of Kinetics-400, as torchvision's video models were trained with; units: 0 to 255.
MEAN = [255 * value for value in (0.43216, 0.394666, 0.37645)]
STD = [255 * value for value in (0.22803, 0.22145, 0.216989)]

WIDTHS = (16, 32, 64, 128, 256)
_CROP = {112: 0.875, 224: 0.875}  # of the frame: 128 to 112 pixels, 256 to 224


class SmallC3D(nn.Module):
    """(n, 3, frames, height, width) -> (n, 256): a stem and four (2+1)D blocks, 0.7 million weights.

    Made for 16 frames of 112 x 112. The frame's side is halved before time is, so most of the work is on few pixels.
    """

    def __init__(self) -> None:
        super().__init__()
        stem = _normed(nn.Conv3d(3, WIDTHS[0], (1, 5, 5), (1, 2, 2), (0, 2, 2), bias=False))
        a, b, c, d, e = WIDTHS
        blocks = _block(a, b, 1, 2), _block(b, c, 2, 2), _block(c, d, 2, 2), _block(d, e, 1, 1)
        self.trunk = nn.Sequential(stem, *blocks)
        self.dim = WIDTHS[-1]

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Features, the mean over time and places."""
        features: torch.Tensor = self.trunk(clips).mean((2, 3, 4))
        return features


def _block(width_in: int, width_out: int, time_step: int, space_step: int) -> nn.Module:
    space = nn.Conv3d(width_in, width_out, (1, 3, 3), (1, space_step, space_step), (0, 1, 1), bias=False)
    time = nn.Conv3d(width_out, width_out, (3, 1, 1), (time_step, 1, 1), (1, 0, 0), bias=False)
    return nn.Sequential(_normed(space), _normed(time))


def _normed(convolution: nn.Conv3d) -> nn.Module:
    return nn.Sequential(convolution, nn.BatchNorm3d(convolution.out_channels), nn.ReLU(inplace=True))


class Conv3dEmbedder(Embedder):
    """Pooled features before the classifier, (dim,), normalised: our small net as fitted, or one of torchvision's."""

    def __init__(self, spec: EmbeddingSpec, settings: Settings) -> None:
        self.spec = spec
        self.window = min(8, settings.batch_size)
        device = pick_device(settings)
        model = _own(spec, settings) if spec.options["model"] == OWN_MODEL else _torchvision(spec, settings)
        self._model = model.eval().to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self._pixels = ClipPixels(device)
        self._read = ClipReader(sampling_of(spec), fit_of(spec), settings)

    def decode(self, item: CatalogItem) -> Frames:
        """(frames, side, side, 3) uint8."""
        return self._read(item)

    @torch.inference_mode()
    def encode(self, decoded: Sequence[Decoded]) -> Matrix:
        """(n, dim) float32."""
        return np.asarray(nn.functional.normalize(self._model(self._pixels(decoded)), dim=-1).cpu(), np.float32)


class ClipPixels:
    """Frames of clips -> a normalised (n, 3, frames, height, width) float32 tensor on the device."""

    def __init__(self, device: torch.device) -> None:
        self._norm = PixelNorm(MEAN, STD, device)

    def __call__(self, clips: Sequence[Frames]) -> torch.Tensor:
        """Stack (frames, height, width, 3) uint8 clips of one shape."""
        pixels = self._norm([frame for clip in clips for frame in clip])
        batch = pixels.reshape(len(clips), -1, *pixels.shape[1:]).transpose(1, 2)
        return batch.contiguous(memory_format=torch.channels_last_3d)


def sampling_of(spec: EmbeddingSpec) -> Sampling:
    """Which frames of a clip the net is shown."""
    return Sampling(int(spec.options["frames"]), window=float(spec.options["window"]))


def fit_of(spec: EmbeddingSpec) -> Fit:
    """How a frame becomes the net's square."""
    side = int(spec.options["size"])
    return Fit(side, side, crop=_CROP[side])


def _own(spec: EmbeddingSpec, settings: Settings) -> nn.Module:
    """The small net with the weights that the spec names. Raises StateError where another fit took their place."""
    fitted = current(settings, spec.name)
    if fitted is None or fitted.weights != spec.weights:
        raise StateError(f"{spec.name} was fitted again meanwhile: run the command again")
    return build_own(load_weights(fitted))


def build_own(weights: Weights) -> SmallC3D:
    """The small net with the given weights. Raises RuntimeError where they are another net's."""
    net = SmallC3D()
    net.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
    return net


def _torchvision(spec: EmbeddingSpec, settings: Settings) -> nn.Module:
    """A video model of torchvision without its classifier. Raises WeightsError."""
    name = str(spec.options["model"])
    tag, path = weights_path(spec, settings)
    try:
        model: Any = get_model(name, weights=None if path else tag)
        if path:
            state = torch.load(path, map_location="cpu", weights_only=True)
            heads = ("fc.", "classifier.")  # of as many classes as the weights were trained on
            lacking = model.load_state_dict({k: v for k, v in state.items() if not k.startswith(heads)}, strict=False)
            if missing := [key for key in lacking.missing_keys if not key.startswith(heads)]:
                raise ValueError(f"{path} lacks weights of the model: {', '.join(missing[:3])}")
    except Exception as error:  # hub, network, file and shape errors have no common class
        raise weights_error(spec, model_source(spec, settings), error) from error
    if name == "s3d":
        return nn.Sequential(model.features, _MeanOfPlaces())
    model.fc = nn.Identity()
    return nn.Sequential(model)


class _MeanOfPlaces(nn.Module):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.mean((2, 3, 4))
