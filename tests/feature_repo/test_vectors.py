"""Vectors on disk: what the ledger names, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import LedgerRow
from feature_repo.contracts import EmbeddingSpec
from feature_repo.errors import StateError
from feature_repo.settings import Settings
from feature_repo.vectors import Tokens, read_tokens, read_vectors, vectors_dir, write_partition


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


NOON = datetime(2025, 1, 1, tzinfo=UTC)


def write(settings: Settings, catalog: Catalog, spec: EmbeddingSpec, ids: list[str], name: str, tokens: Tokens) -> None:
    path = vectors_dir(settings, spec.name, spec.digest) / f"{name}.parquet"
    times = [NOON] * len(ids)
    write_partition(path, spec.name, ids, times, times, np.zeros((len(ids), spec.dim), np.float32), tokens)
    catalog.record(spec.name, spec.digest, [LedgerRow(c, "f", name) for c in ids])


def test_tokens_come_back_in_the_order_asked(catalog: Catalog, settings: Settings, spec: EmbeddingSpec) -> None:
    spec = replace(spec, tokens=3, token_dim=5)
    catalog.register_embedding(spec)
    first, second = np.random.default_rng(0).normal(size=(2, 4, 3, 5)).astype(np.float32) * 1e5
    write(settings, catalog, spec, ["d", "c", "b", "a"], "p0", first)
    write(settings, catalog, spec, ["e", "f", "c", "g"], "p1", second)
    catalog.record(spec.name, spec.digest, [LedgerRow("f", "f", None, "broken since")])
    found = read_tokens(settings, catalog, spec.name, ["c", "nope", "a", "f", "c", "e"])
    assert found.dtype == np.float32
    expected = np.stack([second[2], first[3], second[2], second[0]])
    np.testing.assert_allclose(found[[0, 2, 4, 5]], expected, rtol=2**-11)
    assert np.isnan(found[[1, 3]]).all()
    assert read_vectors(settings, catalog, spec.name).content_ids == ["a", "b", "c", "d", "e", "g"]
    assert read_tokens(settings, catalog, spec.name, []).shape == (0, 3, 5)


def test_tokens_take_little_more_room_than_halves(catalog: Catalog, settings: Settings, spec: EmbeddingSpec) -> None:
    tokens = np.random.default_rng(0).normal(size=(64, 16, 96)).astype(np.float32)
    spec = replace(spec, tokens=16, token_dim=96)
    write(settings, catalog, spec, [f"c{n}" for n in range(64)], "p0", tokens)
    path = vectors_dir(settings, spec.name, spec.digest) / "p0.parquet"
    assert path.stat().st_size < 1.1 * tokens.size * 2
    table = pq.read_table(path)
    assert table.schema.names == ["content_id", "event_timestamp", "created", "toy", "toy_tokens"]
    assert table.schema.field("toy_tokens").type == pa.list_(pa.float32(), 16 * 96)
    bits = table["toy_tokens"].combine_chunks().flatten().to_numpy().view(np.uint32)
    assert not (bits & 0x1FFF).any()


def test_an_embedding_without_tokens_says_how_to_keep_them(filled: Catalog, settings: Settings) -> None:
    with pytest.raises(StateError, match="set LARDER_TOKENS=toy=16 and run `larder embed toy`"):
        read_tokens(settings, filled, "toy", ["c001"])
