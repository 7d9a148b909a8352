"""Vectors on disk: what the ledger names, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import LedgerRow
from feature_repo.contracts import EmbeddingSpec
from feature_repo.errors import StateError
from feature_repo.settings import Settings
from feature_repo.vectors import read_vectors, vectors_dir


def test_vectors_come_back_sorted(filled: Catalog, settings: Settings, spec: EmbeddingSpec) -> None:
    found = read_vectors(settings, filled, "toy")
    expected = np.random.default_rng(0).normal(size=(38, 8)).astype(np.float32)
    assert found.content_ids == [f"c{i:03d}" for i in range(38)]
    np.testing.assert_array_equal(found.matrix, expected)
    schema = pq.read_schema(vectors_dir(settings, "toy", spec.digest) / "p0.parquet")
    assert schema.field("toy").type == pa.list_(pa.float32(), 8)


def test_the_ledger_says_which_row_counts(
    filled: Catalog,
    settings: Settings,
    spec: EmbeddingSpec,
    embed_toy: Callable[..., np.ndarray],
) -> None:
    newer = embed_toy(settings, filled, ["c005", "c039"], "p1", 9)
    filled.record("toy", spec.digest, [LedgerRow("c007", "f", None, "broken since")])
    found = read_vectors(settings, filled, "toy")
    assert "c007" not in found.content_ids
    np.testing.assert_array_equal(found.matrix[found.content_ids.index("c005")], newer[0])
    np.testing.assert_array_equal(found.matrix[found.content_ids.index("c039")], newer[1])


def test_nothing_embedded_says_what_to_run(catalog: Catalog, settings: Settings) -> None:
    with pytest.raises(StateError, match="larder embed toy"):
        read_vectors(settings, catalog, "toy")
