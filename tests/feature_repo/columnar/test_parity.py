"""What one does with Feast in a shell or a notebook, side by side with stock SQLite and the columnar stores."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from feast import FeatureStore
from feast.data_source import PushMode
from feast.feature_server import get_app
from feast.online_response import OnlineResponse
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float64, String

from feature_repo.columnar.response import ColumnarOnlineResponse
from feature_repo.columnar.storage import Environment
from tests.feature_repo.columnar.pair import DAY, FIELDS, OURS, STOCK, Repo, kinds_table, materialize, open_store

pytestmark = pytest.mark.filterwarnings("ignore:On demand feature view is an experimental feature")

KINDS = [f"kinds:{name}" for name in FIELDS]
HISTORY = ["history:views", "history:likes"]
ROWS = [
    {"content_id": content, "user_id": user}
    for content, user in [("c1", -8), ("c0", 7), ("nobody", 7), ("c3", 1), ("c2", 7), ("c1", -8)]
]
Pair = tuple[FeatureStore, FeatureStore]
_seen: list[Any] = []  # Feast takes a registry at the address of a freed one for the same: none may be freed


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both stores, applied and materialized; read only."""
    with _opened(tmp_path_factory.mktemp("pair")) as stores:
        yield stores


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Pair]:
    """Both stores, applied and materialized, for one test to change."""
    with _opened(tmp_path) as stores:
        yield stores


@contextmanager
def _opened(folder: Path) -> Iterator[Pair]:
    repo = Repo(folder)
    repo.write()
    stores = open_store(folder / "stock", STOCK), open_store(folder / "ours", OURS)
    for store in stores:
        store.apply(repo.objects())
        materialize(store)
    yield stores
    asyncio.run(stores[1]._get_provider().online_store.close())


def same(pair: Pair, features: Any, rows: Any = ROWS, **options: Any) -> OnlineResponse:
    """Assert that both answer alike in every form; returns ours."""
    stock, ours = (store.get_online_features(features, rows, **options) for store in pair)
    _seen.extend(getattr(store.registry, "cached_registry_proto") for store in pair)  # noqa: B009
    for timestamps in (False, True):
        assert ours.to_dict(timestamps) == stock.to_dict(timestamps)
        assert [repr(v) for v in ours.to_dict(timestamps).values()] == [
            repr(v) for v in stock.to_dict(timestamps).values()
        ]
        pd.testing.assert_frame_equal(ours.to_df(timestamps), stock.to_df(timestamps))
    assert without_nanos(ours) == without_nanos(stock)
    return ours


def without_nanos(response: OnlineResponse) -> str:
    """The protobuf as text; stock SQLite keeps whole seconds only."""
    for result in response.proto.results:
        for stamp in result.event_timestamps:
            stamp.nanos = 0
    return str(response.proto)


@pytest.mark.parametrize("full_names", [False, True])
@pytest.mark.parametrize("features", [KINDS, HISTORY, KINDS[:3] + HISTORY], ids=["kinds", "history", "both"])
def test_answers_are_alike_in_every_form(pair: Pair, features: list[str], full_names: bool) -> None:
    response = same(pair, features, full_feature_names=full_names)
    assert isinstance(response, ColumnarOnlineResponse)


@pytest.mark.parametrize("full_names", [False, True])
def test_feature_services_and_their_aliases(pair: Pair, full_names: bool) -> None:
    stock, ours = (
        store.get_online_features(store.get_feature_service("both"), ROWS, full_feature_names=full_names)
        for store in pair
    )
    assert isinstance(ours, ColumnarOnlineResponse)
    assert ours.to_dict() == stock.to_dict()
    assert without_nanos(ours) == without_nanos(stock)


def test_on_demand_views(pair: Pair) -> None:
    same(pair, ["doubled:twice", "kinds:text"])


def test_entities_as_columns_and_versions_in_the_metadata(pair: Pair) -> None:
    columns = {"content_id": ["c0", "nobody"], "user_id": [7, 7], "unknown": [1, 2]}
    same(pair, HISTORY + KINDS[:2], columns, include_feature_view_version_metadata=True)


