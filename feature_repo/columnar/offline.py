"""`PolarsOfflineStore`: Feast's offline store over Parquet, with columns kept as columns.

In `feature_store.yaml`:

    offline_store:
      type: feature_repo.columnar.offline.PolarsOfflineStore
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pyarrow as pa
from feast import FeatureView, RepoConfig
from feast.data_source import DataSource
from feast.errors import FeastEntityDFMissingColumnsError, FeastJoinKeysDuringMaterialization
from feast.feature_logging import LoggingConfig, LoggingSource
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel
from feast.utils import compute_non_entity_date_range
from pydantic import PositiveInt

from feature_repo.columnar.entity_frames import EVENT_TIMESTAMP, entity_frame, with_event_timestamp
from feature_repo.columnar.job import Origin, PolarsRetrievalJob
from feature_repo.columnar.pulls import Pull
from feature_repo.columnar.retrieval import Retrieval, ViewRead, require_columns
from feature_repo.columnar.sources import ParquetSource, is_glob, local_path
from feature_repo.columnar.writing import add_parquet, replace_parquet
from feature_repo.errors import InputError


class PolarsOfflineStoreConfig(FeastConfigBaseModel):
    """The `offline_store` section of `feature_store.yaml`."""

    type: Literal["feature_repo.columnar.offline.PolarsOfflineStore"] = (
        "feature_repo.columnar.offline.PolarsOfflineStore"
    )
    batch_rows: PositiveInt = 4096
    """Rows in each Arrow batch that a job streams, unless it is asked for another number."""


class PolarsOfflineStore(OfflineStore):
    """Feast's offline store over local Parquet: `FileSource` with a file, a folder or a glob."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: Any,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> PolarsRetrievalJob:
        """The features as of each row of `entity_df`: pandas, Polars, Arrow or the path of Parquet.

        Every row comes back once, in its order. Without `entity_df`, there is a row for each distinct key and event
        time that the views have from `start_date` to `end_date`. See `asof.asof_rows` for which feature row counts.
        """
        reads = [ViewRead.of(view, feature_refs, full_feature_names, config.repo_path) for view in feature_views]
        keys = list(dict.fromkeys(key for read in reads for key in read.keys))
        start: datetime | None
        end: datetime | None
        if entity_df is None:
            start, end = compute_non_entity_date_range(feature_views, start_date, end_date)
            names, entities, timestamp = [EVENT_TIMESTAMP, *keys], None, EVENT_TIMESTAMP
        else:
            entities, timestamp = with_event_timestamp(entity_frame(entity_df, config.repo_path))
            start, end = _time_range(entities[timestamp])
            names = entities.columns
            if missing := set(keys) - set(names):
                raise FeastEntityDFMissingColumnsError({*keys, timestamp}, missing)  # type: ignore[no-untyped-call]
        require_columns(names, reads)
        metadata = RetrievalMetadata(feature_refs, [name for name in names if name != timestamp], start, end)
        odfvs = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        origin = _origin(config, full_feature_names, odfvs, metadata)
        return PolarsRetrievalJob(
            Retrieval(reads, filter_by_created_timestamp, entities, timestamp, start, end), origin
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> PolarsRetrievalJob:
        """The last row of each key in the range, both ends included; names are those in the files."""
        columns = (join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)
        return _pull(config, data_source, *columns, start_date, end_date, latest=True)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> PolarsRetrievalJob:
        """All rows in the range, both ends included, in the order of the files; names are those in the files."""
        columns = (join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)
        return _pull(config, data_source, *columns, start_date, end_date, latest=False)

    @staticmethod
    def offline_write_batch(
        config: RepoConfig, feature_view: FeatureView, table: pa.Table, progress: Callable[[int], Any] | None
    ) -> None:
        """Add rows to a view's source: as a new file where that is a folder or a glob, else by rewriting its file.

        Readers see all of the rows or none. Raises InputError unless `table` has the source's columns in its order.
        """
        if feature_view.batch_source is None:
            raise InputError(f"feature view {feature_view.name!r} has no batch source to write to")
        source = ParquetSource.of(feature_view.batch_source, config.repo_path)
        if table.column_names != source.schema.names:
            raise InputError(f"{source.place}: columns {source.schema.names} are wanted, not {table.column_names}")
        rows = table.cast(source.schema)
        place = local_path(source.place, config.repo_path)
        if place.is_dir():
            add_parquet(place, rows.schema, rows.to_batches())
        elif is_glob(place):
            if is_glob(place.parent) or not fnmatch("0.parquet", place.name):
                raise InputError(f"{source.place}: a new file would not match; name a folder or a glob *.parquet")
            add_parquet(place.parent, rows.schema, rows.to_batches())
        else:
            held = (part.batch for part in source.parts(source.schema.names))
            replace_parquet(place, source.schema, chain(held, rows.to_batches()))
        if progress:
            progress(table.num_rows)

    @staticmethod
    def write_logged_features(
        config: RepoConfig,
        data: pa.Table | Path,
        source: LoggingSource,
        logging_config: LoggingConfig,
        registry: BaseRegistry,
    ) -> None:
        """Add logged features, a table or a folder of Parquet, to a `FileLoggingDestination` as new files."""
        destination = logging_config.destination
        if not isinstance(destination, FileLoggingDestination):
            raise InputError(f"logs: give a FileLoggingDestination, not {type(destination).__name__}")
        folder = local_path(destination.path, config.repo_path)
        schema, batches = _logged(data)
        add_parquet(folder, schema, batches, destination.partition_by or ())

    def get_table_column_names_and_types_from_data_source(
        self, config: RepoConfig, data_source: DataSource
    ) -> Iterable[tuple[str, str]]:
        """Names and Arrow types of a source's columns; of a glob too."""
        schema = ParquetSource.of(data_source, config.repo_path).schema
        return [(field.name, str(field.type)) for field in schema]


def _pull(
    config: RepoConfig,
    data_source: DataSource,
    keys: list[str],
    values: list[str],
    timestamp: str,
    created: str | None,
    start: datetime | None,
    end: datetime | None,
    *,
    latest: bool,
) -> PolarsRetrievalJob:
    """A job over one source; with no `values`, all of its columns, as a transformation needs them."""
    source = ParquetSource.of(data_source, config.repo_path)
    there = set(source.schema.names)
    if set(keys) - there:
        raise FeastJoinKeysDuringMaterialization(source.place, set(keys), there)
    wanted = [timestamp, *([created] if created else []), *values]
    for name in wanted:
        if name not in there:
            raise InputError(f"{source.place}: no column {name!r}; there are: {', '.join(source.schema.names)}")
    pull = Pull(source, keys, values or source.schema.names, timestamp, created or None, start, end, latest)
    return PolarsRetrievalJob(pull, _origin(config))


def _origin(
    config: RepoConfig,
    full_feature_names: bool = False,
    on_demand: Iterable[OnDemandFeatureView] = (),
    metadata: RetrievalMetadata | None = None,
) -> Origin:
    rows = config.offline_store.batch_rows
    return Origin(config.repo_path, rows, full_feature_names, list(on_demand), metadata)


def _time_range(times: pl.Series) -> tuple[datetime | None, datetime | None]:
    """First and last, in UTC; None where there is no time at all."""
    exact = times.cast(pl.Datetime("us", "UTC")).drop_nulls()
    if exact.is_empty():
        return None, None
    first, last = exact.min(), exact.max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    return first.astimezone(UTC), last.astimezone(UTC)


def _logged(data: pa.Table | Path) -> tuple[pa.Schema, Iterable[pa.RecordBatch]]:
    if isinstance(data, pa.Table):
        return data.schema, data.to_batches()
    source = ParquetSource.at(str(data), None)
    return source.schema, (part.batch for part in source.parts(source.schema.names))
