"""Pictures through a Vision Transformer (https://arxiv.org/abs/2010.11929) or its kin, of transformers or timm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from timm.data.config import resolve_model_data_config
from torch import nn
from transformers import AutoModel, BaseImageProcessor

from embedders.base import Decoded, Embedder, Matrix, Tokens, Vector, read_file
from embedders.batching import batch_of, widest_layer
from embedders.device import PixelNorm, pick_device
from embedders.hub import TIMM, load_model, load_pretrained, model_source, weights_error
from embedders.lower import dtype_of, lower
from embedders.media.image import Fit, Pixels, decode_image
from embedders.tokens import pool_grid
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import EmbeddingSpec, Modality
from feature_repo.settings import Precision, Settings

_RESAMPLE = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True, slots=True)
class Backbone:
    """A model with what its pictures have to be like.

    `vectors` gives (n, dim) of the module and a batch of pixels, `states` that and the states of the places,
    (n, dim, height, width). `mean` and `std` are in units of 0 to 1.
    """

    module: nn.Module
    vectors: Callable[[Any, torch.Tensor], torch.Tensor]
    states: Callable[[Any, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
    fit: Fit
    mean: Sequence[float]
    std: Sequence[float]


class VitEmbedder(Embedder):
    """The class token of a transformer, or the pooled map of a convolutional net; (dim,), normalised."""

    precisions = ("float32", "bfloat16", "int8", "compile")

    def __init__(self, spec: EmbeddingSpec, settings: Settings) -> None:
        self.spec = spec
        self._max_pixels = settings.max_pixels
        source = model_source(spec, settings)
        self._model = _timm(spec, source) if source.startswith(TIMM) else _transformers(spec, source)
        self.fit = self._model.fit
        device = pick_device(settings)
        self._model.module.to(device)
        mean, std = ([255 * value for value in values] for values in (self._model.mean, self._model.std))
        self._norm = PixelNorm(mean, std, device)
        black = np.zeros((self.fit.height, self.fit.width, 3), np.uint8)
        self.window = batch_of(widest_layer(self._model.module, lambda: self.encode([black])), settings, device)

    def at(self, precision: Precision) -> VitEmbedder:
        """One like this that computes in another precision."""
        other = copy(self)
        other._model = replace(self._model, module=lower(self._model.module, precision))
        other._norm = self._norm.at(dtype_of(precision))
        return other

    def decode(self, item: CatalogItem) -> Pixels:
        """(height, width, 3) uint8."""
        return self._pixels(read_file(item, Modality.IMAGE))

    @torch.inference_mode()
    def encode(self, decoded: Sequence[Decoded]) -> Matrix:
        """(n, dim) float32."""
        return _unit(self._model.vectors(self._model.module, self._norm(decoded)))

    @torch.inference_mode()
    def encode_tokens(self, decoded: Sequence[Decoded]) -> tuple[Matrix, Tokens]:
        """(n, dim) and (n, tokens, dim) float32: the patches after the last layer, pooled."""
        vectors, places = self._model.states(self._model.module, self._norm(decoded))
        return _unit(vectors), pool_grid(places.float(), self.spec.tokens).cpu().numpy()

    @property
    def net(self) -> nn.Module:
        """What encodes; see `tuned.Tunable`."""
        return self._model.module

    def features(self, decoded: Sequence[Decoded], tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Before normalisation, with gradients; see `tuned.Tunable`."""
        vectors, places = self._model.states(self._model.module, self._norm(decoded))
        return vectors.float(), pool_grid(places.float(), tokens)

    def embed_image(self, data: bytes) -> Vector:
        """(dim,) float32."""
        vector: Vector = self.encode([self._pixels(data)])[0]
        return vector

    def _pixels(self, data: bytes) -> Pixels:
        return decode_image(data, self.fit, self._max_pixels)


def _unit(vectors: torch.Tensor) -> Matrix:
    return np.asarray(nn.functional.normalize(vectors.float(), dim=-1).cpu(), np.float32)


def _transformers(spec: EmbeddingSpec, source: str) -> Backbone:
    """A model of transformers with a class token: ViT, DeiT, DINOv2. Raises WeightsError."""
    model = load_model(AutoModel.from_pretrained, source, spec, dtype=torch.float32)
    config, _ = load_pretrained(BaseImageProcessor.get_image_processor_dict, source, spec)

    def states(model: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = model(pixel_values=pixels).last_hidden_state  # (n, class token, perhaps registers, then patches; dim)
        height, width = (side // model.config.patch_size for side in pixels.shape[2:])
        places = found[:, -height * width :].transpose(1, 2).unflatten(2, (height, width))
        return found[:, 0], places

    fit = processor_fit(config)
    return Backbone(
        model, lambda model, pixels: states(model, pixels)[0], states, fit, config["image_mean"], config["image_std"]
    )


def processor_fit(config: Mapping[str, Any]) -> Fit:
    """What a `preprocessor_config.json` does to a picture's size: stretch it, or resize it and cut out the middle."""
    size = config["size"]
    resample = Image.Resampling(config.get("resample", Image.Resampling.BILINEAR))
    if isinstance(size, int):
        return Fit(size, size, mode="squash", resample=resample)
    if "height" in size:
        return Fit(size["height"], size["width"], mode="squash", resample=resample)
    edge, cut = size["shortest_edge"], config.get("crop_size", size["shortest_edge"])
    height, width = (cut, cut) if isinstance(cut, int) else (cut["height"], cut["width"])
    return Fit(height, width, crop=min(1.0, max(height, width) / edge), resample=resample)


def _timm(spec: EmbeddingSpec, source: str) -> Backbone:
    """A model of timm with the weights of a checkpoint, or those that it has on the hub. Raises WeightsError."""
    name, _, checkpoint = source.removeprefix(TIMM).partition("@")
    try:
        model: Any = timm.create_model(name, pretrained=not checkpoint, num_classes=0).eval()
        if checkpoint:
            _load_checkpoint(model, Path(checkpoint))
    except Exception as error:  # hub, network, file and shape errors have no common class
        raise weights_error(spec, source, error) from error

    def states(model: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        last, (places,) = model.forward_intermediates(pixels, indices=1, norm=True, output_fmt="NCHW")
        return model.forward_head(last), places

    data: dict[str, Any] = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    _, height, width = data["input_size"]
    resample = _RESAMPLE.get(data["interpolation"], Image.Resampling.BICUBIC)
    fit = Fit(height, width, crop=data["crop_pct"], resample=resample)
    if data["crop_mode"] == "squash":
        fit = Fit(height, width, mode="squash", resample=resample)
    return Backbone(model, lambda model, pixels: model(pixels), states, fit, data["mean"], data["std"])


def _load_checkpoint(model: nn.Module, path: Path) -> None:
    """Load a state dict; its classifier has no place. Raises ValueError where a weight of the model is not in it."""
    state = timm.models.load_state_dict(str(path), weights_only=True)
    if lacking := model.load_state_dict(state, strict=False).missing_keys:
        raise ValueError(f"{path} lacks weights of the model: {', '.join(lacking[:3])}")
