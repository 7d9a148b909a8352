"""Clips through video transformers: VideoMAE (https://arxiv.org/abs/2203.12602), X-CLIP (https://arxiv.org/abs/2208.02816)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoTokenizer, BaseImageProcessor, VideoMAEModel, XCLIPModel

from embedders.base import Decoded, Embedder, Matrix, Tokens, Vector
from embedders.device import PixelNorm, pick_device
from embedders.hub import load_model, load_pretrained, model_source
from embedders.media.video import Frames, Sampling
from embedders.tokens import pool_tokens
from embedders.video import ClipReader
from embedders.vit import processor_fit
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import EmbeddingSpec
from feature_repo.errors import MediaError
from feature_repo.settings import Settings


class _VideoTransformer(Embedder):
    """What both share: frames as the model's config and preprocessor have them, in one tensor."""

    def __init__(self, spec: EmbeddingSpec, settings: Settings, model_class: Any) -> None:
        self.spec = spec
        self.window = max(1, settings.batch_size // 8)  # a clip is some eight pictures' worth of work
        self._device = pick_device(settings)
        self._source = model_source(spec, settings)
        self._model: Any = load_model(model_class.from_pretrained, self._source, spec, dtype=torch.float32)
        self._model.to(self._device)
        pictures, _ = load_pretrained(BaseImageProcessor.get_image_processor_dict, self._source, spec)
        mean, std = ([255 * value for value in pictures[f"image_{what}"]] for what in ("mean", "std"))
        self._norm = PixelNorm(mean, std, self._device)
        config = getattr(self._model.config, "vision_config", self._model.config)
        self._read = ClipReader(Sampling(config.num_frames), processor_fit(pictures), settings)

    def decode(self, item: CatalogItem) -> Frames:
        """(frames, height, width, 3) uint8."""
        return self._read(item)

    @torch.inference_mode()
    def encode(self, decoded: Sequence[Decoded]) -> Matrix:
        """(n, dim) float32."""
        return _unit(self._forward(decoded)[0])

    @torch.inference_mode()
    def encode_tokens(self, decoded: Sequence[Decoded]) -> tuple[Matrix, Tokens]:
        """(n, dim) and (n, tokens, token_dim) float32: states in the order of time, pooled."""
        vectors, states = self._forward(decoded)
        everything = torch.ones(states.shape[:2], device=self._device)
        tokens = pool_tokens(states, everything, self.spec.tokens)
        return _unit(vectors), np.asarray(tokens.cpu(), np.float32)

    def _batch(self, decoded: Sequence[Decoded]) -> torch.Tensor:
        """(n, frames, 3, height, width)."""
        pixels = self._norm([frame for clip in decoded for frame in clip])
        return pixels.reshape(len(decoded), -1, *pixels.shape[1:])

    @abstractmethod
    def _forward(self, decoded: Sequence[Decoded]) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, dim) vectors and (n, length, token_dim) states in the order of time."""


class VideoMAEEmbedder(_VideoTransformer):
    """Mean of the states of the last layer, (dim,), normalised."""

    def __init__(self, spec: EmbeddingSpec, settings: Settings) -> None:
        super().__init__(spec, settings, VideoMAEModel)

    def _forward(self, decoded: Sequence[Decoded]) -> tuple[torch.Tensor, torch.Tensor]:
        states = self._model(pixel_values=self._batch(decoded)).last_hidden_state
        return states.mean(1), states


class XCLIPEmbedder(_VideoTransformer):
    """Clips and texts in one space, (dim,), normalised; a token is a frame's vector before frames meet."""

    def __init__(self, spec: EmbeddingSpec, settings: Settings) -> None:
        super().__init__(spec, settings, XCLIPModel)
        self._tokeniser: Any = load_pretrained(AutoTokenizer.from_pretrained, self._source, spec)
        self._tokenising = Lock()  # transformers' wrapper changes the tokeniser at each call
        self._longest = self._model.config.text_config.max_position_embeddings

    @torch.inference_mode()
    def embed_text(self, text: str) -> Vector:
        """(dim,) float32. Raises MediaError for an empty text."""
        if not text.strip():
            raise MediaError("no text")
        with self._tokenising:
            said = self._tokeniser(text, truncation=True, max_length=self._longest, return_tensors="pt")
        vector: Vector = _unit(self._model.get_text_features(**said.to(self._device)).pooler_output)[0]
        return vector

    def _forward(self, decoded: Sequence[Decoded]) -> tuple[torch.Tensor, torch.Tensor]:
        batch = self._batch(decoded)
        seen = self._model.vision_model(pixel_values=batch.flatten(0, 1)).pooler_output
        frames = self._model.visual_projection(seen).unflatten(0, batch.shape[:2])
        return self._model.mit(frames).pooler_output, frames


def _unit(vectors: torch.Tensor) -> Matrix:
    return np.asarray(nn.functional.normalize(vectors.float(), dim=-1).cpu(), np.float32)
