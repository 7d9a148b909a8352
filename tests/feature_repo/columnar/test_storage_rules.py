"""The storage engine against a dictionary that does the same naively."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from feature_repo.columnar import storage_index, storage_table, storage_write
from feature_repo.columnar.storage import Column, Environment

POOL = [b"a", b"a\0", b"b", b"\xff", b"long" * 30, b"id-0001", b"id-0002", b"\0\0\0\0\0\0\0\1"]
COLUMNS = [
    Column("score", "f8"),
    Column("count", "i4"),
    Column("flag", "bool"),
    Column("vector", "f4", 3),
    Column("name", "bytes"),
    Column("tags", "bytes"),
    Column("count", "i8"),
]
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "score": st.none() | st.floats(-1e6, 1e6),
    "count": st.none() | st.integers(-1000, 1000),
    "flag": st.none() | st.booleans(),
    "vector": st.none() | st.tuples(*[st.integers(-9, 9).map(float)] * 3),
    "name": st.none() | st.binary(max_size=5),
    "tags": st.none() | st.binary(max_size=3000),
}
ROW = st.tuples(st.sampled_from(POOL), st.integers(0, 4), st.integers(0, 3), st.fixed_dictionaries(VALUES))
SCHEMA = st.lists(st.sampled_from(COLUMNS), unique_by=lambda column: column.name, max_size=6)


def column_values(column: Column, values: Sequence[Any]) -> Any:
    """Values as `write` takes them."""
    if not column.fixed:
        return list(values)
    mask = np.array([value is not None for value in values], bool)
    fill = (0,) * column.width if column.width else 0
    array = np.array([fill if value is None else value for value in values], column.dtype)
    return array.reshape(len(values), *column.shape), mask


def read_value(column: Column, found: Any, row: int) -> Any:
    """One value of a read, None where null."""
    if not column.fixed:
        return found[row]
    if not found[1][row]:
        return None
    value = found[0][row].tolist()
    return tuple(value) if column.width else value


class Rules(RuleBasedStateMachine):
    """Writes with ties, deletes, schema changes, rebuilt indexes and reopening, in any order."""

    @initialize(
        schema=SCHEMA, few=st.sampled_from([0, 3, 10**9]), spare=st.booleans(), share=st.sampled_from([0.01, 0.7, 9.0])
    )
    def begin(self, schema: list[Column], few: int, spare: bool, share: float) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.kept = (
            storage_table.FEW_KEYS,
            storage_index._STALE_MIN,
            storage_index._STALE_SHARE,
            storage_write._SPARE_MIN,
        )
        storage_index._STALE_SHARE = share
        storage_table.FEW_KEYS, storage_index._STALE_MIN = few, 2
        storage_write._SPARE_MIN = 256 if spare else 0
        self.environment = Environment(self.folder / "s", durable=False)
        self.table = self.environment.create("t", schema)
        self.schema = schema
        self.rows: dict[bytes, tuple[int, int, dict[str, Any]]] = {}

    @rule(given=st.lists(ROW, max_size=12))
    def write(self, given: list[tuple[bytes, int, int, dict[str, Any]]]) -> None:
        columns = {column.name: column_values(column, [row[3][column.name] for row in given]) for column in self.schema}
        event, created = (np.array([row[at] for row in given], np.int64) for at in (1, 2))
        self.table.write([row[0] for row in given], event, created, columns)
        for key, when, made, values in given:
            if key not in self.rows or (when, made) >= self.rows[key][:2]:
                self.rows[key] = (when, made, {column.name: values[column.name] for column in self.schema})

    @rule(keys=st.lists(st.sampled_from(POOL), max_size=4))
    def delete(self, keys: list[bytes]) -> None:
        gone = sum(self.rows.pop(key, None) is not None for key in keys)
        assert self.table.delete(keys) == gone

    @rule(schema=SCHEMA)
    def evolve(self, schema: list[Column]) -> None:
        self.table = self.environment.evolve("t", schema)
        stay = {column.name for column in schema if column in self.schema}
        self.schema = schema
        for key, (when, made, values) in self.rows.items():
            self.rows[key] = (when, made, {c.name: values[c.name] if c.name in stay else None for c in schema})

    @rule()
    def optimise(self) -> None:
        self.table.optimise()

    @rule()
    def reopen(self) -> None:
        self.environment.close()
        self.environment = Environment(self.folder / "s", durable=False)
        self.table = self.environment.table("t")

    @rule(keys=st.lists(st.sampled_from([*POOL, b"absent"]), max_size=20), data=st.data())
    def read(self, keys: list[bytes], data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(self.schema), unique=True) if self.schema else st.just([]))
        batch = self.table.read(keys, [column.name for column in chosen])
        for row, key in enumerate(keys):
            expected = self.rows.get(key)
            assert bool(batch.present[row]) == (expected is not None)
            assert batch.event_us[row] == (expected[0] if expected else 0)
            for column in chosen:
                wanted = expected[2][column.name] if expected else None
                assert read_value(column, batch.columns[column.name], row) == wanted

    @invariant()
    def all_there(self) -> None:
        if hasattr(self, "table"):
            assert self.table.count() == len(self.rows)
            assert [key for part in self.table.keys(3) for key in part] == sorted(self.rows)

    def teardown(self) -> None:
        if hasattr(self, "environment"):
            self.environment.close()
            storage_table.FEW_KEYS, storage_index._STALE_MIN = self.kept[:2]
            storage_index._STALE_SHARE, storage_write._SPARE_MIN = self.kept[2:]
            shutil.rmtree(self.folder)


TestRules = Rules.TestCase
TestRules.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
