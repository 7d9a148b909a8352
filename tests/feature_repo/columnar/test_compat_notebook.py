"""What one does with Feast in Python and no other test here covers, on stock stores and on the columnar ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureService, FeatureStore, FeatureView, Field, FileSource, PushSource, RequestSource
from feast.data_source import PushMode
from feast.feature_logging import (
    LOG_DATE_FIELD,
    LOG_TIMESTAMP_FIELD,
    REQUEST_ID_FIELD,
    FeatureServiceLoggingSource,
    LoggingConfig,
)
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.on_demand_feature_view import on_demand_feature_view
from feast.protos.feast.core.PrecomputedFeatureVector_pb2 import PrecomputedFeatureVector
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, Bytes, Float64, Int64, Json, Map, String, Struct
from polars.testing import assert_frame_equal

from tests.feature_repo.columnar.pair import DAY, FOREVER, OURS, STOCK, materialize, open_store, user

pytestmark = pytest.mark.filterwarnings("ignore:On demand feature view is an experimental feature")

Pair = tuple[FeatureStore, FeatureStore]
POLARS = {"offline_store": {"type": "feature_repo.columnar.offline.PolarsOfflineStore"}}
HOUR = timedelta(hours=1)


def scores(folder: Path, **fields: Any) -> FeatureView:
    """A view with an integer key that can be pushed to."""
    source = FileSource(name="scores_file", path=str(folder / "scores.parquet"), timestamp_field="at")
    return FeatureView(
        name="scores",
        entities=[user],
        ttl=FOREVER,
        schema=[Field(name="user_id", dtype=Int64), *(Field(name=n, dtype=d) for n, d in fields.items())],
        source=PushSource(name="scores_push", batch_source=source),
    )


def write_scores(folder: Path, **more: Any) -> None:
    """The Parquet of the view: three users."""
    times = pa.array([DAY, DAY + HOUR, DAY + 2 * HOUR], pa.timestamp("us", "UTC"))
    table = pa.table({"user_id": pa.array([1, 2, -3], pa.int64()), "at": times, **more})
    pq.write_table(table, folder / "scores.parquet")


@contextmanager
def opened(folder: Path, offline: str = "duckdb", **registry: Any) -> Iterator[Pair]:
    """Stock stores, and ours with the Polars offline store, each with Parquet of its own; nothing applied."""
    stores = []
    for name, kinds in (("stock", {**STOCK, "offline_store": {"type": offline}}), ("ours", {**OURS, **POLARS})):
        path = f"sqlite:///{folder / name}/registry.db"
        kinds = {**kinds, "registry": {"registry_type": "sql", "path": path, **registry}}
        stores.append(open_store(folder / name, kinds))
    yield stores[0], stores[1]
    asyncio.run(stores[1]._get_provider().online_store.close())


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Both."""
    with opened(tmp_path / "plain") as stores:
        yield stores


@pytest.fixture
def versioned(tmp_path: Path) -> Iterator[Pair]:
    """Both, keeping the versions of views online."""
    with opened(tmp_path / "versioned", enable_online_feature_view_versioning=True) as stores:
        yield stores


def folder(store: FeatureStore) -> Path:
    """The repository's folder."""
    assert store.config.repo_path is not None
    return store.config.repo_path


def same(pair: Pair, features: Any, rows: Any, **options: Any) -> dict[str, list[Any]]:
    """Assert that both answer alike online; the answer."""
    stock, ours = (store.get_online_features(features, rows, **options).to_dict(True) for store in pair)
    assert ours == stock
    return ours


def same_history(pair: Pair, frame: pd.DataFrame, features: Any) -> pl.DataFrame:
    """Assert that both give the same history, whatever the order of rows and the width of types; ours."""
    stock, ours = (
        pl.DataFrame(store.get_historical_features(frame, features).to_arrow()).sort("user_id", "event_timestamp")
        for store in pair
    )
    assert_frame_equal(ours, stock, check_dtypes=False)
    return ours


