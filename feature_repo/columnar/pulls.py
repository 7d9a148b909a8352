"""The rows of one source in a range of time: all of them, or the latest of each key, as a stream.

Which rows those are is found from keys and timestamps alone; the values then go by once, a batch at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL

from feature_repo.columnar.asof import WordArray, hashes_of, in_time_order, instants, no_nulls
from feature_repo.columnar.instants import MICROSECONDS, BoolArray, Instants, IntArray
from feature_repo.columnar.sources import ParquetSource

_KEY_ROWS = 1 << 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Pull:
    """Columns of a source, as its files call them, for the rows from `start` to `end`, both of them included.

    Times come in UTC. With no `keys`, the source is about nothing in particular, and each row gets Feast's dummy key.
    `latest`: only the row that came last for each key; one with a null in its key is about nothing and left out.
    """

    source: ParquetSource
    keys: Sequence[str]
    values: Sequence[str]
    timestamp: str
    created: str | None
    start: datetime | None
    end: datetime | None
    latest: bool

    @property
    def columns(self) -> list[str]:
        """The columns that are read: keys, values, times."""
        times = [self.timestamp, *([self.created] if self.created else [])]
        return list(dict.fromkeys([*self.keys, *self.values, *times]))

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of every batch."""
        fields = [self._field(self.source.schema.field(name)) for name in self.columns]
        return pa.schema(fields if self.keys else [*fields, pa.field(DUMMY_ENTITY_ID, pa.string())])

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Stream the rows, in the order of the files, in batches of `rows`; the last one may be smaller."""
        wanted = self._wanted()
        return regroup(self._chosen(wanted, rows), rows)

    def frame(self) -> pl.DataFrame:
        """All the rows at once."""
        return pl.DataFrame(pa.Table.from_batches(self.batches(1 << 16), self.schema))

    def _chosen(self, wanted: BoolArray, rows: int) -> Iterator[pa.RecordBatch]:
        schema = self.schema
        for part in self.source.parts(self.columns, rows, wanted):
            mask = wanted[part.first : part.first + part.batch.num_rows]
            batch = part.batch if mask.all() else part.batch.take(pa.array(np.flatnonzero(mask)))
            arrays = [pc.cast(array, field.type) for array, field in zip(batch.columns, schema, strict=False)]
            if not self.keys:
                arrays.append(pa.repeat(DUMMY_ENTITY_VAL, batch.num_rows))
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _wanted(self) -> BoolArray:
        """Whether each row of the source is asked for."""
        made = self.created
        times = self.source.read([self.timestamp]).to_series()
        at, created = instants(times, (lambda: self.source.read([made]).to_series()) if made else None)
        wanted = at.valid & _in_range(at, self.start, self.end)
        return self._latest(wanted, at.values, created) if self.latest else wanted

    def _latest(self, wanted: BoolArray, at: IntArray, created: IntArray | None) -> BoolArray:
        """Of the wanted rows the last one of each key.

        Few bytes a row, however many there are: keys are hashed as they go by, and only those of rows that share
        a hash with another are kept and told apart.
        """
        hashes, keyed = self._hashes(wanted)
        chosen = np.flatnonzero(wanted)[keyed]
        shared = _shared(hashes[keyed])
        rows = chosen[shared]
        last = _last_of_each(self._keys(rows, len(wanted)), at[rows], None if created is None else created[rows])
        latest = np.zeros_like(wanted)
        latest[chosen[~shared]] = True
        latest[rows[last]] = True
        return latest

    def _hashes(self, wanted: BoolArray) -> tuple[WordArray, BoolArray]:
        """The hash of each wanted row's key, and whether it has one: none of its columns is null."""
        if not self.keys:
            return np.zeros(int(wanted.sum()), np.uint64), np.ones(int(wanted.sum()), np.bool_)
        hashes, keyed = [np.empty(0, np.uint64)], [np.empty(0, np.bool_)]
        for keys in self._filtered(wanted):
            hashes.append(hashes_of(keys))
            keyed.append(no_nulls(keys))
        return np.concatenate(hashes), np.concatenate(keyed)

    def _keys(self, rows: IntArray, count: int) -> pl.DataFrame:
        """The keys of these rows, ascending, out of `count`."""
        if not self.keys:
            return pl.select(pl.repeat(0, len(rows)))
        needed = np.zeros(count, np.bool_)
        needed[rows] = True
        none = pl.DataFrame(pa.schema([self.source.schema.field(name) for name in self.keys]).empty_table())
        return pl.concat([none, *self._filtered(needed)])

    def _filtered(self, needed: BoolArray) -> Iterator[pl.DataFrame]:
        """The keys of the needed rows, part by part."""
        for part in self.source.parts(self.keys, _KEY_ROWS, needed):
            yield pl.DataFrame(part.batch).filter(needed[part.first : part.first + part.batch.num_rows])

    def _field(self, field: pa.Field) -> pa.Field:
        if field.name not in (self.timestamp, self.created):
            return field
        unit = field.type.unit if pa.types.is_timestamp(field.type) else "us"
        return pa.field(field.name, pa.timestamp(unit, "UTC"))


def regroup(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of `rows`; the last one may be smaller, none is empty."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while count + batch.num_rows >= rows:
            held.append(batch.slice(0, rows - count))
            batch = batch.slice(rows - count)
            yield held[0] if len(held) == 1 else pa.concat_batches(held)
            held, count = [], 0
        if batch.num_rows:
            held.append(batch)
            count += batch.num_rows
    if held:
        yield pa.concat_batches(held)


def _shared(hashes: WordArray) -> BoolArray:
    """Whether another row has the same hash."""
    order = np.argsort(hashes)
    ordered = hashes[order]
    same = ordered[1:] == ordered[:-1]
    shared = np.zeros(len(hashes), np.bool_)
    shared[order[1:][same]] = True
    shared[order[:-1][same]] = True
    return shared


def _last_of_each(keys: pl.DataFrame, at: IntArray, created: IntArray | None) -> IntArray:
    """Row numbers, one for each distinct key."""
    order = in_time_order(at, created)
    numbered = keys.with_row_index("\0row")
    ordered = numbered if order is None else numbered[order]
    return ordered.unique(subset=keys.columns, keep="last")["\0row"].to_numpy().astype(np.int64)


def _in_range(at: Instants, start: datetime | None, end: datetime | None) -> BoolArray:
    inside = np.ones(len(at.values), np.bool_)
    scale = at.per_second // MICROSECONDS
    if start is not None:
        inside &= at.values >= _microseconds(start) * scale
    if end is not None:
        inside &= at.values <= _microseconds(end) * scale
    return inside


def _microseconds(moment: datetime) -> int:
    """Since 1970; a naive datetime is UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)
