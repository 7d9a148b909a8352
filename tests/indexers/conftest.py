"""What the tests of indexes share: clustered vectors, a written embedding, and an index in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np
import pytest

from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import LedgerRow
from feature_repo.contracts import EmbeddingSpec, Modality
from feature_repo.settings import Settings
from feature_repo.vectors import vectors_dir, write_partition
from indexers import device
from indexers.kinds import Kind, Matrix, unit_rows
from indexers.search import VectorIndex
from indexers.versions import IndexManifest

EMBEDDING = "toy"
DAY = datetime(2026, 1, 1, tzinfo=UTC)

Embed = Callable[[Matrix], list[str]]
Indexed = Callable[[Kind, Matrix], VectorIndex]


def clustered(rows: int, dim: int = 16, clusters: int = 12, seed: int = 0) -> Matrix:
    """(rows, dim) float32 around `clusters` centres, of differing lengths, as encoders give them."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(clusters, dim))
    points = centres[rng.integers(0, clusters, rows)] + 0.5 * rng.normal(size=(rows, dim))
    matrix: Matrix = (points * rng.uniform(0.5, 5.0, (rows, 1))).astype(np.float32)
    return matrix


def names(rows: int) -> list[str]:
    """Content ids that sort as their numbers do."""
    return [f"c{n:05d}" for n in range(rows)]


@pytest.fixture(name="clustered", scope="session")
def _clustered() -> Callable[..., Matrix]:
    return clustered


@pytest.fixture
def embed(settings: Settings, catalog: Catalog) -> Embed:
    """Write a matrix as the current vectors of `toy`, in two partitions, and give the content ids."""

    def write(matrix: Matrix) -> list[str]:
        ids = names(len(matrix))
        spec = EmbeddingSpec(EMBEDDING, Modality.TEXT, dim=matrix.shape[1], weights="none", loader="none:None")
        catalog.register_embedding(spec)
        folder = vectors_dir(settings, EMBEDDING, spec.digest)
        half = len(ids) // 2
        for partition, part in (("first", slice(0, half)), ("second", slice(half, None))):
            chosen: Sequence[str] = ids[part]
            if chosen:
                times = [DAY] * len(chosen)
                write_partition(folder / f"{partition}.parquet", EMBEDDING, chosen, times, times, matrix[part])
                catalog.record(EMBEDDING, spec.digest, [LedgerRow(c, "print", partition) for c in chosen])
        return ids

    return write


@pytest.fixture(scope="session")
def indexed() -> Indexed:
    """An index in memory over a matrix without zero rows; the ids are `names(rows)`."""

    def make(kind: Kind, matrix: Matrix) -> VectorIndex:
        kind = kind.sized(len(matrix))
        unit, _ = unit_rows(matrix, "test")
        manifest = IndexManifest(
            embedding=EMBEDDING,
            spec_digest="",
            version="memory",
            kind=kind.name,
            params=kind.params,
            metric="cosine",
            dim=matrix.shape[1],
            count=len(matrix),
            skipped=0,
            recall=1.0,
            recall_k=10,
            recall_sample=0,
            seed=0,
            faiss="",
            files={},
        )
        return VectorIndex(manifest, names(len(matrix)), device.build(kind, unit, "cpu"), "cpu")

    return make
