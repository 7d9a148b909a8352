"""Historical features: one point-in-time join a view, then its values gathered by row number."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np
import polars as pl
import pyarrow as pa
from feast import FeatureView
from feast.feature_view import DUMMY_ENTITY_ID

from feature_repo.columnar.asof import Asked, History, Moments, asof_rows
from feature_repo.columnar.entity_frames import EVENT_TIMESTAMP, same_kind
from feature_repo.columnar.instants import IntArray
from feature_repo.columnar.job import plain_table
from feature_repo.columnar.pulls import Pull
from feature_repo.columnar.sources import ParquetSource
from feature_repo.columnar.take import take
from feature_repo.errors import InputError

_STREAM_ROWS = 1 << 13


@dataclass(frozen=True, slots=True)
class ViewRead:
    """What is asked of one view. `keys` maps columns of the entity frame, `features` maps names in the answer, to
    what the source's files call them.
    """

    source: ParquetSource
    keys: Mapping[str, str]
    timestamp: str
    created: str | None
    ttl: timedelta | None
    features: Mapping[str, str]

    @classmethod
    def of(cls, view: FeatureView, references: Sequence[str], full_names: bool, repo_path: Path | None) -> ViewRead:
        """Resolve a view's projection. Raises InputError for a view without a source or a column that is not there."""
        if view.batch_source is None:
            raise InputError(f"feature view {view.name!r} has no batch source, so it has no history")
        source = ParquetSource.of(view.batch_source, repo_path)
        projection = view.projection
        start = f"{projection.name_to_use()}:"  # type: ignore[no-untyped-call]
        names = [reference.removeprefix(start) for reference in references if reference.startswith(start)]
        prefix = f"{projection.name_alias or projection.name}__" if full_names else ""
        joins = [field.name for field in view.entity_columns if field.name != DUMMY_ENTITY_ID]
        created = view.batch_source.created_timestamp_column
        return cls(
            source,
            {projection.join_key_map.get(name, name): source.column(name) for name in joins},
            source.column(view.batch_source.timestamp_field),
            source.column(created) if created else None,
            view.ttl,
            {prefix + name: source.column(name) for name in names},
        )

    def rows(self, plan: _Plan, known: bool) -> IntArray:
        """The number of the source's row that was in force at each entity row; -1 where there was none."""
        frame = self.source.read(list(dict.fromkeys([*self.keys.values(), self.timestamp])))
        asked, keys = plan.asked({name: frame[column] for name, column in self.keys.items()}, frame.height)
        created = self.created
        read_created = (lambda: self.source.read([created]).to_series()) if created else None
        history = History(keys, frame[self.timestamp], read_created)
        return asof_rows(asked, history, ttl=self.ttl, known=known)

    def narrow(self) -> pl.DataFrame:
        """The columns that are gathered from all the rows at once: those that are neither lists nor structs."""
        return self.source.read([column for column in self._columns if not self._is_wide(column)])

    def gather(self, narrow: pl.DataFrame, rows: IntArray) -> pl.DataFrame:
        """The features at `rows`, null at -1. Wide columns are streamed past, so that only what is asked for stays."""
        found = take(narrow, rows)
        if wide := [column for column in self._columns if self._is_wide(column)]:
            found |= take(*self._held(wide, rows))
        return pl.DataFrame({name: found[column] for name, column in self.features.items()})

    @property
    def _columns(self) -> list[str]:
        return list(dict.fromkeys(self.features.values()))

    def _is_wide(self, column: str) -> bool:
        return bool(pa.types.is_nested(self.source.schema.field(column).type))

    def _held(self, columns: Sequence[str], rows: IntArray) -> tuple[pl.DataFrame, IntArray]:
        """Only those rows that are in `rows`, streamed together, and where each of `rows` is among them."""
        hit = rows[rows >= 0]
        needed = np.zeros(hit.max() + 1 if len(hit) else 0, np.bool_)
        needed[hit] = True
        kept = []
        for part in self.source.parts(columns, _STREAM_ROWS, needed):
            mask = needed[part.first : part.first + part.batch.num_rows]
            picked = np.flatnonzero(mask)
            kept.append(part.batch if len(picked) == part.batch.num_rows else part.batch.take(pa.array(picked)))
        schema = pa.schema([self.source.schema.field(column) for column in columns])
        places = np.append(np.cumsum(needed) - 1, -1)[rows]
        return pl.DataFrame(pa.Table.from_batches(kept, schema)), places


