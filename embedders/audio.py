"""Sounds as statistics over time of their cepstra or mel bands."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from embedders.base import Decoded, Embedder, Matrix, Vector, media_path
from embedders.cepstra import cepstra, delta, log_mel, statistics
from embedders.device import pick_device
from embedders.media.audio import Samples, decode_audio
from embedders.media.guard import Guard
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import EmbeddingSpec, Modality
from feature_repo.errors import ConfigurationError
from feature_repo.settings import Settings

PERCENTILES = (10, 50, 90)
CPU_BATCH = 8


class StatisticsEmbedder(Embedder):
    """What the two below share: samples in, frames of numbers, statistics of these, centred and scaled, out."""

    def __init__(self, spec: EmbeddingSpec, settings: Settings) -> None:
        self.spec = spec
        self._device = pick_device(settings)
        self.window = settings.batch_size if self._device.type == "cuda" else min(CPU_BATCH, settings.batch_size)
        self._guard = Guard(settings.workers, settings.media_seconds)
        self._rate, self._bands = int(spec.options["rate"]), int(spec.options["bands"])
        self._seconds = float(spec.options["seconds"])
        centre, scale = self.usual()
        self._centre, self._scale = torch.from_numpy(centre).to(self._device), torch.from_numpy(scale).to(self._device)

    def decode(self, item: CatalogItem) -> Samples:
        """(samples,) float32 at the spec's rate."""
        return self._guard.call(decode_audio, media_path(item, Modality.AUDIO), self._rate, self._seconds)

    @torch.inference_mode()
    def encode(self, decoded: Sequence[Decoded]) -> Matrix:
        """(n, dim) float32. Sounds of different lengths share a batch."""
        bands, counts = log_mel(decoded, self._rate, self._bands, self._device)
        found = [statistics(series, counts, PERCENTILES) for series in self.series(bands, counts)]
        vectors = (torch.cat(found, 2) - self._centre) / self._scale  # (n, statistics, numbers)
        return np.asarray(nn.functional.normalize(vectors.flatten(1), dim=-1).cpu(), np.float32)

    def embed_audio(self, data: bytes) -> Vector:
        """(dim,) float32."""
        samples = self._guard.call(decode_audio, data, self._rate, self._seconds)
        vector: Vector = self.encode([samples])[0]
        return vector

    @abstractmethod
    def series(self, bands: torch.Tensor, counts: torch.Tensor) -> list[torch.Tensor]:
        """What the statistics are of: (n, frames, numbers) each, from (n, frames, bands) in dB."""

    @abstractmethod
    def usual(self) -> tuple[Matrix, Matrix]:
        """Usual value and deviation of each number, both (statistics, numbers) float32."""


class MfccEmbedder(StatisticsEmbedder):
    """Cepstral coefficients and their first two derivatives in time; (15 x coefficients,), normalised."""

    def __init__(self, spec: EmbeddingSpec, settings: Settings) -> None:
        self._coefficients = int(spec.options["coefficients"])
        if not 13 <= self._coefficients <= 40:
            raise ConfigurationError(f"{spec.name}: option coefficients is {self._coefficients}; take 13 to 40")
        super().__init__(spec, settings)

    def series(self, bands: torch.Tensor, counts: torch.Tensor) -> list[torch.Tensor]:
        """The coefficients, their slopes and their curvatures."""
        found = cepstra(bands, self._coefficients)
        return [found, delta(found, counts, 1), delta(found, counts, 2)]

    def usual(self) -> tuple[Matrix, Matrix]:
        """Both fall with the inverse of the coefficient's rank; round figures, from recordings of everyday sounds.

        A coefficient wanders by 90 (dB, times the DCT's norm) over rank within a sound and by 120 between sounds,
        its slopes by 10, its curvatures by 5. The first of all is the level, usually some 24 dB under full scale.
        """
        ranks = np.arange(1, 1 + self._coefficients)
        within = np.concatenate([size / ranks for size in (90, 10, 5)])
        between = np.concatenate([size / ranks for size in (120, 10, 5)])
        middle = np.zeros_like(within)
        middle[0] = -270
        centre = np.stack([middle, within, middle - within, middle, middle + within])
        return centre.astype(np.float32), np.broadcast_to(between, centre.shape).astype(np.float32)


class LogMelEmbedder(StatisticsEmbedder):
    """Mel bands in dB; (5 x bands,), normalised."""

    def series(self, bands: torch.Tensor, counts: torch.Tensor) -> list[torch.Tensor]:
        """The bands."""
        return [bands]

    def usual(self) -> tuple[Matrix, Matrix]:
        """The same for each band, in dB; round figures, from recordings of everyday sounds."""
        centre = np.array([-25, 9, -35, -27, -12], np.float32)
        scale = np.array([18, 6, 20, 20, 16], np.float32)
        shape = (len(centre), self._bands)
        return np.broadcast_to(centre[:, None], shape).copy(), np.broadcast_to(scale[:, None], shape).copy()
