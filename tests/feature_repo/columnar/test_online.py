"""The columnar online store's own rules: time, keys, shapes, places, and the traps of stock Feast that it avoids."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, Float32, Int64, String
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.columnar.online import ColumnarOnlineStore
from feature_repo.columnar.response import ColumnarOnlineResponse
from feature_repo.errors import StateError
from tests.feature_repo.columnar.pair import DAY, FOREVER, OURS, content, open_store, user

NOW = datetime.now(UTC)
_numbers = itertools.count()


def view(name: str = "v", entities: list[Entity] | None = None, ttl: timedelta = FOREVER, **fields: Any) -> FeatureView:
    """A view of the given features, by default one number and one text."""
    kinds = fields or {"number": Float32, "text": String}
    entities = [content] if entities is None else entities
    keys = [Field(name=e.join_key, dtype=String if e is content else Int64) for e in entities]
    return FeatureView(
        name=name,
        entities=entities,
        ttl=ttl,
        schema=[*keys, *(f if isinstance(f, Field) else Field(name=n, dtype=f) for n, f in kinds.items())],
        source=FileSource(name=f"{name}_file", path="unread.parquet", timestamp_field="at"),
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    """A store with the view "v" applied and nothing in it."""
    opened = open_store(tmp_path, OURS)
    opened.apply([content, user, view()])
    yield opened
    asyncio.run(online(opened).close())


def online(store: FeatureStore) -> ColumnarOnlineStore:
    """Its online store."""
    found = store._get_provider().online_store
    assert isinstance(found, ColumnarOnlineStore)
    return found


def put(store: FeatureStore, name: str = "v", at: datetime = DAY, **columns: Any) -> int:
    """Write rows to a view, all of one time."""
    rows = len(next(iter(columns.values())))
    table = pa.table({**columns, "at": pa.array([at] * rows, pa.timestamp("us", "UTC"))})
    return online(store).write_arrow(store.config, store.get_feature_view(name), table)


def get(store: FeatureStore, *features: str, **entities: Any) -> dict[str, list[Any]]:
    """Read rows as Python values."""
    return store.get_online_features(list(features), entities).to_dict()


def statuses(store: FeatureStore, feature: str, ids: list[str]) -> list[int]:
    """Feast's statuses of one feature."""
    return list(store.get_online_features([feature], {"content_id": ids}).proto.results[1].statuses)


# -- time


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    """A store that the examples of one test share; each uses a key of its own."""
    opened = open_store(tmp_path_factory.mktemp("scratch"), OURS)
    opened.apply([content, view()])
    yield opened
    asyncio.run(online(opened).close())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=8))
def test_the_newest_row_wins_and_the_later_of_equals(scratch: FeatureStore, writes: list[tuple[int, int]]) -> None:
    key = str(next(_numbers))
    best = (-1, 0)
    for hour, number in writes:
        put(scratch, at=DAY + timedelta(hours=hour), content_id=[key], number=[float(number)], text=["t"])
        best = (hour, number) if hour >= best[0] else best
    assert get(scratch, "v:number", content_id=[key])["number"] == [float(best[1])]


def test_rows_older_than_the_time_to_live_are_withheld_and_say_so(store: FeatureStore) -> None:
    store.apply([view(ttl=timedelta(hours=1)), view("forever", ttl=timedelta(0))])
    for name in ("v", "forever"):
        put(store, name, NOW - timedelta(minutes=5), content_id=["new"], number=[1.0], text=["n"])
        put(store, name, NOW - timedelta(minutes=61), content_id=["old"], number=[2.0], text=["o"])
    ids = ["new", "old", "none"]
    assert get(store, "v:number", "v:text", content_id=ids) == {
        "content_id": ids,
        "number": [1.0, None, None],
        "text": ["n", None, None],
    }
    expected = [FieldStatus.PRESENT, FieldStatus.OUTSIDE_MAX_AGE, FieldStatus.NOT_FOUND]
    assert statuses(store, "v:number", ids) == expected
    assert statuses(store, "forever:number", ids) == [FieldStatus.PRESENT, FieldStatus.PRESENT, FieldStatus.NOT_FOUND]
    columns = online(store).read_columns(store.config, store.get_feature_view("v"), ids)
    assert columns.present.tolist() == [True, False, False]
    assert columns.event_us[1] > 0 == columns.event_us[2]
    assert np.isnan(columns.values["number"][1:]).all()