def asked(*hours: int, users: tuple[int, ...] = (1, 2, -3)) -> pd.DataFrame:
    """An entity frame: every user at each of the hours."""
    rows = [(key, DAY + hour * HOUR) for key in users for hour in hours]
    return pd.DataFrame(rows, columns=["user_id", "event_timestamp"])


# -- pushes


@pytest.mark.parametrize("mode", PushMode)
def test_a_push_goes_where_it_is_sent(pair: Pair, mode: PushMode) -> None:
    pushed = pd.DataFrame({"user_id": [2, 9], "at": [DAY + 5 * HOUR] * 2, "score": [20.0, 90.0]})
    for store in pair:
        write_scores(folder(store), score=pa.array([1.0, 2.0, 3.0], pa.float64()))
        store.apply([user, scores(folder(store), score=Float64)])
        materialize(store)
        store.push("scores_push", pushed, to=mode)
    online = same(pair, ["scores:score"], {"user_id": [1, 2, -3, 9]})["score"]
    assert online == ([1.0, 2.0, 3.0, None] if mode == PushMode.OFFLINE else [1.0, 20.0, 3.0, 90.0])
    history = same_history(pair, asked(6, users=(2, 9)), ["scores:score"])["score"].to_list()
    assert history == ([2.0, None] if mode == PushMode.ONLINE else [20.0, 90.0])


def test_on_demand_views_with_inputs_of_the_request(pair: Pair) -> None:
    request = RequestSource(name="offer", schema=[Field(name="bonus", dtype=Float64)])
    for store in pair:
        write_scores(folder(store), score=pa.array([1.0, 2.0, 3.0], pa.float64()))
        view = scores(folder(store), score=Float64)

        @on_demand_feature_view(  # type: ignore[untyped-decorator]
            sources=[view, request], schema=[Field(name="total", dtype=Float64)], mode="python", name="totals"
        )
        def totals(inputs: dict[str, Any]) -> dict[str, Any]:
            return {"total": [(s or 0) + b for s, b in zip(inputs["score"], inputs["bonus"], strict=True)]}

        store.apply([user, view, totals, FeatureService(name="all", features=[view, totals])])
        materialize(store)
    rows: dict[str, Any] = {"user_id": [-3, 1, 8], "bonus": [0.5, 1.0, 2.0]}
    assert same(pair, ["scores:score", "totals:total"], rows)["total"] == [3.5, 2.0, 2.0]
    for names in (False, True):
        stock, ours = (
            store.get_online_features(store.get_feature_service("all"), rows, full_feature_names=names).to_dict()
            for store in pair
        )
        assert ours == stock
    same_history(pair, asked(3, 4).assign(bonus=0.25), ["totals:total"])


# -- versions and precomputed vectors


def test_versions_of_a_view(versioned: Pair) -> None:
    """The first version keeps its rows when the view changes; each is read by its number."""
    for store in versioned:
        write_scores(folder(store), score=[1.0, 2.0, 3.0], label=["a", "b", "c"])
        store.apply([user, scores(folder(store), score=Float64)])
        materialize(store)
        write_scores(folder(store), score=[10.0, 20.0, 30.0], label=["x", "y", "z"])
        store.apply([user, scores(folder(store), score=Float64, label=String)])
    rows = {"user_id": [2, 1, 8]}
    for name in ("scores:score", "scores@v1:score", "scores@v1:label"):
        assert same(versioned, [name], rows)[name.partition(":")[2]] == [None] * 3
    assert same(versioned, ["scores@v0:score"], rows)["score"] == [2.0, 1.0, None]
    for store in versioned:
        store.materialize(datetime(2020, 1, 1, tzinfo=UTC), DAY + 24 * HOUR, feature_views=["scores"], version="v1")
    assert same(versioned, ["scores:score", "scores:label"], rows)["label"] == ["y", "x", None]
    both = ["scores@v0:score", "scores@v1:score", "scores@latest:label"]
    found = same(versioned, both, rows, full_feature_names=True, include_feature_view_version_metadata=True)
    assert found["scores@v0__score"] == [2.0, 1.0, None]
    assert found["scores@v1__score"] == [20.0, 10.0, None]
    stock, ours = (
        store.get_online_features(both, rows, full_feature_names=True, include_feature_view_version_metadata=True).proto
        for store in versioned
    )
    assert str(ours.metadata) == str(stock.metadata)


