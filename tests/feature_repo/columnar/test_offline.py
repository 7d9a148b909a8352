"""`get_historical_features`: against Feast's DuckDB store where that is right, and where stock stores are not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from feast import FeatureService, FeatureStore
from feast.errors import EntityTimestampInferenceException, FeastEntityDFMissingColumnsError
from polars.testing import assert_frame_equal

from feature_repo.columnar.job import PolarsRetrievalJob
from feature_repo.errors import InputError
from tests.feature_repo.columnar.shop import DAY, HOUR, OURS, hours, open_store, write_sources

pytestmark = pytest.mark.filterwarnings("ignore:On demand feature view is an experimental feature")

ALL = ["users:visits", "users:mood", "items:price", "items:vector", "pairs:clicks"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("shop")
    write_sources(made)
    return made


@pytest.fixture(scope="module")
def store(folder: Path) -> FeatureStore:
    return open_store(folder, OURS)


@pytest.fixture(scope="module")
def stock(folder: Path) -> FeatureStore:
    return open_store(folder, "duckdb")


def entities(**more: Any) -> pl.DataFrame:
    """Rows out of order, one of them twice, one about nobody; labels that tell them apart."""
    frame = pl.DataFrame(
        {
            "user_id": [2, 1, 1, 9, 1, 1],
            "item_id": ["x", "y", "x", "x", "y", "x"],
            "event_timestamp": hours(6, 2, 0, 3, 2, 5),
            "label": [0, 1, 2, 3, 4, 5],
        }
    )
    return frame.with_columns(**more)


def job_of(store: FeatureStore, frame: Any, features: Any, **options: Any) -> PolarsRetrievalJob:
    job = store.get_historical_features(frame, features, **options)
    assert isinstance(job, PolarsRetrievalJob)
    return job


def ask(store: FeatureStore, frame: Any, features: Any, **options: Any) -> pl.DataFrame:
    return job_of(store, frame, features, **options).to_polars()


@pytest.mark.parametrize("full_names", [False, True])
def test_agrees_with_duckdb(store: FeatureStore, stock: FeatureStore, full_names: bool) -> None:
    for features in (ALL, store.get_feature_service("all")):
        frame = entities().to_pandas()
        theirs = stock.get_historical_features(frame, features, full_feature_names=full_names).to_arrow()
        ours = store.get_historical_features(frame, features, full_feature_names=full_names).to_arrow()
        assert ours.column_names == theirs.column_names
        expected = pl.DataFrame(theirs).sort("label")
        assert_frame_equal(pl.DataFrame(ours), expected, check_dtypes=False)


def test_every_row_comes_back_once_in_its_order(store: FeatureStore) -> None:
    """Stock dask drops rows with equal keys and times though their labels differ; dask and DuckDB reorder."""
    found = ask(store, entities(), ALL)
    assert_frame_equal(found.select(entities().columns), entities())
    assert found["visits"].to_list() == [20, 12, 10, None, 12, 12]
    assert found["price"].to_list() == [3.5, 2.5, 1.5, 1.5, 2.5, 3.5]
    assert found["vector"].to_list() == [[5, 6], [3, 4], [1, 2], [1, 2], [3, 4], [5, 6]]
    assert found["clicks"].to_list() == [3, 2, 1, None, 2, 1]


MAKE: dict[str, Callable[[pl.DataFrame, Path], Any]] = {
    "pandas": lambda frame, _: frame.to_pandas(),
    "polars": lambda frame, _: frame,
    "lazy": lambda frame, _: frame.lazy(),
    "arrow": lambda frame, _: frame.to_arrow(),
    "path": lambda frame, folder: _written(frame, folder / "entities with spaces.parquet"),
    "text path": lambda frame, folder: str(_written(frame, folder / "more.parquet")),
}


def _written(frame: pl.DataFrame, path: Path) -> Path:
    frame.write_parquet(path)
    return path


@pytest.mark.parametrize("kind", MAKE)
def test_entities_of_every_kind(store: FeatureStore, tmp_path: Path, kind: str) -> None:
    expected = ask(store, entities(), ALL)
    assert_frame_equal(ask(store, MAKE[kind](entities(), tmp_path), ALL), expected, check_dtypes=False)


@pytest.mark.parametrize("kind", MAKE)
def test_empty_entities(store: FeatureStore, tmp_path: Path, kind: str) -> None:
    found = ask(store, MAKE[kind](entities().clear(), tmp_path), ALL)
    assert found.height == 0
    assert found.columns == [*entities().columns, "visits", "mood", "price", "vector", "clicks"]


def test_times_in_any_zone(store: FeatureStore) -> None:
    """A naive time is UTC; another zone is the same instant; text is parsed; the answer is in UTC."""
    expected = ask(store, entities(), ALL)
    time = pl.col("event_timestamp")
    for moved in (
        time.dt.replace_time_zone(None),
        time.dt.convert_time_zone("Asia/Kathmandu"),
        time.dt.strftime("%Y-%m-%dT%H:%M:%S%z"),
        time.dt.cast_time_unit("ns"),
        time.dt.cast_time_unit("ms"),
    ):
        found = ask(store, entities().with_columns(moved), ALL)
        assert_frame_equal(found.with_columns(time.dt.cast_time_unit("us")), expected)


def test_mixed_pandas_times(store: FeatureStore) -> None:
    times = [pd.Timestamp("2026-03-01T05:45:00+05:45"), pd.Timestamp("2026-03-01T02:00:00+00:00")]
    frame = pd.DataFrame({"user_id": [1, 1], "event_timestamp": pd.Series(times, dtype=object)})
    assert ask(store, frame, ["users:visits"])["visits"].to_list() == [10, 12]


def test_nulls_match_nothing(store: FeatureStore) -> None:
    frame = entities(user_id=pl.Series([2, None, 1, 9, 1, 1]), event_timestamp=hours(6, 2, None, 3, 2, 5))
    found = ask(store, frame, ALL)
    assert_frame_equal(found.select(frame.columns), frame)
    assert found["visits"].to_list() == [20, None, None, None, 12, 12]
    assert found["clicks"].to_list() == [3, None, None, None, 2, 1]
    assert found["price"].to_list() == [3.5, 2.5, None, 1.5, 2.5, 3.5]
    assert found["vector"].to_list() == [[5, 6], [3, 4], None, [1, 2], [3, 4], [5, 6]]
    as_floats = ask(store, frame.to_pandas(), ALL)
    assert as_floats["visits"].to_list() == found["visits"].to_list()
    nobody = frame.with_columns(user_id=pl.lit(None), event_timestamp=pl.lit(None))
    assert ask(store, nobody, ALL).select("visits", "vector", "clicks").null_count().row(0) == (nobody.height,) * 3


def test_ttl_counts_both_ends(store: FeatureStore) -> None:
    moments = [DAY + HOUR, DAY + 25 * HOUR, DAY + 25 * HOUR + timedelta(microseconds=1)]
    frame = pl.DataFrame({"user_id": [2, 2, 2], "event_timestamp": moments})
    assert ask(store, frame, ["users:visits"])["visits"].to_list() == [20, 20, None]


def test_rows_not_yet_created_can_be_left_out(store: FeatureStore, stock: FeatureStore) -> None:
    frame = pl.DataFrame({"user_id": [1, 1, 1, 1], "event_timestamp": hours(1, 2, 3, 4)})
    for source in (store, stock):
        job = source.get_historical_features(frame.to_pandas(), ["users:visits"], filter_by_created_timestamp=True)
        assert job.to_df().sort_values("event_timestamp")["visits"].tolist() == [10, 10, 11, 12]


def test_a_view_about_nothing_in_particular(store: FeatureStore) -> None:
    found = ask(store, entities(), ["shop:load", "users:visits"])
    assert found["load"].to_list() == [0.75, 0.25, 0.25, 0.25, 0.25, 0.75]


def test_one_view_under_two_names(store: FeatureStore) -> None:
    items = store.get_feature_view("items")
    bought = items.with_name("bought").with_join_key_map({"item_id": "bought_id"})[["price"]]
    seen = items.with_name("seen").with_join_key_map({"item_id": "seen_id"})[["price"]]
    frame = pl.DataFrame({"bought_id": ["x", "y"], "seen_id": ["y", "x"], "event_timestamp": hours(3, 6)})
    store.apply(FeatureService(name="both", features=[bought, seen]))
    service = store.get_feature_service("both")
    found = ask(store, frame, service, full_feature_names=True)
    assert found.select("bought__price", "seen__price").rows() == [(1.5, 2.5), (2.5, 3.5)]


@pytest.mark.parametrize("full_names", [False, True])
def test_on_demand_features(store: FeatureStore, stock: FeatureStore, full_names: bool) -> None:
    frame = entities(discount=pl.lit(0.5))
    features = ["offers:final", "users:visits"]
    job = job_of(store, frame.to_pandas(), features, full_feature_names=full_names)
    name = "offers__final" if full_names else "final"
    assert job.to_polars()[name].to_list() == [1.75, 1.25, 0.75, 0.75, 1.25, 1.75]
    batches = list(job.to_arrow_batches(4))
    assert [batch.num_rows for batch in batches] == [4, 2]
    assert pa.Table.from_batches(batches).equals(job.to_arrow())
    theirs = stock.get_historical_features(frame.to_pandas(), features, full_feature_names=full_names).to_df()
    pd.testing.assert_frame_equal(
        job.to_df()[theirs.columns.tolist()], theirs.sort_values("label").reset_index(drop=True), check_dtype=False
    )


def test_a_range_of_time_instead_of_entities(store: FeatureStore) -> None:
    job = job_of(store, None, ["users:visits", "pairs:clicks"], start_date=DAY, end_date=DAY + 2 * HOUR)
    assert job.to_df()["visits"].tolist()
    rows = job.to_polars().select("event_timestamp", "user_id", "item_id", "visits", "clicks").rows()
    assert rows == [
        (DAY, 1, None, 10, None),
        (DAY, 1, "x", 10, 1),
        (DAY, 1, "y", 10, 2),
        (DAY + HOUR, 2, None, 20, None),
        (DAY + 2 * HOUR, 1, None, 12, None),
    ]
    assert job.metadata
    assert job.metadata.min_event_timestamp == DAY
    load = store.get_historical_features(None, ["shop:load"], start_date=DAY, end_date=DAY + HOUR).to_df()
    assert load["load"].tolist() == [0.25]


def test_arrow_types_are_those_of_stock_stores(store: FeatureStore, stock: FeatureStore) -> None:
    frame = entities().to_pandas()
    ours = store.get_historical_features(frame, ALL).to_arrow().schema
    theirs = stock.get_historical_features(frame, ALL).to_arrow().schema
    times = "event_timestamp"
    assert {f.name: f.type for f in ours if f.name != times} == {f.name: f.type for f in theirs if f.name != times}
    assert ours.field(times).type.tz == "UTC"


def test_metadata(store: FeatureStore) -> None:
    metadata = job_of(store, entities(), ALL).metadata
    assert metadata
    assert metadata.features == ALL
    assert metadata.keys == ["user_id", "item_id", "label"]
    assert (metadata.min_event_timestamp, metadata.max_event_timestamp) == (DAY, DAY + 6 * HOUR)
    assert metadata.min_event_timestamp
    assert metadata.min_event_timestamp.tzinfo == UTC


def test_the_entity_frame_is_left_as_it_was(store: FeatureStore) -> None:
    frame = entities().to_pandas()
    before = frame.copy(deep=True)
    store.get_historical_features(frame, ALL).to_df()
    pd.testing.assert_frame_equal(frame, before)


def test_no_sql(store: FeatureStore) -> None:
    with pytest.raises(InputError, match="no Parquet at 'SELECT 1 AS one', and PolarsOfflineStore runs no SQL"):
        job_of(store, "SELECT 1 AS one", ALL)
    with pytest.raises(NotImplementedError, match="no statement to show"):
        job_of(store, entities(), ALL).to_sql()


def test_entities_that_cannot_be_used(store: FeatureStore) -> None:
    with pytest.raises(FeastEntityDFMissingColumnsError, match="item_id"):
        job_of(store, entities().drop("item_id"), ALL)
    with pytest.raises(EntityTimestampInferenceException):
        job_of(store, entities().drop("event_timestamp"), ALL)
    with pytest.raises(InputError, match="'event_timestamp' is Int32, not a time"):
        job_of(store, entities(event_timestamp=pl.lit(1)), ALL)
    with pytest.raises(InputError, match="'event_timestamp' has texts that are no times"):
        job_of(store, entities(event_timestamp=pl.lit("soon")), ALL)
    for odd in ({"event_timestamp": ["soon", "later"]}, {"user_id": [1, "two"]}):
        frame = pd.DataFrame({"user_id": [1, 2], "event_timestamp": [DAY, DAY], "item_id": ["x", "y"]} | odd)
        with pytest.raises(InputError, match="values that are not of one kind"):
            job_of(store, frame, ALL)
    with pytest.raises(InputError, match="key 'user_id' is String, but the feature rows have Int64"):
        ask(store, entities(user_id=pl.lit("1")), ALL)
    with pytest.raises(InputError, match="two columns named visits"):
        job_of(store, entities(visits=pl.lit(1)), ALL)
    with pytest.raises(InputError, match="a list; give a pandas"):
        job_of(store, [], ALL)
    with pytest.raises(InputError, match="column names are texts, not \\[7\\]"):
        job_of(store, entities().to_pandas().rename(columns={"label": 7}), ALL)


def test_keys_in_other_types(store: FeatureStore) -> None:
    expected = ask(store, entities(), ALL)["clicks"].to_list()
    for user, item in ((pl.Int32, pl.Categorical), (pl.UInt64, pl.Enum(["x", "y"])), (pl.Float64, pl.String)):
        frame = entities().with_columns(pl.col("user_id").cast(user), pl.col("item_id").cast(item))
        assert ask(store, frame, ALL)["clicks"].to_list() == expected
    halves = entities().with_columns(pl.col("user_id") + 0.5)
    assert ask(store, halves, ["users:visits"])["visits"].null_count() == halves.height


def test_the_only_time_is_the_event_timestamp(store: FeatureStore) -> None:
    found = ask(store, entities().rename({"event_timestamp": "when"}), ALL)
    assert found["visits"].to_list() == [20, 12, 10, None, 12, 12]
