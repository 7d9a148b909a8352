"""Online store that keeps columns as columns: embedded, transactional, shared by many reader processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from feast import Entity, FeatureService, FeatureView, RepoConfig, metrics
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.registry.base_registry import BaseRegistry
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.online_response import OnlineResponse
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel
from pydantic import StrictStr

from feature_repo.columnar import lifecycle
from feature_repo.columnar.layout import View, fields_of
from feature_repo.columnar.places import Places
from feature_repo.columnar.plans import Plans
from feature_repo.columnar.request import EntityColumn, EntityRows, ViewRead, columns_of, table_name, versions_of
from feature_repo.columnar.response import (
    PRESENT,
    ColumnarOnlineResponse,
    ResponseColumn,
    ViewColumns,
    add_to_proto,
    add_versions,
)
from feature_repo.columnar.storage import Table
from feature_repo.columnar.tables import Row, Rows, as_datetime, find, read_rows, row_keys_of, write_rows
from feature_repo.errors import StateError

_LOAD_SHARE = 0.1


class ColumnarOnlineStoreConfig(FeastConfigBaseModel):
    """`online_store` of `feature_store.yaml`; a relative `path` starts at the repository."""

    type: Literal["feature_repo.columnar.online.ColumnarOnlineStore"] = (
        "feature_repo.columnar.online.ColumnarOnlineStore"
    )
    path: StrictStr = "data/online"


class ColumnarOnlineStore(OnlineStore):
    """Online store over the tables of `storage.py`, one table a feature view.

    A row is replaced by one of an equal or newer event time, never by an older one.
    """

    _versioned_read_supported = True
    _apply_command: ClassVar[str] = "feast apply"

    def __init__(self) -> None:
        self._places = Places()
        self._plans = Plans()

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        """Reads and writes are handed to a thread."""
        return SupportedAsyncMethods(read=True, write=True)

    # -- reads

    def get_online_features(
        self,
        config: RepoConfig,
        features: list[str] | FeatureService,
        entity_rows: EntityRows,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> OnlineResponse:
        """Features of the given entities; columnar, and by way of stock Feast where on-demand views take part.

        Entity values may be lists, NumPy arrays, pandas, Polars or Arrow columns; no rows give an empty answer.
        Raises ValueError for a null, for columns of unequal length and for a join key that is missing, StateError for
        a view without a table.
        """
        plan = self._plans.of_request(config, registry, project, features, full_feature_names)
        given, rows = columns_of(entity_rows)
        entities = plan.entities(given)
        if not plan.columnar or getattr(features, "precompute_online", False):
            if not rows:
                raise ValueError("no entity rows: on-demand and precomputed features need at least one")
            return super().get_online_features(
                config,
                features,
                given,
                registry,
                project,
                full_feature_names,
                include_feature_view_version_metadata,
            )
        started = time.monotonic()
        sure, never = np.full(rows, PRESENT, np.uint8), np.zeros(rows, np.int64)
        columns = {name: ResponseColumn(column.cells, sure, never) for name, column in entities.items()}
        keys: dict[tuple[tuple[str, str], ...], Sequence[bytes]] = {}  # views of one entity share theirs
        for read in plan.reads:
            sources = tuple(read.sources.items())
            if sources not in keys:
                keys[sources] = read.keys(entities, rows)
            columns |= self._read(config, read, keys[sources])
        metrics.track_online_store_read(time.monotonic() - started)
        versions = plan.versions if include_feature_view_version_metadata else {}
        return ColumnarOnlineResponse(columns, plan.feature_types, versions)

    async def get_online_features_async(self, *args: Any, **kwargs: Any) -> OnlineResponse:
        """`get_online_features` in a thread."""
        return await asyncio.to_thread(self.get_online_features, *args, **kwargs)

    def read_columns(
        self,
        config: RepoConfig,
        view: FeatureView,
        keys: Mapping[str, Any] | Sequence[Any],
        features: Sequence[str] | None = None,
    ) -> ViewColumns:
        """Features of a view (all by default, or none) as numpy, without registry or protobuf: the way for models.

        `keys` is one column a join key by name, or a single column where the view has one join key.
        """
        read = self._plans.of_view(config, view, tuple(fields_of(view) if features is None else features))
        found = find(self._table(config, read), read, read.encode(keys))
        cells = {feature: found.cells(feature) for feature in read.features}
        return ViewColumns(
            present=found.present if found.expired is None else found.present & ~found.expired,
            event_us=found.event_us,
            created_us=found.created_us,
            values={feature: cell.numpy() for feature, cell in cells.items()},
            valid={feature: cell.valid for feature, cell in cells.items()},
        )

    def online_read(
        self,
        config: RepoConfig,
        table: View,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[Any, dict[str, Value] | None]]:
        """Event time and Feast values of each key; (None, None) where there is no row, (time, None) past its TTL."""
        read = self._plans.of_view(config, table, tuple(requested_features or fields_of(table)))
        columns = self._read(config, read, row_keys_of(entity_keys))
        first = next(iter(columns.values()))
        times = [as_datetime(us) if us else None for us in first.event_us.tolist()]
        shown = {name: column.statuses == PRESENT for name, column in columns.items()}
        written = {name: column.cells.protos() for name, column in columns.items() if shown[name].any()}
        present = np.any(list(shown.values()), axis=0)
        return [
            (moment, {name: protos[row] for name, protos in written.items()} if there else None)
            for row, (moment, there) in enumerate(zip(times, present.tolist(), strict=True))
        ]

    async def online_read_async(self, *args: Any, **kwargs: Any) -> list[tuple[Any, dict[str, Value] | None]]:
        """`online_read` in a thread."""
        return await asyncio.to_thread(self.online_read, *args, **kwargs)

    # -- writes

    def online_write_batch(
        self,
        config: RepoConfig,
        table: View,
        data: list[Row],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Upsert rows of Feast values in one transaction. Raises ValueError for a value not of its feature's type."""
        if not data:
            return
        self._write(config, table, Rows.from_protos(self._completed(config, table, data)))
        if progress:
            progress(len(data))

    async def online_write_batch_async(self, *args: Any, **kwargs: Any) -> None:
        """`online_write_batch` in a thread."""
        await asyncio.to_thread(self.online_write_batch, *args, **kwargs)

    def write_arrow(self, config: RepoConfig, view: FeatureView, batch: pa.RecordBatch | pa.Table) -> int:
        """Upsert rows whose columns bear the view's names: join keys, features, timestamps; one transaction a batch.

        Returns the number of rows that won. Raises ValueError for a missing column, a null key or a null time.
        """
        batches = batch.to_batches() if isinstance(batch, pa.Table) else [batch]
        return sum(self._write(config, view, Rows.from_arrow(view, part)) for part in batches if part.num_rows)

    def optimise(self, config: RepoConfig, view: View, written: int) -> None:
        """Make look-ups quick again after a load of so many rows, where these are a good part of the table."""
        table = self._places.table(config, table_name(config, view))
        if table and written >= _LOAD_SHARE * table.count():
            table.optimise()

    def delete_rows(self, config: RepoConfig, view: View, keys: Mapping[str, Any] | Sequence[Any]) -> int:
        """Delete the rows of the given keys (as in `read_columns`); returns how many there were."""
        read = ViewRead.of(view, [], config, full_names=False)
        table = self._places.table(config, read.table)
        return table.delete(read.encode(keys)) if table else 0

    # -- infrastructure

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[View],
        tables_to_keep: Sequence[View],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Create the tables of new views, drop those of removed ones, and bring changed ones to their new columns.

        A feature that stays keeps its values; one that is new or of another type is null until it is written.
        """
        environment = self._places.writable(config)
        for view in tables_to_delete:
            lifecycle.drop(environment, table_name(config, view))
        for view in tables_to_keep:
            lifecycle.create_or_evolve(environment, table_name(config, view), view)

    def has_table(self, config: RepoConfig, view: View) -> bool:
        """Whether the view, in the version that its tag tells, has a table."""
        return self._places.table(config, table_name(config, view)) is not None

    def drop_versions(self, config: RepoConfig, view: View, keep: Collection[str] = ()) -> None:
        """Drop the tables of the view's other versions, but for those in `keep`."""
        lifecycle.drop_others(self._places.writable(config), table_name(config, view), keep)

    def teardown(self, config: RepoConfig, tables: Sequence[View], entities: Sequence[Entity]) -> None:
        """Drop every table of the project; other projects in the same place stay."""
        lifecycle.drop_project(self._places.writable(config), config.project)

    async def close(self) -> None:
        """Close the storage; the next use opens it again."""
        self._places.close()

    # -- helpers

    def _table(self, config: RepoConfig, read: ViewRead) -> Table:
        """Raises StateError where the view has no table."""
        table = self._places.table(config, read.table)
        if table is None:
            place = self._places.path(config)
            raise StateError(f"{place}: no table for view {read.view.name!r}: run `{self._apply_command}`")
        return table

    def _read(self, config: RepoConfig, read: ViewRead, keys: Sequence[bytes]) -> dict[str, ResponseColumn]:
        columns = read_rows(self._table(config, read), read, keys)
        if metrics._config.online_features:
            found = sum(int(np.count_nonzero(column.statuses == PRESENT)) for column in columns.values())
            metrics.track_feature_statuses(read.view.name, found, len(columns) * len(keys) - found)
        return columns

    def _completed(self, config: RepoConfig, view: View, data: list[Row]) -> list[Row]:
        """Rows that lack some of the view's features keep, as with stock Feast, what is stored of them."""
        wanted = fields_of(view).keys()
        read = replace(self._plans.of_view(config, view, tuple(wanted)), ttl_us=0)
        table = self._places.table(config, read.table)
        if table is None or all(wanted <= values.keys() for _, values, _, _ in data):
            return data
        columns = read_rows(table, read, row_keys_of([row[0] for row in data]))
        stored = {name: column.cells.protos() for name, column in columns.items()}
        return [
            (key, {**{name: protos[row] for name, protos in stored.items()}, **values}, event, created)
            for row, (key, values, event, created) in enumerate(data)
        ]

    def _write(self, config: RepoConfig, view: View, rows: Rows) -> int:
        return write_rows(self._places.writable(config), table_name(config, view), view, rows)

    def _read_features_per_fv(
        self,
        config: RepoConfig,
        grouped_refs: list[tuple[View, list[str]]],
        join_key_values: Mapping[str, Sequence[Value]],
        entity_name_to_join_key_map: Mapping[str, str],
        online_features_response: Any,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        """What stock Feast calls on the way to on-demand views: the same answer, in protobuf."""
        entities = {name: EntityColumn.from_protos(name, values) for name, values in join_key_values.items()}
        rows = len(next(iter(join_key_values.values())))
        for view, features in grouped_refs:
            read = ViewRead.of(view, features, config, full_feature_names)
            add_to_proto(online_features_response, self._read(config, read, read.keys(entities, rows)))
        if include_feature_view_version_metadata:
            add_versions(online_features_response, versions_of(view for view, _ in grouped_refs))
