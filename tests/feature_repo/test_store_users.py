"""Vectors of users in the store: applied once they are there, online, and joined in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from feature_repo.catalog import Catalog
from feature_repo.settings import Settings
from feature_repo.store import Store
from feature_repo.vectors import vectors_dir, write_partition

NAME = "user_sequence"
START = datetime(2025, 1, 1, tzinfo=UTC)


def write(settings: Settings, rows: dict[tuple[str, int], float], partition: str = "p0", later: int = 0) -> None:
    """A partition with a vector of four equal numbers for each user and day."""
    times = [START + timedelta(days=day) for _, day in rows]
    made = [when + timedelta(microseconds=later) for when in times]
    matrix = np.repeat(np.array(list(rows.values()), np.float32)[:, None], 4, axis=1)
    users = [user for user, _ in rows]
    moment = pa.timestamp("us", tz="UTC")
    path = vectors_dir(settings, NAME, "d1") / f"{partition}.parquet"
    write_partition(path, NAME, users, pa.array(times, moment), pa.array(made, moment), matrix, key="user_id")


@pytest.fixture(params=["columnar", "stock"])
def store(
    filled: Catalog,
    settings: Settings,
    request: pytest.FixtureRequest,
    stock_yaml: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Store:
    """A store over `filled` with vectors of two users, on our plug-ins and on Feast's own."""
    if request.param == "stock":
        monkeypatch.setenv("FEAST_FS_YAML_FILE_PATH", str(stock_yaml))
    write(settings, {("u1", 1): 1.0, ("u1", 3): 3.0, ("u2", 2): 2.0})
    filled.user_ledger.register(NAME, "d1", 4, "day")
    made = Store(settings)
    assert NAME in made.apply().views
    list(made.materialize())
    return made


def test_only_interest_reads_the_latest_vector_of_a_user(store: Store) -> None:
    for user, number in (("u1", 3.0), ("u2", 2.0)):
        columns = store.read("interest", ["c001", "c002"], user)
        assert columns.present[NAME].all()
        assert columns.vectors(NAME).tolist() == [[number] * 4] * 2
    for stranger in ("nobody", None):
        columns = store.read("interest", ["c001"], stranger)
        assert not columns.present[NAME].any()
        assert columns.vectors(NAME).shape == (1, 4)
    for service in ("popularity", "fusion"):
        assert NAME not in store.read(service, ["c001"]).values


def test_a_user_for_each_row_is_read_as_each_alone(store: Store) -> None:
    users, ids = ["u2", None, "u1", "u2", "nobody"], ["c001", "c002", "c001", "c003", "nothing"]
    at = START + timedelta(days=30)
    together = store.read("interest", ids, users, at)
    listed = set()
    for row, (content_id, user) in enumerate(zip(ids, users, strict=True)):
        alone, mine = store.read("interest", [content_id], user, at), together.take([row])
        assert alone.values.keys() == mine.values.keys()
        for name, values in alone.values.items():
            np.testing.assert_array_equal(mine.values[name], values, name)
            np.testing.assert_array_equal(mine.present[name], alone.present[name], name)
        listed |= {content for related in alone.related.values() for content in related.objects("content_id")}
    assert {content for related in together.related.values() for content in related.objects("content_id")} == listed


def test_a_user_for_each_row_is_one_a_row(store: Store) -> None:
    with pytest.raises(ValueError, match="2 users for 1 rows"):
        store.read("interest", ["c001"], ["u1", "u2"])


def test_a_join_sees_the_vector_of_its_time(store: Store) -> None:
    asked = [("u1", 0), ("u1", 1), ("u1", 2), ("u1", 3), ("u1", 9), ("u2", 1), ("u2", 5), ("nobody", 5)]
    entities = pl.DataFrame(
        {
            "content_id": ["c001"] * len(asked),
            "creator_id": [""] * len(asked),
            "user_id": [user for user, _ in asked],
            "event_timestamp": [START + timedelta(days=day) for _, day in asked],
        },
        schema_overrides={"event_timestamp": pl.Datetime("us", "UTC")},
    )
    frame = store.training_frame(entities, "interest")
    assert frame.schema[NAME] == pl.Array(pl.Float32, 4)
    found = [None if vector is None else vector[0] for vector in frame[NAME].to_list()]
    assert found == [None, 1.0, 1.0, 3.0, 3.0, None, 2.0, None]


def test_a_join_at_an_events_own_time_does_not_see_the_state_after_it(store: Store, settings: Settings) -> None:
    """Such a state is dated a microsecond later, which survives the way through the files and the join."""
    path = vectors_dir(settings, NAME, "d1") / "p1.parquet"
    moment = START + timedelta(days=20)
    known = pa.array([moment + timedelta(microseconds=1)], pa.timestamp("us", tz="UTC"))
    write_partition(path, NAME, ["u1"], known, known, np.full((1, 4), 20, np.float32), key="user_id")
    asked = [moment, moment + timedelta(microseconds=1), moment + timedelta(seconds=1)]
    keys = {"content_id": ["c001"] * 3, "creator_id": [""] * 3, "user_id": ["u1"] * 3, "event_timestamp": asked}
    frame = store.training_frame(pl.DataFrame(keys), "interest")
    assert [vector[0] for vector in frame[NAME].to_list()] == [3.0, 20.0, 20.0]


def test_rows_made_anew_win_and_only_their_view_is_brought_online(store: Store, settings: Settings) -> None:
    write(settings, {("u1", 3): 30.0}, "p1", later=1)
    assert [done.view for done in store.materialize() if not done.fresh] == [NAME]
    assert store.read("interest", ["c001"], "u1").vectors(NAME)[0].tolist() == [30.0] * 4


def test_without_vectors_of_users_there_is_no_view(filled: Catalog, settings: Settings) -> None:
    store = Store(settings)
    assert NAME not in store.apply().views
    list(store.materialize())
    assert NAME not in store.read("interest", ["c001"], "u1").values
