"""Small synthetic worlds for the tests: real data and steps, with random vectors where what they show is no matter."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import numpy as np
import polars as pl

from embedders.specs import SPECS
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import LedgerRow
from feature_repo.columns import Columns
from feature_repo.datasets.synthetic import Synthetic
from feature_repo.ingest import ingest
from feature_repo.settings import Settings
from feature_repo.vectors import vectors_dir, write_partition


def ingest_world(settings: Settings, catalog: Catalog, contents: int, users: int) -> None:
    """A feed with small pictures."""
    media = settings.home / "synthetic"
    ingest(settings, catalog, Synthetic(contents, users, seed=5, media_dir=media, image_size=32, clips=False))


def add_random_vectors(settings: Settings, catalog: Catalog, embedding: str, without: int) -> None:
    """Vectors of a bundled embedder's spec, as `larder embed` leaves them; the last `without` contents get none."""
    spec = SPECS[embedding]
    items = list(catalog.items())
    items = items[: len(items) - without]
    ids = [item.content.content_id for item in items]
    published = [item.content.published_at for item in items]
    matrix = np.random.default_rng(spec.dim).normal(size=(len(items), spec.dim)).astype(np.float32)
    path = vectors_dir(settings, embedding, spec.digest) / "p0.parquet"
    write_partition(path, embedding, ids, published, [item.updated_at for item in items], matrix)
    catalog.register_embedding(spec)
    catalog.record(embedding, spec.digest, [LedgerRow(c, "f", "p0") for c in ids])


def entity_rows(catalog: Catalog, pairs: list[tuple[str, str]], when: datetime) -> pl.DataFrame:
    """Rows to join features to: each content with a user, at one time."""
    creators = {item.content.content_id: item.content.creator_id or "" for item in catalog.items()}
    columns = {
        "content_id": [content for content, _ in pairs],
        "creator_id": [creators[content] for content, _ in pairs],
        "user_id": [user for _, user in pairs],
        "event_timestamp": [when] * len(pairs),
    }
    return pl.DataFrame(columns, schema_overrides={"event_timestamp": pl.Datetime("us", "UTC")})


def unequal(one: Columns, other: Columns) -> list[str]:
    """Names of the features that are not the same to the last bit, absent values included; a read says what was asked
    as well, and rows' stamps, a frame may not.
    """
    names = (one.values.keys() | other.values.keys()) - {"content_id", "user_id", "event_timestamp"}
    return sorted(name for name in names if not name.endswith("@") and not _same(one, other, name))


def _same(one: Columns, other: Columns, name: str) -> bool:
    if name not in one.values or name not in other.values:
        return False
    left, right = one.values[name], other.values[name]
    if not np.array_equal(one.present[name], other.present[name]) or left.shape != right.shape:
        return False
    return left.tolist() == right.tolist() if left.dtype == object else np.array_equal(left, right, equal_nan=True)


def batches(ids: list[str], size: int) -> Iterator[list[str]]:
    """The ids, `size` at a time."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