class _Plan:
    """The entity rows, put in order once for each set of keys that views ask about."""

    def __init__(self, entities: pl.DataFrame, timestamp: str) -> None:
        self._entities = entities
        self._timestamp = timestamp
        self._asked: dict[object, Asked] = {}
        self._lock = Lock()

    def prepare(self) -> None:
        """Put the times in order, which every view waits for, while the first of them are still being read."""
        with self._lock:
            _ = self._moments

    @cached_property
    def _moments(self) -> Moments:
        return Moments.of(self._entities[self._timestamp])

    def asked(self, keys: Mapping[str, pl.Series], rows: int) -> tuple[Asked, pl.DataFrame]:
        """The entity rows by the named keys, and the keys of a view's `rows` in the same columns and types."""
        pairs = {name: same_kind(name, self._entities[name], column) for name, column in keys.items()} or {
            "": (pl.zeros(self._entities.height, eager=True), pl.zeros(rows, eager=True))
        }
        mine, theirs = (pl.DataFrame({name: pair[side] for name, pair in pairs.items()}) for side in (0, 1))
        kind = tuple(mine.schema.items())
        with self._lock:
            moments = self._moments
            if kind not in self._asked:
                self._asked[kind] = Asked(mine, moments)
            return self._asked[kind], theirs


@dataclass(frozen=True)
class Retrieval:
    """Features of several views for the rows of an entity frame, or for every row that the views have in a range."""

    reads: Sequence[ViewRead]
    known: bool
    entities: pl.DataFrame | None = None
    timestamp: str = EVENT_TIMESTAMP
    start: datetime | None = None
    end: datetime | None = None

    def frame(self) -> pl.DataFrame:
        """The entity rows as they came, each once and in its place, with the features beside them."""
        answer: pl.DataFrame = self._answer
        return answer

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """The same in batches of `rows`."""
        return iter(plain_table(self._answer).combine_chunks().to_batches(rows))

    @property
    def schema(self) -> pa.Schema:
        """The schema of the batches."""
        return plain_table(self._answer.clear()).schema

    @cached_property
    def _answer(self) -> pl.DataFrame:
        entities = self._rows_in_range() if self.entities is None else self.entities
        plan = _Plan(entities, self.timestamp)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            pool.submit(plan.prepare)
            work = [(read, pool.submit(read.rows, plan, self.known), pool.submit(read.narrow)) for read in self.reads]
            found = list(pool.map(lambda item: item[0].gather(item[2].result(), item[1].result()), work))
        answer: pl.DataFrame = pl.concat([entities, *found], how="horizontal")
        return answer

    def _rows_in_range(self) -> pl.DataFrame:
        """Each distinct key and event time of the views, by time; views about nothing in particular add none."""
        frames = []
        for read in [read for read in self.reads if read.keys] or self.reads:
            raw = list(read.keys.values())
            pull = Pull(read.source, raw, (), read.timestamp, None, self.start, self.end, latest=False)
            columns = {read.timestamp: EVENT_TIMESTAMP} | {old: new for new, old in read.keys.items()}
            frames.append(pull.frame().select(pl.col(old).alias(new) for old, new in columns.items()))
        rows = pl.concat(frames, how="diagonal_relaxed").unique()
        return rows.sort(rows.columns)


def require_columns(names: Sequence[str], reads: Sequence[ViewRead]) -> None:
    """Raise InputError where the answer would have two columns of one name; `names` are the entity frame's."""
    seen = set(names)
    for read in reads:
        if twice := sorted(seen & read.features.keys()):
            raise InputError(f"two columns named {', '.join(twice)}: ask with full_feature_names=True, or rename one")
        seen |= read.features.keys()
