"""What a retrieval gives back: lazy, and readable as pandas, Arrow, Polars, a stream of batches or a saved dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pandas as pd
import polars as pl
import pyarrow as pa
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.saved_dataset import SavedDatasetStorage

from feature_repo.columnar.sources import local_path
from feature_repo.columnar.writing import replace_parquet
from feature_repo.errors import InputError

_OFFSETS_REACH = 1 << 31


class Rows(Protocol):
    """Rows that are worked out when they are asked for."""

    def frame(self) -> pl.DataFrame:
        """All of them."""

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """The same in batches of `rows` with `schema`, fewer in the last one."""

    @property
    def schema(self) -> pa.Schema:
        """The schema of the batches."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a job knows of where it came from."""

    repo_path: Path | None
    batch_rows: int
    full_feature_names: bool = False
    on_demand_feature_views: Sequence[OnDemandFeatureView] = ()
    metadata: RetrievalMetadata | None = None


class PolarsRetrievalJob(RetrievalJob):
    """A retrieval that has not run yet; every method below runs it."""

    def __init__(self, rows: Rows, origin: Origin) -> None:
        self._rows = rows
        self._origin = origin

    @property
    def full_feature_names(self) -> bool:
        """Whether the features' names start with their view's."""
        return self._origin.full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """The on-demand views that `to_df`, `to_arrow` and the rest add to the rows."""
        return list(self._origin.on_demand_feature_views)

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """The features, keys and time range asked for."""
        return self._origin.metadata

    def to_polars(self) -> pl.DataFrame:
        """All rows as a Polars frame, on-demand features included."""
        if self._origin.on_demand_feature_views:
            return pl.DataFrame(self.to_arrow())
        return self._rows.frame()

    def to_arrow_batches(self, rows: int | None = None) -> Iterator[pa.RecordBatch]:
        """Stream the rows in batches of `rows` (the store's `batch_rows` by default).

        What was pulled from one source never lies in memory as a whole; what was joined does.
        """
        size = rows or self._origin.batch_rows
        if self._origin.on_demand_feature_views:
            return iter(self.to_arrow().combine_chunks().to_batches(size))
        return self._rows.batches(size)

    def to_sql(self) -> str:
        """Not to be had: nothing here is a query. Raises NotImplementedError."""
        raise NotImplementedError("PolarsOfflineStore runs no SQL, so there is no statement to show; use to_polars()")

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the rows to a Parquet file (a path ending in `.parquet`) or folder, whole or not at all.

        Raises Feast's SavedDatasetLocationAlreadyExists unless `allow_overwrite`, which replaces what is there.
        """
        if not isinstance(storage, SavedDatasetFileStorage):
            raise InputError(f"persist: give a SavedDatasetFileStorage, not {type(storage).__name__}")
        path = local_path(storage.file_options.uri, self._origin.repo_path)
        if path.exists() and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=storage.file_options.uri)
        if self._origin.on_demand_feature_views:
            table = self.to_arrow()
            replace_parquet(path, table.schema, table.to_batches())
        else:
            replace_parquet(path, self._rows.schema, self._rows.batches(self._origin.batch_rows))

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return plain_table(self._rows.frame())

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._to_arrow_internal(timeout).to_pandas()
        return frame


def plain_table(frame: pl.DataFrame) -> pa.Table:
    """A frame in the Arrow types that Feast's own stores give: `string` and `list`, not their large or view kin."""
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    fields = [
        field if column.nbytes >= _OFFSETS_REACH else field.with_type(_plain(field.type))
        for field, column in zip(table.schema, table.columns, strict=True)
    ]
    return table.cast(pa.schema(fields))


def _plain(dtype: pa.DataType) -> pa.DataType:
    if pa.types.is_large_string(dtype):
        return pa.string()
    if pa.types.is_large_binary(dtype):
        return pa.binary()
    if pa.types.is_large_list(dtype):
        return pa.list_(_plain(dtype.value_type))
    if pa.types.is_dictionary(dtype):
        return _plain(dtype.value_type)
    return dtype
