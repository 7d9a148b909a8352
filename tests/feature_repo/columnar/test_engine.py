"""The batch engine: streamed, repeatable, and Feast's own where it has to be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from feast import FeatureStore
from feast.feature_view import FeatureViewState

from feature_repo.columnar.engine import ColumnarEngine
from feature_repo.columnar.online import ColumnarOnlineStore
from tests.feature_repo.columnar.pair import DAY, OURS, STOCK, Repo, materialize, open_store

pytestmark = pytest.mark.filterwarnings("ignore:On demand feature view is an experimental feature")

COLUMNS = ["kinds:text", "kinds:vector"]
IDS = {"content_id": ["c0", "c1", "c2", "c3"]}


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    """The files, and the objects over them."""
    made = Repo(tmp_path)
    made.write()
    return made


@pytest.fixture
def store(repo: Repo) -> Iterator[FeatureStore]:
    """Applied, with nothing online."""
    opened = open_store(repo.folder, OURS)
    opened.apply(repo.objects())
    yield opened
    asyncio.run(opened._get_provider().online_store.close())


def test_batches_are_bounded_and_the_progress_is_told(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    write = ColumnarOnlineStore.write_arrow

    def watched(self: ColumnarOnlineStore, config: Any, view: Any, batch: pa.RecordBatch) -> int:
        sizes.append(batch.num_rows)
        return write(self, config, view, batch)

    monkeypatch.setattr(ColumnarOnlineStore, "write_arrow", watched)
    materialize(store, ["kinds"])
    assert max(sizes) <= 3 < sum(sizes) == 4  # `batch_rows` is 3
    assert store.get_online_features(COLUMNS, IDS).to_dict()["text"] == ["", "zwei", "drei ☃", None]


def test_an_interrupted_run_is_mended_by_the_next(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write = ColumnarOnlineStore.write_arrow
    calls = []

    def failing(self: ColumnarOnlineStore, config: Any, view: Any, batch: pa.RecordBatch) -> int:
        calls.append(batch.num_rows)
        if len(calls) == 2:
            raise OSError("the disk went away")
        return write(self, config, view, batch)

    monkeypatch.setattr(ColumnarOnlineStore, "write_arrow", failing)
    with pytest.raises(OSError, match="the disk went away"):
        materialize(store, ["kinds"])
    assert store.get_feature_view("kinds").state != FeatureViewState.MATERIALIZING
    materialize(store, ["kinds"])
    assert store.get_online_features(["kinds:i64"], IDS).to_dict()["i64"] == [1, -2, 2**50, None]


def test_only_the_newest_row_of_a_key_goes_online(store: FeatureStore) -> None:
    materialize(store, ["history"])
    found = store.get_online_features(["history:views", "history:likes"], [{"content_id": "c1", "user_id": -8}])
    assert found.to_dict()["views"] == [5.0]  # of two with one event time, the one created later
    assert store.get_feature_view("history").materialization_intervals[-1][1] == DAY + timedelta(days=1)


def test_an_older_range_leaves_newer_rows_alone(store: FeatureStore) -> None:
    materialize(store, ["history"])
    store.materialize(datetime(2020, 1, 1, tzinfo=UTC), DAY + timedelta(minutes=30), feature_views=["history"])
    found = store.get_online_features(["history:views"], [{"content_id": "c0", "user_id": 7}])
    assert found.to_dict()["views"] == [3.0]


def test_with_a_stock_online_store_it_is_the_local_engine(repo: Repo) -> None:
    engine = {"batch_engine": OURS["batch_engine"]}
    mixed = open_store(repo.folder / "mixed", {**STOCK, **engine})
    mixed.apply(repo.objects())
    provider: Any = mixed._get_provider()
    assert isinstance(provider.batch_engine, ColumnarEngine)
    materialize(mixed)
    assert mixed.get_online_features(COLUMNS, IDS).to_dict()["text"] == ["", "zwei", "drei ☃", None]


def test_views_that_need_more_than_their_source_are_left_to_the_local_engine(
    store: FeatureStore, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> int:
        raise AssertionError("streamed")

    monkeypatch.setattr(ColumnarOnlineStore, "write_arrow", refused)
    with pytest.raises(AssertionError, match="streamed"):
        materialize(store, ["history"])
    checked = repo.history()
    checked.enable_validation = True
    store.apply([checked])
    materialize(store, ["history"])
    found = store.get_online_features(["history:views"], [{"content_id": "c0", "user_id": 7}])
    assert found.to_dict()["views"] == [3.0]
