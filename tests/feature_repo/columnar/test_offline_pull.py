"""Pulls from one source, materialisation over them, saved datasets, and writes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore, FileSource
from feast.errors import FeastJoinKeysDuringMaterialization, SavedDatasetLocationAlreadyExists
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination, SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import RetrievalJob
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from feature_repo.columnar.job import PolarsRetrievalJob
from feature_repo.columnar.offline import PolarsOfflineStore
from feature_repo.columnar.pulls import Pull, regroup
from feature_repo.columnar.sources import ParquetSource
from feature_repo.errors import InputError
from tests.feature_repo.columnar.shop import DAY, HOUR, OURS, hours, open_store, write_sources

pytestmark = [
    pytest.mark.filterwarnings("ignore:On demand feature view is an experimental feature"),
    pytest.mark.filterwarnings("ignore:(Saving dataset|Retrieving datasets) is an experimental feature"),
]

END = DAY + timedelta(days=9)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_sources(tmp_path)
    return tmp_path


@pytest.fixture
def store(folder: Path) -> FeatureStore:
    return open_store(folder, OURS)


def pull(
    store: FeatureStore,
    view: str,
    keys: list[str],
    values: list[str],
    start: datetime = DAY,
    end: datetime = END,
    latest: bool = True,
) -> PolarsRetrievalJob:
    source = store.get_feature_view(view).batch_source
    assert source
    times = source.timestamp_field if view != "items" else "happened"
    created = source.created_timestamp_column or None
    run = (
        PolarsOfflineStore.pull_latest_from_table_or_query
        if latest
        else PolarsOfflineStore.pull_all_from_table_or_query
    )
    return run(store.config, source, keys, values, times, created, start, end)


def historical(store: FeatureStore, frame: Any, features: list[str]) -> PolarsRetrievalJob:
    job = store.get_historical_features(frame, features)
    assert isinstance(job, PolarsRetrievalJob)
    return job


def test_latest_of_each_key(store: FeatureStore) -> None:
    """The created time breaks ties; both ends of the range count."""
    assert pull(store, "users", ["user_id"], ["visits"]).to_polars().sort("user_id").rows() == [
        (1, 12, DAY + 2 * HOUR, DAY + 4 * HOUR),
        (2, 20, DAY + HOUR, DAY + HOUR),
        (3, 30, DAY + 30 * HOUR, DAY + 30 * HOUR),
    ]
    assert pull(store, "users", ["user_id"], ["visits"], DAY, DAY).to_polars()["visits"].to_list() == [10]
    assert pull(store, "users", ["user_id"], ["visits"], DAY + HOUR, DAY + HOUR).to_polars()["visits"].to_list() == [20]
    composite = pull(store, "pairs", ["user_id", "item_id"], ["clicks"]).to_polars()
    assert sorted(composite["clicks"].to_list()) == [1, 2, 3]


def test_all_rows_in_a_range(store: FeatureStore) -> None:
    found = pull(store, "users", ["user_id"], ["visits"], DAY + HOUR, DAY + 2 * HOUR, latest=False).to_polars()
    assert found["visits"].to_list() == [11, 20, 12]


def test_nothing_in_the_range(store: FeatureStore) -> None:
    job = pull(store, "items", ["raw_id"], ["raw_price", "vector"], END, END)
    assert job.to_arrow().num_rows == 0
    assert list(job.to_arrow_batches()) == []
    assert job.to_df().columns.tolist() == ["raw_id", "raw_price", "vector", "happened"]


def test_no_keys_give_the_dummy_key(store: FeatureStore) -> None:
    assert pull(store, "shop", [], ["load"]).to_polars().rows() == [(0.75, DAY + 4 * HOUR, "")]
    assert pull(store, "shop", [], ["load"], latest=False).to_polars()["__dummy_id"].to_list() == ["", ""]


def test_no_values_give_all_columns(store: FeatureStore) -> None:
    assert set(pull(store, "users", ["user_id"], []).to_arrow().column_names) == {
        "user_id", "event_timestamp", "created", "visits", "mood",
    }  # fmt: skip


def test_wrong_columns(store: FeatureStore) -> None:
    with pytest.raises(FeastJoinKeysDuringMaterialization, match="nobody_id"):
        pull(store, "users", ["nobody_id"], ["visits"])
    with pytest.raises(InputError, match="no column 'vists'; there are: user_id"):
        pull(store, "users", ["user_id"], ["vists"])


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_batches(store: FeatureStore, size: int) -> None:
    job = pull(store, "items", ["raw_id"], ["vector"], latest=False)
    batches = list(job.to_arrow_batches(size))
    assert [batch.num_rows for batch in batches] == [size] * (3 // size) + ([3 % size] if 3 % size else [])
    assert_frame_equal(pl.DataFrame(pa.Table.from_batches(batches)), job.to_polars())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 7)), st.integers(1, 5))
def test_regrouping_keeps_every_row(sizes: list[int], rows: int) -> None:
    numbers: Iterator[int] = iter(range(10_000))
    batches = [pa.record_batch({"n": pa.array([next(numbers) for _ in range(size)], pa.int64())}) for size in sizes]
    found = [batch["n"].to_pylist() for batch in regroup(batches, rows)]
    assert [n for part in found for n in part] == list(range(sum(sizes)))
    assert all(len(part) == rows for part in found[:-1])
    assert all(found)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from(["a", "b", None]), *[st.none() | st.integers(-3, 3)] * 2), max_size=20),
    data=st.data(),
)
def test_latest_agrees_with_the_oracle(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("latest") / "rows.parquet"
    columns = {
        "k": pl.Series([r[0] for r in rows], dtype=pl.String),
        "at": hours(*(r[1] for r in rows)),
        "made": hours(*(r[2] for r in rows)),
    }
    group = data.draw(st.integers(1, 5))
    pl.DataFrame(columns).with_row_index("n").write_parquet(path, row_group_size=group)
    start, end = data.draw(st.integers(-3, 0)), data.draw(st.integers(0, 3))
    best: dict[str, tuple[Any, int]] = {}
    for number, (key, at, made) in enumerate(rows):
        rank = (at, made is not None, made, number)
        if key is not None and at is not None and start <= at <= end and (key not in best or rank > best[key][0]):
            best[key] = rank, number
    source = ParquetSource.at(str(path), None)
    found = Pull(source, ["k"], ["n"], "at", "made", DAY + start * HOUR, DAY + end * HOUR, latest=True).frame()
    assert dict(zip(found["k"], found["n"], strict=True)) == {key: number for key, (_, number) in best.items()}


def test_materialize_agrees_with_stock(folder: Path, store: FeatureStore) -> None:
    """The same definitions and commands over stock dask and ours, both into stock SQLite."""
    stock = open_store(folder, "dask")
    features = ["users:visits", "users:mood", "items:price", "items:vector", "pairs:clicks", "shop:load"]
    asked = [{"user_id": 1, "item_id": "x"}, {"user_id": 2, "item_id": "y"}, {"user_id": 3, "item_id": "x"}]
    answers = []
    for each in (stock, store):
        each.materialize(DAY, END)
        answers.append(each.get_online_features(features, asked).to_dict())
    assert answers[0] == answers[1]
    assert answers[1]["vector"] == [[5, 6], [3, 4], [5, 6]]


def test_saved_datasets(store: FeatureStore, folder: Path) -> None:
    frame = pl.DataFrame(
        {"user_id": [1, 2], "item_id": ["x", "y"], "event_timestamp": hours(3, 1), "discount": [0.5, 0.5]}
    )
    features = ["users:visits", "items:vector", "offers:final"]
    for place in ("saved.parquet", "saved"):
        storage = SavedDatasetFileStorage(path=str(folder / place))
        job = historical(store, frame, features)
        store.create_saved_dataset(job, place, storage)
        again = store.get_saved_dataset(place).to_df()
        assert again["visits"].tolist() == [12, 20]
        assert again["final"].tolist() == [0.75, 1.25]
        with pytest.raises(SavedDatasetLocationAlreadyExists):
            job.persist(storage)
        historical(store, frame.head(1), features).persist(storage, allow_overwrite=True)
        assert store.get_saved_dataset(place).to_df()["visits"].tolist() == [12]
    assert not list(folder.glob(".writing-*"))


def test_a_stream_is_saved_as_it_comes(store: FeatureStore, folder: Path) -> None:
    job = pull(store, "items", ["raw_id"], ["vector"])
    job.persist(SavedDatasetFileStorage(path="rows.parquet"))
    assert store.config.repo_path
    assert_frame_equal(pl.read_parquet(store.config.repo_path / "rows.parquet"), job.to_polars())


def test_a_failed_save_leaves_what_was_there(store: FeatureStore, folder: Path) -> None:
    path = folder / "kept.parquet"
    path.write_bytes(b"before")
    job = pull(store, "items", ["raw_id"], ["vector"])
    for file in (folder / "items").iterdir():
        file.write_bytes(file.read_bytes()[:64])
    with pytest.raises((OSError, pa.ArrowInvalid, pl.exceptions.PolarsError)):
        job.persist(SavedDatasetFileStorage(path=str(path)), allow_overwrite=True)
    assert path.read_bytes() == b"before"
    assert not list(folder.glob(".writing-*"))


def test_write_to_offline_store(store: FeatureStore, folder: Path) -> None:
    """A file is rewritten with the new rows at its end; beside a glob's files there is one more."""
    users = {"user_id": [1], "event_timestamp": hours(2), "created": hours(4), "visits": [99], "mood": ["z"]}
    store.write_to_offline_store("users", pl.DataFrame(users).to_pandas())
    assert pq.read_table(folder / "users.parquet").num_rows == 6
    frame = pl.DataFrame({"user_id": [1], "event_timestamp": hours(9)})
    assert historical(store, frame, ["users:visits"]).to_df()["visits"].tolist() == [99]
    items = pl.DataFrame(
        {"raw_id": ["new"], "happened": hours(1).dt.replace_time_zone(None), "raw_price": [9.5], "vector": [[7.0, 8.0]]}
    )
    PolarsOfflineStore.offline_write_batch(store.config, store.get_feature_view("items"), items.to_arrow(), None)
    assert len(list((folder / "items").glob("*.parquet"))) == 3
    frame = pl.DataFrame({"item_id": ["new"], "event_timestamp": hours(9)})
    assert historical(store, frame, ["items:price", "items:vector"]).to_polars().rows()[0][2:] == (
        9.5,
        [7.0, 8.0],
    )


