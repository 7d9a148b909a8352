"""Sounds through a transformer of the hub: AST (https://arxiv.org/abs/2104.01778), CLAP (https://arxiv.org/abs/2211.06687).

A model hears some ten seconds. A longer sound is cut into windows, evenly spaced, and its vector is their mean.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import ASTModel, AutoFeatureExtractor, AutoTokenizer, ClapModel

from embedders.base import Decoded, Embedder, Matrix, Tokens, Vector, media_path
from embedders.device import pick_device
from embedders.hub import load_model, load_pretrained, model_source, weights_error
from embedders.media.audio import Samples, decode_audio
from embedders.media.guard import Guard
from embedders.tokens import pool_tokens
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import EmbeddingSpec, Modality
from feature_repo.errors import MediaError
from feature_repo.settings import Settings

Features = npt.NDArray[np.float32]


class TransformerEmbedder(Embedder):
    """What the two below share: windows, features made by the decoding threads, the mean over windows."""

    input_name: str  # of the features, as the feature extractor calls them

    def __init__(self, spec: EmbeddingSpec, settings: Settings) -> None:
        self.spec = spec
        self.window = self._batch = settings.batch_size
        self._device = pick_device(settings)
        self._guard = Guard(settings.workers, settings.media_seconds)
        self._source = model_source(spec, settings)
        self._extractor: Any = load_pretrained(AutoFeatureExtractor.from_pretrained, self._source, spec)
        self._rate = int(self._extractor.sampling_rate)
        self._model: Any = self.load().to(self._device)

    def decode(self, item: CatalogItem) -> Features:
        """(windows, ...) float32, as the model reads them."""
        return self._features(media_path(item, Modality.AUDIO))

    def encode(self, decoded: Sequence[Decoded]) -> Matrix:
        """(n, dim) float32."""
        return self._run(decoded)[0]

    def encode_tokens(self, decoded: Sequence[Decoded]) -> tuple[Matrix, Tokens]:
        """(n, dim) and (n, tokens, dim) float32: the states, averaged over frequencies, in the order of time."""
        vectors, states = self._run(decoded)
        pooled = [
            pool_tokens(times[None], torch.ones(1, len(times), device=times.device), self.spec.tokens)
            for times in states
        ]
        return vectors, np.asarray(torch.cat(pooled).float().cpu(), np.float32)

    def embed_audio(self, data: bytes) -> Vector:
        """(dim,) float32."""
        vector: Vector = self.encode([self._features(data)])[0]
        return vector

    @abstractmethod
    def load(self) -> nn.Module:
        """The model, in evaluation mode. Raises WeightsError."""

    @abstractmethod
    def window_samples(self) -> int:
        """How much the model hears at once."""

    @abstractmethod
    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors of windows, (n, dim), and their states in time, (n, times, dim)."""

    def _features(self, source: Any) -> Features:
        size = self.window_samples()
        seconds = int(self.spec.options["windows"]) * size / self._rate
        windows = cut(self._guard.call(decode_audio, source, self._rate, seconds), size)
        made = [self._extractor(part, sampling_rate=self._rate, return_tensors="np") for part in windows]
        return np.concatenate([np.asarray(one[self.input_name], np.float32) for one in made])

    @torch.inference_mode()
    def _run(self, decoded: Sequence[Decoded]) -> tuple[Matrix, list[torch.Tensor]]:
        """Vectors (n, dim), and of each content its states in time, (windows x times, dim)."""
        windows = torch.from_numpy(np.concatenate(list(decoded)))
        counts = [len(one) for one in decoded]
        passes = [self.forward(some.to(self._device)) for some in torch.split(windows, self._batch)]
        vectors = torch.split(torch.cat([vector.float() for vector, _ in passes]), counts)
        states = torch.split(torch.cat([state for _, state in passes]), counts)
        means = torch.stack([own.mean(0) for own in vectors])
        units = nn.functional.normalize(means, dim=-1)
        return np.asarray(units.cpu(), np.float32), [own.flatten(0, 1) for own in states]


class AstEmbedder(TransformerEmbedder):
    """AST before its classifier: the mean of the class and the distillation token."""

    input_name = "input_values"

    def load(self) -> nn.Module:
        """The transformer."""
        model: nn.Module = load_model(ASTModel.from_pretrained, self._source, self.spec, dtype=torch.float32)
        return model

    def window_samples(self) -> int:
        """Frames of 25 ms every 10 ms."""
        return (int(self._extractor.max_length - 1) * 10 + 25) * self._rate // 1000

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Two tokens, then the patches, frequency by frequency."""
        output = self._model(input_values=features)
        config = self._model.config
        height = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        patches = output.last_hidden_state[:, 2:].unflatten(1, (height, -1))
        return output.pooler_output, patches.mean(1)


class ClapEmbedder(TransformerEmbedder):
    """CLAP's audio tower; texts through the other one find sounds."""

    input_name = "input_features"

    def __init__(self, spec: EmbeddingSpec, settings: Settings) -> None:
        super().__init__(spec, settings)
        tokeniser = load_pretrained(AutoTokenizer.from_pretrained, self._source, spec)
        if not tokeniser.is_fast:
            raise weights_error(spec, self._source, "its tokeniser is no fast one: it has no tokenizer.json")
        text = self._model.config.text_config
        # Set up once: transformers' wrapper changes it at each call, which threads cannot share. RoBERTa counts its
        # positions from behind the padding's.
        self._tokeniser = tokeniser.backend_tokenizer
        self._tokeniser.enable_truncation(text.max_position_embeddings - text.pad_token_id - 1)
        self._tokeniser.no_padding()

    def load(self) -> nn.Module:
        """Both towers."""
        model: nn.Module = load_model(ClapModel.from_pretrained, self._source, self.spec, dtype=torch.float32)
        return model

    def window_samples(self) -> int:
        """Ten seconds in all published models."""
        return int(self._extractor.nb_max_samples)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pool and states, (n, channels, frequencies, times), both through the projection into the common space."""
        longer = torch.zeros(len(features), 1, dtype=torch.bool, device=features.device)  # than a window: none is
        output = self._model.audio_model(input_features=features, is_longer=longer)
        states = output.last_hidden_state.mean(2).transpose(1, 2)
        project = self._model.audio_projection
        return nn.functional.normalize(project(output.pooler_output), dim=-1), project(states)

    @torch.inference_mode()
    def embed_text(self, text: str) -> Vector:
        """(dim,) float32. Raises MediaError for an empty text."""
        if not text.strip():
            raise MediaError("no text")
        ids = torch.tensor([self._tokeniser.encode(text).ids], device=self._device)
        output = self._model.text_model(input_ids=ids, attention_mask=torch.ones_like(ids))
        vector = self._model.text_projection(output.pooler_output)[0]
        return np.asarray(nn.functional.normalize(vector, dim=-1).cpu(), np.float32)


def cut(samples: Samples, size: int) -> list[Samples]:
    """As few windows of `size` samples as hold the whole sound, evenly spaced; a shorter sound is one window.

    A sound under 25 ms at 16 kHz is filled up with silence: feature extractors need one frame.
    """
    if len(samples) <= size:
        return [np.pad(samples, (0, max(0, _LEAST - len(samples))))]
    starts = np.linspace(0, len(samples) - size, ceil(len(samples) / size)).round().astype(int)
    return [samples[start : start + size] for start in starts]


_LEAST = 400
