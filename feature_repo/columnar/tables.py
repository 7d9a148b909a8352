"""The table of one view: rows in from Arrow or protobuf, columns out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from feast import FeatureView
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.utils import _validate_vector_field_lengths

from feature_repo.columnar.keys import encode_arrow, encode_protos, encode_texts, row_keys
from feature_repo.columnar.layout import CREATED, View, ViewLayout, fields_of
from feature_repo.columnar.request import ViewRead
from feature_repo.columnar.response import EXPIRED, NOT_FOUND, PRESENT, ResponseColumn
from feature_repo.columnar.storage import Batch, Environment, Table
from feature_repo.columnar.values import NULL, Cells, Mask, Raw
from feature_repo.errors import NotFoundError

Row = tuple[EntityKey, dict[str, Value], datetime, datetime | None]
Times = np.ndarray[Any, np.dtype[np.int64]]
_STATUSES = np.array([NOT_FOUND, PRESENT], np.uint8)  # by whether there is a row
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Rows:
    """Rows on their way into a table: n keys, their times in microseconds since 1970, and what they hold."""

    keys: list[bytes]
    event_us: Times
    created_us: Times
    encode: Callable[[ViewLayout], dict[str, Raw]]

    @classmethod
    def from_arrow(cls, view: FeatureView, batch: pa.RecordBatch) -> Rows:
        """Rows of an Arrow batch whose columns bear the view's names. Raises ValueError for a column amiss."""
        source, names = view.batch_source, set(batch.schema.names)
        if source is None:
            raise ValueError(f"view {view.name!r} has no batch source to tell the name of its timestamps")
        join_keys = {field.name: field.dtype.to_value_type() for field in view.entity_columns}
        wanted = {*fields_of(view), *join_keys, source.timestamp_field} - {DUMMY_ENTITY_ID}
        if missing := sorted(wanted - names):
            raise ValueError(f"view {view.name!r}: the batch lacks {', '.join(missing)}; it has {', '.join(names)}")
        _validate_vector_field_lengths(batch, view)
        parts = {
            name: encode_arrow(name, batch.column(name), value_type)
            if name in names
            else encode_texts([DUMMY_ENTITY_VAL]) * batch.num_rows
            for name, value_type in join_keys.items()
        }
        created = source.created_timestamp_column
        return cls(
            keys=row_keys(parts),
            event_us=_times(batch, source.timestamp_field),
            created_us=_times(batch, created) if created in names else np.zeros(batch.num_rows, np.int64),
            encode=lambda layout: {name: layout.from_arrow(name, batch.column(name)) for name in fields_of(view)},
        )

    @classmethod
    def from_protos(cls, data: Sequence[Row]) -> Rows:
        """Rows as Feast hands them to `online_write_batch`; naive times are UTC."""
        entities, values, events, created = zip(*data, strict=True)
        names = list(dict.fromkeys(name for row in values for name in row))
        now = time.time_ns() // 1000
        return cls(
            keys=row_keys_of(entities),
            event_us=np.array([_microseconds(event) for event in events], np.int64),
            created_us=np.array([now if made is None else _microseconds(made) for made in created], np.int64),
            encode=lambda layout: {
                name: layout.from_protos(name, [row.get(name, NULL) for row in values]) for name in names
            },
        )


def row_keys_of(entities: Sequence[EntityKey]) -> list[bytes]:
    """Row keys of Feast's entity keys, which all name the same join keys."""
    if not entities:
        return []
    names = list(entities[0].join_keys)
    columns = zip(*(entity.entity_values for entity in entities), strict=True)
    if not names:
        return row_keys({DUMMY_ENTITY_ID: encode_texts([DUMMY_ENTITY_VAL])}) * len(entities)
    return row_keys({name: encode_protos(name, column) for name, column in zip(names, columns, strict=True)})


def write_rows(environment: Environment, name: str, view: View, rows: Rows) -> int:
    """Upsert rows in one transaction, adding the columns that the table lacks; returns the rows that won."""
    try:
        table = environment.table(name)
    except NotFoundError:
        table = environment.create(name, ViewLayout(view, ()).desired())
    stored = table.schema
    layout = ViewLayout(view, stored)
    placed = [item for feature, raw in rows.encode(layout).items() for item in layout.place(feature, raw)]
    placed.append((CREATED, (rows.created_us, None)))
    if fresh := [column for column, _ in placed if column not in stored]:
        table = environment.evolve(name, [*stored, *fresh])
    return table.write(rows.keys, rows.event_us, rows.created_us, {column.name: value for column, value in placed})


def read_rows(table: Table, read: ViewRead, keys: Sequence[bytes]) -> dict[str, ResponseColumn]:
    """The features of one view by name, one row a key; what is older than the view's time to live is withheld."""
    found = find(table, read, keys)
    statuses = _STATUSES.take(found.present)
    if found.expired is not None:
        statuses[found.expired] = EXPIRED
    columns = {}
    for feature, name in zip(read.features, read.names, strict=True):
        shown = statuses if found.layout.has(feature) else np.full(len(keys), NOT_FOUND, np.uint8)
        columns[name] = ResponseColumn(found.cells(feature), shown, found.event_us)
    return columns


@dataclass(slots=True)
class Found:
    """What a table holds of n keys: which are there, since when, and which of those are past their time to live."""

    layout: ViewLayout
    present: Mask
    event_us: Times
    columns: Mapping[str, Any]
    expired: Mask | None = None

    @property
    def created_us(self) -> Times:
        """When the source of each row last changed, (n,) µs since 1970; 0 where there is no row or it is not known."""
        created: Times = self.columns[CREATED.name][0] if CREATED.name in self.columns else np.zeros_like(self.event_us)
        return created

    def cells(self, feature: str) -> Cells:
        """One feature, null where it is expired."""
        cells = self.layout.cells(feature, len(self.present), self.columns)
        return cells if self.expired is None else cells.where(~self.expired)


def find(table: Table, read: ViewRead, keys: Sequence[bytes]) -> Found:
    """The rows of the keys; none where the table was dropped since it was opened."""
    try:
        layout, batch = _look(table, read, keys)
    except NotFoundError:
        count = len(keys)
        return Found(ViewLayout(read.view, []), np.zeros(count, np.bool_), np.zeros(count, np.int64), {})
    found = Found(layout, batch.present, batch.event_us, batch.columns)
    if read.ttl_us and len(keys):
        oldest = time.time_ns() // 1000 - read.ttl_us
        if batch.event_us.min() < oldest:
            found.expired = batch.present & (batch.event_us < oldest)
    return found


def _look(table: Table, read: ViewRead, keys: Sequence[bytes]) -> tuple[ViewLayout, Batch]:
    """Read by the layout that fitted last, else by that of the table's columns now. Raises NotFoundError."""
    if read.last is not None:
        layout, names = read.last
        try:
            batch = table.read(keys, names)
        except NotFoundError:
            batch = None  # a column was dropped
        if batch is not None and batch.schema is layout.stored:
            return layout, batch
    layout, names = read.lay_out(table.schema)
    return layout, table.read(keys, names)


def _times(batch: pa.RecordBatch, name: str) -> Times:
    """A timestamp column in microseconds since 1970, naive ones as UTC. Raises ValueError for a null."""
    column = batch.column(name)
    if column.null_count:
        raise ValueError(f"column {name!r}: {column.null_count} rows have no time")
    if not pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", "UTC"))
    us = column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.int64())
    return us.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _microseconds(moment: datetime) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _MICROSECOND


def as_datetime(us: int) -> datetime:
    """Microseconds since 1970 as an aware time."""
    return _EPOCH + timedelta(microseconds=us)
