"""Pictures and texts in one space through open_clip: CLIP (https://arxiv.org/abs/2103.00020) and its kin.

SigLIP (https://arxiv.org/abs/2303.15343) and SigLIP 2 (https://arxiv.org/abs/2502.14786) are read the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from PIL import Image
from torch import nn

from embedders.base import Decoded, Embedder, Matrix, Tokens, Vector, read_file, read_text
from embedders.batching import batch_of, widest_layer
from embedders.device import PixelNorm, pick_device
from embedders.hub import model_source, open_clip_parts, weights_error
from embedders.lower import dtype_of, lower
from embedders.media.image import Fit, Pixels, decode_image
from embedders.tokens import pool_grid, pool_tokens
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import EmbeddingSpec, Modality
from feature_repo.errors import MediaError
from feature_repo.settings import Precision, Settings

_RESAMPLE = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


class JointEmbedder(Embedder):
    """Both towers of one model: the spec's modality says which encodes contents; queries may use either."""

    precisions = ("float32", "bfloat16", "compile")

    def __init__(self, spec: EmbeddingSpec, settings: Settings) -> None:
        self.spec = spec
        self._max_pixels = settings.max_pixels
        self._device = pick_device(settings)
        self._model, self._tokeniser = _load(spec, settings)
        self._model.eval().to(self._device)
        self._tokenising = Lock()  # some of open_clip's tokenisers cannot be shared between threads
        preprocess = self._model.visual.preprocess_cfg
        self.fit = _fit(preprocess)
        self._norm = PixelNorm(
            [255 * m for m in preprocess["mean"]], [255 * s for s in preprocess["std"]], self._device
        )
        black = np.zeros((self.fit.height, self.fit.width, 3), np.uint8)
        sample = black if spec.modality is Modality.IMAGE else self._tokens("a")
        self.window = batch_of(widest_layer(self._model, lambda: self.encode([sample])), settings, self._device)

    def at(self, precision: Precision) -> JointEmbedder:
        """One like this that computes in another precision."""
        other = copy(self)
        other._model = lower(self._model, precision, "encode_image", "encode_text")
        other._norm = self._norm.at(dtype_of(precision))
        return other

    def decode(self, item: CatalogItem) -> Decoded:
        """(height, width, 3) uint8 pixels or (context length,) int64 token ids."""
        if self.spec.modality is Modality.IMAGE:
            return self._pixels(read_file(item, Modality.IMAGE))
        return self._tokens(read_text(item))

    def encode(self, decoded: Sequence[Decoded]) -> Matrix:
        """(n, dim) float32."""
        return self._pictures(decoded) if self.spec.modality is Modality.IMAGE else self._texts(decoded)

    @torch.inference_mode()
    def encode_tokens(self, decoded: Sequence[Decoded]) -> tuple[Matrix, Tokens]:
        """(n, dim) and (n, tokens, width of the tower) float32: patches or words after the last layer, pooled."""
        if self.spec.modality is Modality.IMAGE:
            made = self._model.forward_intermediates(
                image=self._norm(decoded), image_indices=1, normalize_intermediates=True
            )
            states = pool_grid(made["image_intermediates"][-1], self.spec.tokens)
            return _unit(made["image_features"]), _numpy(states)
        ids = torch.from_numpy(np.stack(decoded)).to(self._device)
        made = self._model.forward_intermediates(text=ids, text_indices=1, normalize_intermediates=True)
        states = pool_tokens(made["text_intermediates"][-1], self._said(ids), self.spec.tokens)
        return _unit(made["text_features"]), _numpy(states)

    def embed_text(self, text: str) -> Vector:
        """(dim,) float32. Raises MediaError for an empty text."""
        if not text.strip():
            raise MediaError("no text")
        vector: Vector = self._texts([self._tokens(text)])[0]
        return vector

    def embed_image(self, data: bytes) -> Vector:
        """(dim,) float32."""
        vector: Vector = self._pictures([self._pixels(data)])[0]
        return vector

    def _said(self, ids: torch.Tensor) -> torch.Tensor:
        """(n, context length) bool: which ids are the text's own, up to the end mark or those that are no padding."""
        end: int | None = getattr(self._tokeniser, "eot_token_id", None)
        if end is None:
            pad: int = self._tokeniser.tokenizer.pad_token_id
            return ids != pad
        ended = ids == end
        return ended.cumsum(1) - ended.long() == 0

    def _pixels(self, data: bytes) -> Pixels:
        return decode_image(data, self.fit, self._max_pixels)

    def _tokens(self, text: str) -> npt.NDArray[np.int64]:
        with self._tokenising:
            return np.asarray(self._tokeniser([text])[0], np.int64)

    @torch.inference_mode()
    def _pictures(self, pictures: Sequence[Decoded]) -> Matrix:
        return _unit(self._model.encode_image(self._norm(pictures)))

    @torch.inference_mode()
    def _texts(self, texts: Sequence[Decoded]) -> Matrix:
        return _unit(self._model.encode_text(torch.from_numpy(np.stack(texts)).to(self._device)))


def _load(spec: EmbeddingSpec, settings: Settings) -> tuple[Any, Any]:
    """Model and tokeniser. Raises WeightsError."""
    source = model_source(spec, settings)
    model, weights = open_clip_parts(source)
    try:
        made = open_clip.create_model(model, weights, require_pretrained=True, weights_only=True)
        return made, open_clip.get_tokenizer(model)
    except Exception as error:  # hub, network, file and shape errors have no common class
        raise weights_error(spec, source, error) from error


def _fit(preprocess: dict[str, Any]) -> Fit:
    size = preprocess["size"]
    height, width = (size, size) if isinstance(size, int) else size
    resample = _RESAMPLE.get(preprocess["interpolation"], Image.Resampling.BICUBIC)
    return Fit(height, width, mode=preprocess["resize_mode"], resample=resample, fill=preprocess["fill_color"])


def _unit(features: torch.Tensor) -> Matrix:
    return _numpy(nn.functional.normalize(features.float(), dim=-1))


def _numpy(features: torch.Tensor) -> npt.NDArray[np.float32]:
    return np.asarray(features.float().cpu(), np.float32)
