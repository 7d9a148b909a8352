"""Clips through an image encoder: what is seen, how it varies and how it moves."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np

from embedders.base import Decoded, Embedder, Matrix, Tokens, Vector, load_embedder, media_path
from embedders.hub import model_source
from embedders.media.guard import Guard
from embedders.media.image import Fit
from embedders.media.video import ClipLimits, Frames, Sampling, sample_frames
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import EmbeddingSpec, Modality
from feature_repo.errors import ConfigurationError
from feature_repo.settings import Precision, Settings


class ClipReader:
    """Contents -> frames of their clip, decoded in processes that are ended when one takes too long."""

    def __init__(self, sampling: Sampling, fit: Fit, settings: Settings) -> None:
        self._sampling, self._fit = sampling, fit
        self._limits = ClipLimits(pixels=settings.max_pixels)
        self._guard = Guard(settings.workers, settings.media_seconds)

    def __call__(self, item: CatalogItem) -> Frames:
        """(count, height, width, 3) uint8. Raises MediaError with the reason why there are none."""
        path = media_path(item, Modality.VIDEO)
        return self._guard.call(sample_frames, path, self._sampling, self._fit, self._limits)


class FramesEmbedder(Embedder):
    """Mean, deviation and motion of the frames' vectors, (3 image dims,), normalised.

    The frames' vectors have length 1. Then their mean and their standard deviation together have length 1 too, so
    the parts keep the weight that they have by nature: of a still clip only the mean is not 0. Motion is the mean
    absolute difference from one frame to the next. A picture is searched for as a clip that shows nothing else.
    """

    def __init__(self, spec: EmbeddingSpec, settings: Settings) -> None:
        self.spec = spec
        self._image: Any = load_embedder(model_source(spec, settings), settings)
        fit = getattr(self._image, "fit", None)
        if not isinstance(fit, Fit):
            raise ConfigurationError(f"{spec.name}: {self._image.spec.name} does not read bare pixels; choose another")
        self.precisions = self._image.precisions
        self._count = int(spec.options["frames"])
        self.window = max(1, settings.batch_size // self._count)
        self._read = ClipReader(Sampling(self._count), fit, settings)

    def at(self, precision: Precision) -> FramesEmbedder:
        """One like this whose image encoder computes in another precision."""
        other = copy(self)
        other._image = self._image.at(precision)
        return other

    def decode(self, item: CatalogItem) -> Frames:
        """(frames, height, width, 3) uint8."""
        return self._read(item)

    def encode(self, decoded: Sequence[Decoded]) -> Matrix:
        """(n, 3 image dims) float32."""
        return summarise(self._seen(decoded))

    def encode_tokens(self, decoded: Sequence[Decoded]) -> tuple[Matrix, Tokens]:
        """(n, 3 image dims) and (n, tokens, image dim) float32: each token the mean of an equal run of frames."""
        seen = self._seen(decoded)
        count = self.spec.tokens
        edges = [(i * self._count // count, -(-(i + 1) * self._count // count)) for i in range(count)]
        return summarise(seen), np.stack([seen[:, start:end].mean(1) for start, end in edges], 1)

    def embed_image(self, data: bytes) -> Vector:
        """(3 image dims,) float32."""
        seen: Vector = self._image.embed_image(data)
        vector: Vector = summarise(np.repeat(seen[None, None], self._count, axis=1))[0]
        return vector

    def _seen(self, decoded: Sequence[Decoded]) -> Tokens:
        """Vectors of all frames, (n, frames, image dim)."""
        frames = [frame for clip in decoded for frame in clip]
        size = self._image.window
        blocks = [self._image.encode(frames[start : start + size]) for start in range(0, len(frames), size)]
        return np.concatenate(blocks).reshape(len(decoded), self._count, -1)


def summarise(seen: Tokens) -> Matrix:
    """(n, frames, dim) unit vectors of frames -> (n, 3 dim) float32: mean, deviation and motion, normalised."""
    motion = np.abs(np.diff(seen, axis=1)).mean(1) if seen.shape[1] > 1 else np.zeros_like(seen[:, 0])
    vectors = np.concatenate([seen.mean(1), seen.std(1), motion], axis=1)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
