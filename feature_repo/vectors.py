"""Vectors on disk: one Parquet file a partition, fixed-size float32 lists, so that a file reads back as a matrix.

`<embeddings>/<name>/<spec digest>/<partition>.parquet` with the columns `content_id`, `event_timestamp`
(publication: a vector is known from then on), `created` (when its source last changed; the later one
wins a tie) and the vector, named after the embedding. The ledger says which rows count.

An embedding that keeps tokens has them in a second column, `<name>_tokens`, flat: K tokens of D numbers are one list
of K D. They are rounded to the 11 significant bits of a float16, which no attention head tells apart, and stored as
float32 with their bytes apart and compressed: little more on disk than float16, and every reader of Parquet reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import LedgerRow
from feature_repo.errors import StateError
from feature_repo.files import replacing
from feature_repo.settings import Settings

Matrix = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.float32]


def vectors_dir(settings: Settings, embedding: str, spec_digest: str) -> Path:
    """Where the partitions of one spec lie."""
    return settings.embeddings_dir / embedding / spec_digest


def tokens_column(embedding: str) -> str:
    """Name of an embedding's tokens: of their column, their feature and its view."""
    return f"{embedding}_tokens"


def vector_schema(embedding: str, dim: int, token_numbers: int = 0, key: str = "content_id") -> pa.Schema:
    """Columns of a partition; `token_numbers` is how many a content's tokens have together, 0: there are none."""
    time = pa.timestamp("us", tz="UTC")
    fields = [(key, pa.string()), ("event_timestamp", time), ("created", time)]
    lists = {embedding: dim} | ({tokens_column(embedding): token_numbers} if token_numbers else {})
    return pa.schema([*fields, *((name, pa.list_(pa.float32(), size)) for name, size in lists.items())])


def write_partition(
    path: Path,
    embedding: str,
    content_ids: Sequence[str],
    published: Sequence[datetime],
    created: Sequence[datetime],
    matrix: Matrix,
    tokens: Tokens | None = None,
    key: str = "content_id",
) -> None:
    """Write one partition, whole or not at all. `matrix` is (n, dim), `tokens` (n, K, D) float32, rows as the ids.

    With `key` "user_id" the ids are users'.
    """
    lists = [matrix] if tokens is None else [matrix, rounded(tokens).reshape(len(tokens), -1)]
    schema = vector_schema(embedding, matrix.shape[1], lists[1].shape[1] if tokens is not None else 0, key)
    arrays = [pa.array(content_ids, pa.string()), published, created, *map(_fixed_lists, lists)]
    table = pa.table(dict(zip(schema.names, arrays, strict=True)), schema=schema)
    apart = f"{tokens_column(embedding)}.list.element"
    with replacing(path) as beside:
        if tokens is None:
            pq.write_table(table, beside, compression="none", use_dictionary=False)
        else:
            compression = dict.fromkeys(schema.names, "none") | {apart: "zstd"}
            pq.write_table(table, beside, compression=compression, use_dictionary=False, use_byte_stream_split=[apart])


def _fixed_lists(rows: Matrix) -> pa.Array:
    values = pa.array(np.ascontiguousarray(rows, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(values, rows.shape[1])


def rounded(tokens: Tokens) -> Tokens:
    """To 11 significant bits, ties away from zero: float16's precision with float32's range."""
    bits = np.ascontiguousarray(tokens, np.float32).view(np.uint32)
    kept: Tokens = ((bits + np.uint32(1 << 12)) & np.uint32(0xFFFFE000)).view(np.float32)
    return kept


@dataclass(frozen=True, slots=True)
class Vectors:
    """The current vectors of one embedding, by content id."""

    embedding: str
    spec_digest: str
    content_ids: list[str]
    matrix: Matrix


def read_vectors(settings: Settings, catalog: Catalog, embedding: str) -> Vectors:
    """Every current vector, sorted by content id. Raises StateError where nothing was embedded."""
    registered = _registered(catalog, embedding)
    rows = [r for r in catalog.ledger(embedding, registered.spec_digest).values() if r.partition is not None]
    wanted = _places(rows).sort("content_id").with_row_index("position")
    matrix = np.empty((len(rows), registered.dim), np.float32)
    folder = vectors_dir(settings, embedding, registered.spec_digest)
    for group, block in _blocks(folder, wanted, embedding):
        matrix[group] = block
    return Vectors(embedding, registered.spec_digest, wanted["content_id"].to_list(), matrix)


def read_tokens(settings: Settings, catalog: Catalog, embedding: str, content_ids: Sequence[str]) -> Tokens:
    """The current tokens of the named contents, (n, K, D) float32 in the given order, NaN where there are none.

    Raises StateError where nothing was embedded, or embedded without tokens.
    """
    registered = _registered(catalog, embedding)
    if not registered.tokens:
        raise StateError(
            f"{embedding} keeps no tokens: set LARDER_TOKENS={embedding}=16 and run `larder embed {embedding}`"
        )
    ledger = catalog.ledger(embedding, registered.spec_digest)
    asked = pl.DataFrame({"content_id": list(content_ids)}, {"content_id": pl.String}).with_row_index("position")
    rows = [ledger[c] for c in dict.fromkeys(content_ids) if c in ledger and ledger[c].partition is not None]
    wanted = asked.join(_places(rows), on="content_id", maintain_order="left")
    tokens = np.full((len(content_ids), registered.tokens, registered.token_dim), np.nan, np.float32)
    folder = vectors_dir(settings, embedding, registered.spec_digest)
    for group, block in _blocks(folder, wanted, tokens_column(embedding)):
        tokens[group] = block.reshape(-1, registered.tokens, registered.token_dim)
    return tokens


def _registered(catalog: Catalog, embedding: str) -> Any:
    """The embedding's row in the catalog. Raises StateError where there is none."""
    registered = catalog.embeddings().get(embedding)
    if registered is None:
        raise StateError(f"nothing is embedded with {embedding!r} yet: run `larder embed {embedding}`")
    return registered


def _places(rows: Sequence[LedgerRow]) -> pl.DataFrame:
    """Where each content's vector lies."""
    columns = {"content_id": [r.content_id for r in rows], "partition": [r.partition for r in rows]}
    return pl.DataFrame(columns, schema={"content_id": pl.String, "partition": pl.String})


def _blocks(folder: Path, wanted: pl.DataFrame, column: str) -> Iterator[tuple[npt.NDArray[np.uint32], Matrix]]:
    """A partition at a time: the `position` of its wanted rows and their lists, (rows, size)."""
    for (partition,), group in wanted.group_by("partition", maintain_order=True):
        content_ids, values = read_partition(folder / f"{partition}.parquet", column)
        lying = dict(zip(content_ids, range(len(content_ids)), strict=True))
        yield group["position"].to_numpy(), values[[lying[c] for c in group["content_id"]]]


def read_partition(path: Path, column: str) -> tuple[list[str], Matrix]:
    """Content ids of a file and the lists of one of its columns, (rows, size). Raises FileNotFoundError."""
    table = pq.read_table(path, columns=["content_id", column])
    lists = table[column].combine_chunks()
    values = lists.flatten().to_numpy(zero_copy_only=False).reshape(-1, lists.type.list_size)
    return table["content_id"].to_pylist(), values