def test_versions_that_are_not_there_are_refused_alike(pair: Pair, versioned: Pair) -> None:
    for stores, name in ((pair, "scores@v0:score"), (versioned, "scores@v7:score")):
        said = set()
        for store in stores:
            write_scores(folder(store), score=[1.0, 2.0, 3.0])
            store.apply([user, scores(folder(store), score=Float64)])
            with pytest.raises(Exception, match="scores") as refused:
                store.get_online_features([name], {"user_id": [1]})
            said.add((refused.type, str(refused.value)))
        assert len(said) == 1


@pytest.mark.parametrize("full_names", [False, True])
def test_precomputed_vectors_of_a_service(pair: Pair, full_names: bool) -> None:
    """Feast keeps them as a view of its own making, with the features' names as they are asked for."""
    name = "scores__score" if full_names else "score"
    for store in pair:
        view = scores(folder(store), score=Float64)
        write_scores(folder(store), score=[1.0, 2.0, 3.0])
        store.apply([user, view, FeatureService(name="quick", features=[view], precompute_online=True)])
        online = store._get_provider().online_store
        kept = FeatureView(
            name="__precomputed__quick", entities=[], schema=[Field(name="vector", dtype=Bytes)], source=None
        )
        online.update(store.config, [], [kept], [], [], partial=True)
        for number in (1, 2):
            vector = PrecomputedFeatureVector(feature_names=[name], values=[Value(double_val=number / 2)])
            key = EntityKey(join_keys=["user_id"], entity_values=[Value(int64_val=number)])
            online.write_precomputed_vector(store.config, "quick", "pair", key, vector.SerializeToString())
    services = [store.get_feature_service("quick") for store in pair]
    answers = [
        store.get_online_features(service, {"user_id": [2, 1, 2]}, full_feature_names=full_names)
        for store, service in zip(pair, services, strict=True)
    ]
    assert answers[1].to_dict() == answers[0].to_dict() == {"user_id": [2, 1, 2], name: [1.0, 0.5, 1.0]}
    awaited = pair[1].get_online_features_async(services[1], {"user_id": [2]}, full_feature_names=full_names)
    assert asyncio.run(awaited).to_dict() == {"user_id": [2], name: [1.0]}
    for store, service in zip(pair, services, strict=True):
        with pytest.raises(RuntimeError, match="pre-computed vectors could not be read"):
            store.get_online_features(service, {"user_id": [7]}, full_feature_names=full_names)


# -- the odd types


def test_maps_structs_and_json(pair: Pair) -> None:
    struct = pa.struct([("a", pa.int64()), ("b", pa.string())])
    columns = {
        "json": pa.array(['{"a": 1}', "[]", None]),
        "map": pa.array(['{"k": "v"}', '{"l": 1, "m": [1]}', None]),
        "struct": pa.array([{"a": 1, "b": "x"}, {"a": 2, "b": ""}, None], struct),
        "words": pa.array([["p", "q"], ["r"], None]),
        "blobs": pa.array([[b"\x00", b""], [b"s"], None]),
    }
    kinds = {
        "json": Json,
        "map": Map,
        "struct": Struct({"a": Int64, "b": String}),
        "words": Array(String),
        "blobs": Array(Bytes),
    }
    names = [f"scores:{name}" for name in kinds]
    for store in pair:
        write_scores(folder(store), **columns)
        store.apply([user, scores(folder(store), **kinds)])
        materialize(store)
    found = same_history(pair, asked(0, 3), names)
    assert found.height == 6
    same(pair, names, {"user_id": [1, 2, -3, 8]})


