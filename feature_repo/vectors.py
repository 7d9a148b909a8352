"""Vectors on disk: one Parquet file a partition, fixed-size float32 lists, so that a file reads back as a matrix.

`<embeddings>/<name>/<spec digest>/<partition>.parquet` with the columns `content_id`, `event_timestamp`
(publication: a vector is known from then on), `created` (when its source last changed; the later one
wins a tie) and the vector, named after the embedding. The ledger says which rows count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.catalog import Catalog
from feature_repo.errors import StateError
from feature_repo.files import replacing
from feature_repo.settings import Settings

Matrix = npt.NDArray[np.float32]


def vectors_dir(settings: Settings, embedding: str, spec_digest: str) -> Path:
    """Where the partitions of one spec lie."""
    return settings.embeddings_dir / embedding / spec_digest


def vector_schema(embedding: str, dim: int) -> pa.Schema:
    """Columns of a partition."""
    time = pa.timestamp("us", tz="UTC")
    vector = pa.list_(pa.float32(), dim)
    return pa.schema([("content_id", pa.string()), ("event_timestamp", time), ("created", time), (embedding, vector)])


def write_partition(
    path: Path,
    embedding: str,
    content_ids: Sequence[str],
    published: Sequence[datetime],
    created: Sequence[datetime],
    matrix: Matrix,
) -> None:
    """Write one partition, whole or not at all. `matrix` is (n, dim) float32, rows as in `content_ids`."""
    schema = vector_schema(embedding, matrix.shape[1])
    values = pa.array(np.ascontiguousarray(matrix, np.float32).reshape(-1))
    vector = pa.FixedSizeListArray.from_arrays(values, matrix.shape[1])
    arrays = [pa.array(content_ids, pa.string()), published, created, vector]
    table = pa.table(dict(zip(schema.names, arrays, strict=True)), schema=schema)
    with replacing(path) as beside:
        pq.write_table(table, beside, compression="none", use_dictionary=False)


@dataclass(frozen=True, slots=True)
class Vectors:
    """The current vectors of one embedding, by content id."""

    embedding: str
    spec_digest: str
    content_ids: list[str]
    matrix: Matrix


def read_vectors(settings: Settings, catalog: Catalog, embedding: str) -> Vectors:
    """Every current vector, sorted by content id. Raises StateError where nothing was embedded."""
    registered = catalog.embeddings().get(embedding)
    if registered is None:
        raise StateError(f"nothing is embedded with {embedding!r} yet: run `larder embed {embedding}`")
    digest, dim = registered.spec_digest, registered.dim
    rows = [r for r in catalog.ledger(embedding, digest).values() if r.partition is not None]
    wanted = pl.DataFrame(
        {"content_id": [r.content_id for r in rows], "partition": [r.partition for r in rows]},
        schema={"content_id": pl.String, "partition": pl.String},
    ).sort("content_id")
    matrix = np.empty((len(rows), dim), np.float32)
    folder = vectors_dir(settings, embedding, digest)
    positions = wanted.with_row_index("position")
    for (partition,), group in positions.group_by("partition"):
        table = pq.read_table(folder / f"{partition}.parquet", columns=["content_id", embedding])
        lying = dict(zip(table["content_id"].to_pylist(), range(len(table)), strict=True))
        block = table[embedding].combine_chunks()
        values = block.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
        matrix[group["position"].to_numpy()] = values[[lying[c] for c in group["content_id"]]]
    return Vectors(embedding, digest, wanted["content_id"].to_list(), matrix)