def test_async(pair: Pair) -> None:
    stock = pair[0].get_online_features(KINDS, ROWS).to_dict()
    assert asyncio.run(pair[1].get_online_features_async(KINDS, ROWS)).to_dict() == stock


def test_online_read(pair: Pair) -> None:
    asked = [
        EntityKey(join_keys=["user_id", "content_id"], entity_values=[Value(int64_val=user), Value(string_val="c0")])
        for user in (7, 8)
    ]
    stock, ours = (
        store._get_provider().online_read(store.config, store.get_feature_view("history"), asked, ["views"])
        for store in pair
    )
    assert ours == [(time, row and {"views": row["views"]}) for time, row in stock]  # SQLite reads all features


def test_arrow_has_the_declared_types(pair: Pair) -> None:
    table = pair[1].get_online_features(["kinds:f32", "kinds:vector", "kinds:moment"], ROWS).to_arrow()
    assert table.schema.field("f32").type == pa.float32()
    assert table.schema.field("vector").type == pa.list_(pa.float32(), 2)
    stock = pair[0].get_online_features(["kinds:f32", "kinds:vector", "kinds:moment"], ROWS).to_arrow()
    assert table.to_pydict() == stock.to_pydict()


def test_the_feature_server_answers_alike(pair: Pair) -> None:
    request = {"features": KINDS[:3], "entities": {"content_id": ["c0", "nobody"]}}
    stock, ours = (TestClient(get_app(store)).post("/get-online-features", json=request) for store in pair)
    assert ours.status_code == 200
    assert ours.json() == stock.json()


def test_writes_of_every_kind(fresh: Pair) -> None:
    later = kinds_table().slice(0, 2).to_pandas()
    later["event_timestamp"] = DAY + timedelta(days=2)
    later["text"] = ["pushed", "pushed too"]
    for store in fresh:
        store.push("kinds_push", later, to=PushMode.ONLINE)
    assert same(fresh, KINDS).to_dict()["text"][0] == "pushed too"
    later["content_id"] = ["new", "c3"]
    later["event_timestamp"] = DAY + timedelta(days=3)
    for store in fresh:
        store.write_to_online_store("kinds", later)
    same(fresh, KINDS, {"content_id": ["new", "c3", "c0"]})
    later["text"] = "awaited"
    fresh[0].write_to_online_store("kinds", later)
    asyncio.run(fresh[1].write_to_online_store_async("kinds", later))
    same(fresh, KINDS, {"content_id": ["new", "c3", "c0"]})


def test_materialize_incremental_and_again(fresh: Pair) -> None:
    for store in fresh:
        store.materialize_incremental(DAY + timedelta(days=4))
        materialize(store)
    same(fresh, KINDS + HISTORY)


def test_views_added_changed_and_removed(fresh: Pair, tmp_path: Path) -> None:
    slim = Repo(tmp_path, kinds_fields={"text": String, "f32": String, "f64": Float64})
    for store in fresh:
        store.apply(slim.objects(), objects_to_delete=[store.get_feature_service("both")], partial=False)
    ours = fresh[1].get_online_features(["kinds:text", "kinds:f32", "kinds:f64"], ROWS).to_dict()
    stock = fresh[0].get_online_features(["kinds:text", "kinds:f64"], ROWS).to_dict()
    assert (ours["text"], ours["f64"]) == (stock["text"], stock["f64"])
    assert ours["f32"] == [None] * len(ROWS)  # of another type now: null until it is written again
    for store in fresh:
        materialize(store)
    same(fresh, ["kinds:text", "kinds:f32", "kinds:f64", *HISTORY])
    for store in fresh:
        store.apply([], objects_to_delete=[store.get_on_demand_feature_view("doubled")], partial=False)
        store.apply([], objects_to_delete=[store.get_feature_view("history")], partial=False)
        with pytest.raises(Exception, match="history"):
            store.get_online_features(HISTORY, ROWS)
    same(fresh, ["kinds:text"])


def test_teardown_drops_the_tables_of_the_project(fresh: Pair, tmp_path: Path) -> None:
    for store in fresh:
        store._get_provider().teardown_infra("pair", [], [])
    assert not (tmp_path / "stock" / "online.db").exists()
    with Environment(tmp_path / "ours" / "online") as environment:
        assert environment.tables() == []