def test_rows_of_other_columns_are_refused(store: FeatureStore) -> None:
    table = pa.table({"user_id": [1]})
    with pytest.raises(InputError, match=r"columns \['user_id', 'event_timestamp'.* are wanted, not \['user_id'\]"):
        PolarsOfflineStore.offline_write_batch(store.config, store.get_feature_view("users"), table, None)


@pytest.mark.parametrize("partition_by", [None, ["served"]])
def test_logged_features(store: FeatureStore, folder: Path, partition_by: list[str] | None) -> None:
    destination = FileLoggingDestination(path=str(folder / "logs"), partition_by=partition_by)
    config = LoggingConfig(destination=destination)
    logs = pa.table({"user_id": [1, 2], "served": ["a", "b"], "__log_timestamp": hours(1, 2).to_arrow()})
    (folder / "spool").mkdir()
    pq.write_table(logs, folder / "spool" / "0.parquet")
    source: Any = None
    for data in (logs, folder / "spool"):
        PolarsOfflineStore.write_logged_features(store.config, data, source, config, store.registry)
    job: RetrievalJob = PolarsOfflineStore.pull_all_from_table_or_query(
        store.config, destination.to_data_source(), [], ["user_id", "served"], "__log_timestamp", None, DAY, END
    )
    found = pl.DataFrame(job.to_arrow()).sort("user_id").select("user_id", "served")
    assert found.rows() == [(1, "a"), (1, "a"), (2, "b"), (2, "b")]
    assert len(list((folder / "logs").rglob("*.parquet"))) == (4 if partition_by else 2)


def test_columns_of_a_source(store: FeatureStore, folder: Path) -> None:
    source = FileSource(path=str(folder / "items/*.parquet"), timestamp_field="happened")
    found = dict(PolarsOfflineStore().get_table_column_names_and_types_from_data_source(store.config, source))
    assert found["happened"] == "timestamp[us]"
    assert list(found) == ["raw_id", "happened", "raw_price", "vector"]