def test_arrow_maps_have_a_history(pair: Pair) -> None:
    """Stock Feast cannot bring these online; ours does."""
    maps = [[("k", "v")], [("l", "w"), ("m", "")], None]
    for store in pair:
        write_scores(folder(store), map=pa.array(maps, pa.map_(pa.string(), pa.string())))
        store.apply([user, scores(folder(store), map=Map)])
    same_history(pair, asked(0, 3), ["scores:map"])
    materialize(pair[1])
    found = pair[1].get_online_features(["scores:map"], {"user_id": [1, 2, -3]}).to_dict()
    assert found["map"] == [{"k": "v"}, {"l": "w", "m": ""}, None]


# -- logs


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[Pair]:
    """Both, the stock offline store being dask: that of DuckDB cannot write logs to a folder that is not there."""
    with opened(tmp_path / "dask", "dask") as stores:
        yield stores


def log_rows(store: FeatureStore, service: FeatureService) -> pa.Table:
    """Logs of a served service with the schema that Feast gives them: a day each for two requests."""
    schema = FeatureServiceLoggingSource(service, store.project).get_schema(store.registry)
    days = [DAY, DAY + 24 * HOUR]
    rows = {
        "user_id": [1, 2],
        "scores__score": [0.5, None],
        "scores__score__timestamp": days,
        "scores__score__status": [2, 0],
        "scores__words": [["a", "b"], []],
        "scores__words__timestamp": days,
        "scores__words__status": [2, 2],
        LOG_TIMESTAMP_FIELD: days,
        LOG_DATE_FIELD: [day.date() for day in days],
        REQUEST_ID_FIELD: ["r0", "r1"],
    }
    return pa.table(rows, schema)


@pytest.mark.parametrize("partition_by", [None, [LOG_DATE_FIELD]], ids=["whole", "by day"])
def test_logged_features_are_written_and_read_back(dask: Pair, partition_by: list[str] | None) -> None:
    """From a table, and from the folder that a server spools to."""
    read, files = [], []
    for store in dask:
        view = scores(folder(store), score=Float64, words=Array(String))
        write_scores(folder(store), score=[1.0, 2.0, 3.0], words=[["a"], ["b"], ["c"]])
        destination = FileLoggingDestination(path=str(folder(store) / "logs"), partition_by=partition_by)
        store.apply(
            [user, view, FeatureService(name="served", features=[view], logging_config=LoggingConfig(destination))]
        )
        service = store.get_feature_service("served")
        rows = log_rows(store, service)
        spool = folder(store) / "spool"
        spool.mkdir()
        for number in range(2):
            pq.write_table(rows.slice(number, 1), spool / f"{number}.parquet")
        store.write_logged_features(rows, service)
        store.write_logged_features(spool, service)
        files.append(len(list((folder(store) / "logs").rglob("*.parquet"))))
        names = [name for name in rows.column_names if name not in (partition_by or ())]
        assert service.logging_config is not None
        job = store._get_provider().offline_store.pull_all_from_table_or_query(
            store.config,
            service.logging_config.destination.to_data_source(),
            join_key_columns=[],
            feature_name_columns=[name for name in names if name != LOG_TIMESTAMP_FIELD],
            timestamp_field=LOG_TIMESTAMP_FIELD,
            start_date=DAY,
            end_date=DAY + 24 * HOUR,
        )
        read.append(pl.DataFrame(job.to_arrow()).select(sorted(names)).sort(REQUEST_ID_FIELD))
    assert_frame_equal(read[1], read[0], check_dtypes=False)
    assert read[1][REQUEST_ID_FIELD].to_list() == ["r0", "r0", "r1", "r1"]
    assert files[1] == (4 if partition_by else 2)
