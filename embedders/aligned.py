"""Pictures and texts in one space through two small heads over frozen vectors, so that texts find pictures.

The heads are fitted on the catalog's own pairs (train_aligned.py) with the loss of SigLIP, https://arxiv.org/abs/2303.15343.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from threading import Lock
from weakref import finalize

import numpy as np
import torch
from torch import nn

from embedders.aligned_specs import ALIGNED, bases_of, head_weights
from embedders.base import Decoded, Embedder, Matrix, Vector, load_embedder, read_file, read_text
from embedders.contrastive import PairModel
from embedders.derived import BaseVectors
from embedders.device import pick_device
from embedders.fitted import Weights, current, load_weights
from embedders.specs import resolve_spec
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import EmbeddingSpec, Modality
from feature_repo.errors import StateError
from feature_repo.settings import Settings


class Head(nn.Module):
    """(n, width) -> (n, dim) unit vectors: centred, scaled to unit mean variance, projected.

    `noise` (in deviations) and `dropout` blur what it sees while it is trained.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, width: int, dim: int, noise: float = 0.0, dropout: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(()))
        self.projection = nn.Linear(width, dim)
        self._noise, self._dropout = noise, nn.Dropout(dropout)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Project the vectors of a base embedding."""
        scaled = (vectors - self.mean) / self.scale
        if self.training:
            scaled = self._dropout(scaled + self._noise * torch.randn_like(scaled))
        return nn.functional.normalize(self.projection(scaled), dim=-1)


class Heads(PairModel):
    """Both heads, and the temperature and the bias that SigLIP's loss learns beside them."""

    def __init__(self, image_width: int, text_width: int, dim: int, noise: float = 0.0, dropout: float = 0.0) -> None:
        super().__init__()
        self.image = Head(image_width, dim, noise, dropout)
        self.text = Head(text_width, dim, noise, dropout)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(10.0)))
        self.bias = nn.Parameter(torch.tensor(-10.0))

    def image_vectors(self, images: torch.Tensor) -> torch.Tensor:
        """(n, image width) -> (n, dim)."""
        found: torch.Tensor = self.image(images)
        return found

    def text_vectors(self, texts: torch.Tensor) -> torch.Tensor:
        """(n, text width) -> (n, dim)."""
        found: torch.Tensor = self.text(texts)
        return found

    def loss(self, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """SigLIP's: each of the n x n pairs is asked by itself whether the two belong together."""
        logits = self.log_temperature.exp() * images @ texts.T + self.bias
        signs = 2 * torch.eye(len(logits), device=logits.device) - 1
        return -nn.functional.logsigmoid(signs * logits).sum() / len(logits)


class AlignedEmbedder(Embedder):
    """One of the heads, (dim,), normalised; a content's vector is made of the one that the store holds of its base.

    Queries may be texts or pictures: they go through the base's encoder, which is loaded at the first of them.
    """

    def __init__(self, spec: EmbeddingSpec, settings: Settings) -> None:
        self.spec = spec
        self.window = 16 * settings.batch_size
        self._settings = settings
        self._device = pick_device(settings)
        self._bases = bases_of(settings, lambda name: resolve_spec(name, settings))
        heads = build_heads(_fitted(spec, settings, self._bases[spec.modality])).to(self._device)
        self._heads = {Modality.IMAGE: heads.image, Modality.TEXT: heads.text}
        self._encoders: dict[Modality, Embedder] = {}
        self._stored: BaseVectors | None = None
        self._loading = Lock()

    def decode(self, item: CatalogItem) -> Vector:
        """The base's vector, (width,) float32. Raises MediaError where the store holds none that is up to date."""
        return self._vectors().vector(item)

    def encode(self, decoded: Sequence[Decoded]) -> Matrix:
        """(n, dim) float32."""
        return self._project(self.spec.modality, np.stack(decoded))

    def embed(self, item: CatalogItem) -> tuple[Vector, None]:
        """From the content itself: the store need not have its base's vector."""
        if self.spec.modality is Modality.TEXT:
            return self.embed_text(read_text(item)), None
        return self.embed_image(read_file(item, Modality.IMAGE)), None

    def embed_text(self, text: str) -> Vector:
        """(dim,) float32. Raises MediaError for an empty text."""
        vector: Vector = self._project(Modality.TEXT, self._encoder(Modality.TEXT).embed_text(text)[None])[0]
        return vector

    def embed_image(self, data: bytes) -> Vector:
        """(dim,) float32."""
        vector: Vector = self._project(Modality.IMAGE, self._encoder(Modality.IMAGE).embed_image(data)[None])[0]
        return vector

    @torch.inference_mode()
    def _project(self, modality: Modality, vectors: Matrix) -> Matrix:
        return np.asarray(self._heads[modality](torch.from_numpy(vectors).to(self._device)).cpu(), np.float32)

    def _encoder(self, modality: Modality) -> Embedder:
        with self._loading:
            if modality not in self._encoders:
                self._encoders[modality] = load_embedder(self._bases[modality].name, self._settings)
            return self._encoders[modality]

    def _vectors(self) -> BaseVectors:
        with self._loading:
            if self._stored is None:
                catalog = Catalog(self._settings.catalog)
                finalize(self, catalog.close)
                self._stored = BaseVectors(self._bases[self.spec.modality], self._settings, catalog)
            return self._stored


def build_heads(weights: Weights) -> Heads:
    """The heads with the given weights, ready for inference. Raises KeyError or RuntimeError where they are others'."""
    (dim, image_width), (_, text_width) = (weights[f"{name}.projection.weight"].shape for name in ("image", "text"))
    heads = Heads(image_width, text_width, dim)
    heads.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
    return heads.eval()


def _fitted(spec: EmbeddingSpec, settings: Settings, base: EmbeddingSpec) -> Weights:
    """The weights that the spec names. Raises StateError where another fit took their place."""
    fitted = current(settings, ALIGNED)
    if fitted is None or head_weights(fitted, base) != spec.weights:
        raise StateError(f"{ALIGNED} was fitted again meanwhile: run the command again")
    return load_weights(fitted)