def test_event_times_are_kept_to_the_microsecond(store: FeatureStore) -> None:
    put(store, at=DAY + timedelta(microseconds=7), content_id=["a"], number=[1.0], text=["t"])
    response = store.get_online_features(["v:number"], {"content_id": ["a"]})
    assert response.proto.results[1].event_timestamps[0].ToDatetime(UTC) == DAY + timedelta(microseconds=7)
    assert response.to_dict(include_event_timestamps=True)["number__ts"] == [int(DAY.timestamp())]


# -- keys


@pytest.mark.parametrize(
    "ids",
    [np.array(["a", "b"]), np.array(["a", "b"], object), ("a", "b"), pd.Series(["a", "b"]), pl.Series(["a", "b"])],
    ids=["numpy", "objects", "tuple", "pandas", "polars"],
)
def test_ids_may_come_in_any_column(store: FeatureStore, ids: Any) -> None:
    put(store, content_id=["b"], number=[2.0], text=["zwei"])
    assert get(store, "v:number", content_id=ids) == {"content_id": ["a", "b"], "number": [None, 2.0]}
    assert get(store, "v:number", content_id=pa.array(["b"]))["number"] == [2.0]


@pytest.mark.parametrize("nothing", [[], {"content_id": []}, {"content_id": np.array([], str)}])
def test_no_rows_give_an_empty_answer(store: FeatureStore, nothing: Any) -> None:
    response = store.get_online_features(["v:number", "v:text"], nothing)
    assert response.to_dict()["number"] == []
    assert response.to_df().empty
    assert response.to_arrow().num_rows == 0
    assert set(response.proto.metadata.feature_names.val) >= {"number", "text"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"content_id": ["a", None]}, "'content_id', row 1: the value is null"),
        ([{"content_id": "a"}, {"content_id": None}], "'content_id', row 1: the value is null"),
        ([{"content_id": "a"}, {"other": "b"}], "must have the same keys"),
        ({"content_id": "abc"}, "give a list of values"),
        ({"content_id": ["a"], "user_id": [1, 2]}, "the same length"),
        ({"user_id": [1]}, "needs the join keys content_id; given: user_id"),
    ],
)
def test_entities_that_cannot_be_read_are_told(store: FeatureStore, rows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        store.get_online_features(["v:number"], rows)


def test_composite_keys_and_integers(store: FeatureStore) -> None:
    store.apply([view("pairs", [user, content], number=Int64)])
    users = [-1, 2**60, 3, -1]
    put(store, "pairs", user_id=users, content_id=["a", "a", "b", "b"], number=[1, 2, 3, 4])
    found = get(store, "pairs:number", content_id=["b", "a", "a", "c"], user_id=np.array([3, 2**60, -1, 3]))
    assert found["number"] == [3, 2, 1, None]
    columns = online(store).read_columns(
        store.config, store.get_feature_view("pairs"), {"user_id": [-1], "content_id": ["b"]}
    )
    assert columns.values["number"].tolist() == [4]
    with pytest.raises(ValueError, match="give a column for each of content_id, user_id"):
        online(store).read_columns(store.config, store.get_feature_view("pairs"), ["b"])
    with pytest.raises(ValueError, match="has no join key nobody"):
        online(store).read_columns(store.config, store.get_feature_view("pairs"), {"nobody": ["b"]})


def test_views_without_an_entity_have_one_row(store: FeatureStore) -> None:
    store.apply([view("alone", [], number=Float32)])
    put(store, "alone", number=[7.0])
    assert get(store, "alone:number", content_id=["a", "b"])["number"] == [7.0, 7.0]


# -- what is read and what is there


def test_absent_rows_are_not_found_and_null_values_are_present(store: FeatureStore) -> None:
    put(store, content_id=["a"], number=pa.array([None], pa.float32()), text=["t"])
    assert statuses(store, "v:number", ["a", "b"]) == [FieldStatus.PRESENT, FieldStatus.NOT_FOUND]


def test_read_columns_gives_arrays_masks_and_times(store: FeatureStore) -> None:
    store.apply([view("wide", number=Float32, count=Int64, text=String, vector=Array(Float32))])
    matrix = np.arange(6, dtype=np.float32).reshape(3, 2)
    put(
        store,
        "wide",
        content_id=["a", "b", "c"],
        number=pa.array([1.0, None, 3.0], pa.float32()),
        count=pa.array([1, 2, None], pa.int64()),
        text=["x", None, ""],
        vector=pa.FixedSizeListArray.from_arrays(matrix.ravel(), 2),
    )
    read = online(store).read_columns(store.config, store.get_feature_view("wide"), ["c", "nope", "a", "c"])
    assert read.present.tolist() == [True, False, True, True]
    assert read.event_us.tolist() == [int(DAY.timestamp()) * 10**6 * there for there in (1, 0, 1, 1)]
    np.testing.assert_array_equal(read.values["number"], np.array([3, np.nan, 1, 3], np.float32))
    assert read.values["count"].dtype == np.int64
    assert read.valid["count"].tolist() == [False, False, True, False]
    assert read.values["text"].tolist() == ["", None, "x", ""]
    assert read.values["vector"].dtype == np.float32
    np.testing.assert_array_equal(read.values["vector"], matrix[[2, 0, 0, 2]] + [[0], [np.nan], [0], [0]])
    only = online(store).read_columns(store.config, store.get_feature_view("wide"), ["a"], ["count"])
    assert list(only.values) == ["count"]


def test_vectors_of_another_length_are_kept_beside_the_others(store: FeatureStore) -> None:
    store.apply([view("vectors", vector=Array(Float32))])
    put(store, "vectors", content_id=["a", "b"], vector=pa.array([[1, 2], [3, 4]], pa.list_(pa.float32())))
    put(store, "vectors", content_id=["b", "c"], vector=pa.array([[5], []], pa.list_(pa.float32())))
    assert get(store, "vectors:vector", content_id=["a", "b", "c", "d"])["vector"] == [[1, 2], [5], [], None]
    put(store, "vectors", content_id=["b"], vector=pa.array([[6, 7]], pa.list_(pa.float32())))
    assert get(store, "vectors:vector", content_id=["b", "c"])["vector"] == [[6, 7], []]


def test_a_declared_vector_length_rules(store: FeatureStore) -> None:
    declared = Field(name="vector", dtype=Array(Float32), vector_length=2)
    store.apply([view("vectors", vector=declared, number=Float32)])
    put(store, "vectors", content_id=["a"], vector=[[1.0, 2.0]], number=[1.0])
    longer = Field(name="vector", dtype=Array(Float32), vector_length=3)
    store.apply([view("vectors", vector=longer, number=Float32)])
    assert get(store, "vectors:vector", "vectors:number", content_id=["a"]) == {
        "content_id": ["a"],
        "vector": [None],
        "number": [1.0],
    }


def test_rows_that_lack_a_feature_keep_what_is_stored(store: FeatureStore) -> None:
    put(store, content_id=["a"], number=[1.0], text=["old"])
    key = EntityKey(join_keys=["content_id"], entity_values=[Value(string_val="a")])
    row = (key, {"text": Value(string_val="new")}, DAY.replace(tzinfo=None), None)
    online(store).online_write_batch(store.config, store.get_feature_view("v"), [row], None)
    assert get(store, "v:number", "v:text", content_id=["a"]) == {
        "content_id": ["a"],
        "number": [1.0],
        "text": ["new"],
    }


def test_values_of_another_type_are_refused_by_name(store: FeatureStore) -> None:
    key = EntityKey(join_keys=["content_id"], entity_values=[Value(string_val="a")])
    row = (key, {"number": Value(string_val="1"), "text": Value()}, DAY, None)
    with pytest.raises(ValueError, match="feature 'number', row 0: a string_val in a feature of type FLOAT"):
        online(store).online_write_batch(store.config, store.get_feature_view("v"), [row], None)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"content_id": ["a"], "number": [1.0]}, "the batch lacks text"),
        ({"content_id": [None], "number": [1.0], "text": ["t"]}, "row 0: the value is null"),
    ],
)
def test_batches_that_cannot_be_written_are_told(store: FeatureStore, table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        put(store, **table)


def test_rows_without_a_time_are_told(store: FeatureStore) -> None:
    times = pa.array([None], pa.timestamp("us", "UTC"))
    table = pa.table({"content_id": ["a"], "number": [1.0], "text": ["t"], "at": times})
    with pytest.raises(ValueError, match="column 'at': 1 rows have no time"):
        online(store).write_arrow(store.config, store.get_feature_view("v"), table)


def test_deleted_rows_are_gone(store: FeatureStore) -> None:
    put(store, content_id=["a", "b"], number=[1.0, 2.0], text=["x", "y"])
    deleted = online(store).delete_rows(store.config, store.get_feature_view("v"), ["a", "nope"])
    assert deleted == 1
    assert get(store, "v:number", content_id=["a", "b"])["number"] == [None, 2.0]


# -- the answer


def test_protobuf_is_built_only_when_it_is_asked_for(store: FeatureStore) -> None:
    put(store, content_id=["a"], number=[1.0], text=["t"])
    response = store.get_online_features(["v:number"], {"content_id": ["a", "b"]})
    assert isinstance(response, ColumnarOnlineResponse)
    assert response.columns["number"].values[0] == 1.0
    assert response.columns["number"].valid.tolist() == [True, False]
    response.to_dict(), response.to_df(), response.to_arrow()
    assert "proto" not in vars(response)
    assert response.proto is response.proto


def test_a_changed_registry_is_seen_by_the_next_request(store: FeatureStore) -> None:
    put(store, content_id=["a"], number=[1.0], text=["t"])
    assert get(store, "v:number", content_id=["a"])["number"] == [1.0]
    store.apply([view(ttl=timedelta(seconds=1))])
    assert get(store, "v:number", content_id=["a"])["number"] == [None]


# -- places


def test_projects_in_one_place_keep_apart(tmp_path: Path) -> None:
    shared = {**OURS, "online_store": {**OURS["online_store"], "path": str(tmp_path / "shared")}}
    stores = [open_store(tmp_path / name, shared, name) for name in ("one", "two")]
    for number, store in enumerate(stores):
        store.apply([content, view()])
        put(store, content_id=["a"], number=[float(number)], text=["t"])
    online(stores[0]).teardown(stores[0].config, [], [])
    assert get(stores[1], "v:number", content_id=["a"])["number"] == [1.0]
    for store in stores:
        asyncio.run(online(store).close())


def test_a_store_and_a_table_that_are_not_there(tmp_path: Path) -> None:
    """A read says what to run and makes nothing; a write makes both."""
    store = open_store(tmp_path, OURS)
    store.registry.apply_entity(content, "pair")
    store.registry.apply_feature_view(view(), "pair")
    for _ in range(2):
        with pytest.raises(StateError, match=r"online: no table for view 'v': run `feast apply`"):
            statuses(store, "v:number", ["a"])
        with pytest.raises(StateError, match="run `feast apply`"):
            online(store).read_columns(store.config, view(), ["a"])
        assert not (tmp_path / "online").exists()
    store.registry.apply_feature_view(view("w"), "pair")
    put(store, "w", content_id=["a"], number=[1.0], text=["t"])
    with pytest.raises(StateError, match="run `feast apply`"):
        statuses(store, "v:number", ["a"])
    put(store, content_id=["a"], number=[1.0], text=["t"])
    assert statuses(store, "v:number", ["a"]) == [FieldStatus.PRESENT]
    asyncio.run(online(store).close())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_another_process_sees_what_is_written(store: FeatureStore, tmp_path: Path) -> None:
    put(store, content_id=["a"], number=[1.0], text=["t"])
    child = os.fork()
    if child == 0:
        right = get(store, "v:number", content_id=["a"])["number"] == [1.0]
        put(store, at=DAY + timedelta(1), content_id=["a"], number=[2.0], text=["t"])
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert get(store, "v:number", content_id=["a"])["number"] == [2.0]
