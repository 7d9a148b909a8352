import dataclasses
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.catalog import Catalog
from feature_repo.contracts import EventType, Interaction
from feature_repo.errors import ConfigurationError, InputError, StateError
from feature_repo.settings import Settings, load_settings
from feature_repo.store import Store
from predictors.interest import data as interest_data
from predictors.interest.data import EventData, bounded, read_interest
from predictors.interest.examples import RELATED
from predictors.interest.labels import ExampleConfig, label_encounters, number_encounters
from predictors.interest.splits import EVENT_SPLITS, split_encounters
from predictors.splits import Splits
from tests.predictors.met import CONTENTS, EACH, SPEC, START, USERS, make_log
from tests.predictors.unguarded import hold_nothing_out


@pytest.fixture(scope="session")
def met_home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A workspace with that log; tests only read it."""
    settings = load_settings(home=tmp_path_factory.mktemp("met"))
    with Catalog(settings.catalog) as catalog:
        make_log(settings, catalog)
    return settings


def read(settings: Settings, **config: Any) -> EventData:
    with Catalog(settings.catalog) as catalog:
        return read_interest(settings, catalog, Store(settings), "interest", ExampleConfig(**config))


@pytest.fixture(scope="session")
def met_data(met_home: Settings) -> EventData:
    return read(met_home)


# -- what counts as engaged


def labelled(*events: Interaction, duration: float | None = 100.0, **config: Any) -> list[dict[str, Any]]:
    columns = [(e.event_id, e.user_id, e.content_id, e.event.value, e.timestamp, e.value) for e in events]
    names = ["event_id", "user_id", "content_id", "event", "timestamp", "value"]
    durations = pl.DataFrame({"content_id": ["a"], "duration_s": pl.Series([duration], dtype=pl.Float64)})
    settled = ExampleConfig(**config)
    numbered = number_encounters(pl.DataFrame(columns, names, orient="row"), settled.meeting_hours)
    return label_encounters(numbered, durations, settled).to_dicts()


def act(kind: EventType, value: float = 1.0, minutes: float = 0.0) -> Interaction:
    return Interaction("u", "a", kind, START + timedelta(minutes=minutes), value)


@pytest.mark.parametrize(
    ("kind", "value", "engaged", "reaction"),
    [
        (EventType.RATING, 4.0, 1.0, 0.75),
        (EventType.RATING, 3.5, 0.0, 0.625),
        (EventType.VIEW, 50.0, 1.0, 0.5),
        (EventType.VIEW, 49.0, 0.0, 0.49),
        (EventType.IMPRESSION, 1.0, 0.0, 0.0),
        (EventType.LIKE, 1.0, 1.0, 1.0),
    ],
)
def test_one_event_is_labelled(kind: EventType, value: float, engaged: float, reaction: float) -> None:
    (row,) = labelled(act(kind, value))
    assert row["engaged"] == engaged
    assert row["reaction"] == pytest.approx(reaction)


def test_an_impression_that_is_followed_engages_and_a_later_one_does_not() -> None:
    first, second = labelled(
        act(EventType.IMPRESSION), act(EventType.LIKE, minutes=5), act(EventType.IMPRESSION, minutes=60 * 30)
    )
    assert (first["engaged"], first["like"], first["event_timestamp"]) == (1.0, 1.0, START)
    assert (second["engaged"], second["like"]) == (0.0, 0.0)
    assert first["share"] is None  # the log has no shares, so it cannot say that there was none


def test_a_rating_says_nothing_of_likes_and_a_view_of_unknown_length_nothing_of_its_end() -> None:
    rated, shown = labelled(
        act(EventType.RATING, 5.0), act(EventType.VIEW, 10.0, 60 * 30), act(EventType.LIKE, minutes=60 * 30 + 1),
        duration=None,
    )  # fmt: skip
    assert rated["like"] is None
    assert (shown["like"], shown["finish"], shown["engaged"]) == (1.0, None, 1.0)


# -- splits


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 50)), min_size=1, max_size=60))
def test_every_split_places_every_encounter(rows: list[tuple[int, int, int]]) -> None:
    met = pl.DataFrame(
        {
            "user_id": [f"u{user}" for user, _, _ in rows],
            "content_id": [f"c{item}" for _, item, _ in rows],
            "event_timestamp": [START + timedelta(seconds=second) for _, _, second in rows],
        }
    )
    for place in (split(met, 3) for split in EVENT_SPLITS.values()):
        assert place.shape == (len(rows),)
        assert ((place >= 0) & (place < 1)).all()
    by_item = met.with_columns(place=EVENT_SPLITS["cold-item"](met, 3)).group_by("content_id").n_unique()
    assert by_item["place"].to_list() == [1] * by_item.height
    by_time = met.with_columns(place=EVENT_SPLITS["global"](met, 3)).sort("place")["event_timestamp"]
    assert by_time.is_sorted()
    own = met.with_columns(place=EVENT_SPLITS["per-user"](met, 3)).sort("user_id", "place")
    assert own.select(
        pl.col("event_timestamp").diff().over("user_id").fill_null(timedelta(0)).min()
    ).item() >= timedelta(0)


def test_a_folder_says_which_rows(met_home: Settings, met_data: EventData, tmp_path: Path) -> None:
    pairs = met_data.frame.select("user_id", item_id="content_id")
    parts = {"train": pairs[:600], "valid": pairs[600:700], "test": pairs[700:750]}
    for part, frame in parts.items():
        frame.write_csv(tmp_path / f"{part}.csv")
    data = read(met_home, split=str(tmp_path))
    assert data.facts["rows"] == {"train": 600, "valid": 100, "test": 50}
    assert data.left_out == USERS * EACH - 750
    test = data.frame[data.examples.splits.test]
    assert set(test["content_id"] + test["user_id"]) == set(pairs[700:750]["item_id"] + pairs[700:750]["user_id"])
    pl.DataFrame({"user_id": ["u00"], "item_id": ["nobody"]}).write_csv(tmp_path / "test.csv")
    with pytest.raises(InputError, match=r"1 of 1 pairs are not in the log.*nobody"):
        read(met_home, split=str(tmp_path))
    pairs[:5].write_csv(tmp_path / "test.csv")
    with pytest.raises(InputError, match="another part"):
        read(met_home, split=str(tmp_path))


def test_bad_splits_are_refused() -> None:
    met = pl.DataFrame({"user_id": ["u"], "content_id": ["c"], "event_timestamp": [START]})
    with pytest.raises(ConfigurationError, match="per-user"):
        split_encounters(met, "per-week", 0)
    with pytest.raises(StateError, match="valid, test"):
        split_encounters(met, "global", 0)


def test_a_large_log_keeps_whole_users(met_data: EventData) -> None:
    met = met_data.frame.select("user_id", "content_id", "event_timestamp")
    everything = Splits(np.arange(600), np.arange(600, 900), np.arange(900, 1200))
    kept, splits = bounded(met, everything, ExampleConfig(max_examples=500))
    assert 0 < kept.height < met.height
    assert sum(splits.sizes.values()) == kept.height
    whole = met.group_by("user_id").len()
    assert kept.group_by("user_id").len().join(whole, on=["user_id", "len"]).height == kept["user_id"].n_unique()


# -- what is known when


def met_before(data: EventData) -> bool:
    """Whether no training row's history holds an event of its own time or later."""
    rows = data.frame[data.examples.splits.train]
    latest = rows.select(pl.col("recent_times").list.max() < pl.col("event_timestamp").dt.epoch("s"))
    return bool(latest.to_series().fill_null(True).all())


def test_a_training_row_sees_what_its_user_did_before(met_data: EventData) -> None:
    rows = met_data.frame[met_data.examples.splits.train]
    place = rows.select(pl.int_range(pl.len()).over("user_id", order_by="event_timestamp")).to_series()
    assert rows[RELATED].list.len().fill_null(0).to_list() == place.to_list()
    assert rows["user_ratings"].fill_null(0).to_list() == place.to_list()
    assert met_before(met_data)


def test_reading_training_rows_late_is_seen(met_home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def all_late(met: pl.DataFrame, splits: Splits, after: datetime) -> pl.DataFrame:
        return met.with_columns(event_timestamp=pl.lit(after))

    monkeypatch.setattr(interest_data, "as_known", all_late)
    assert not met_before(read(met_home))


def counted(data: EventData) -> float:
    return float(np.nansum(data.examples.contents.numbers("content_ratings")))


def test_held_out_events_are_in_no_statistic_and_no_history(met_data: EventData) -> None:
    examples, splits = met_data.examples, met_data.examples.splits
    assert counted(met_data) == len(splits.train)
    assert np.nansum(examples.latest.numbers("content_ratings")) == len(splits.train) + len(splits.valid)
    for rows, known in ((splits.valid, 24.0), (splits.test, 27.0)):
        held = met_data.frame[rows]
        assert held["user_ratings"].to_list() == [known] * len(rows)
        assert not held.select(pl.col(RELATED).list.contains(pl.col("content_id")).any()).item()


def test_a_test_row_finds_contents_as_validation_leaves_them(met_data: EventData) -> None:
    examples, splits = met_data.examples, met_data.examples.splits
    assert examples.found_by(splits.test[0]) is examples.latest
    assert examples.found_by(splits.valid[0]) is examples.contents
    np.testing.assert_array_equal(examples.latest.vectors("toy"), examples.contents.vectors("toy"))
    latest = pl.Series(met_data.frame[splits.test][RELATED].list.last())
    last_valid = met_data.frame[splits.valid].group_by("user_id").agg(pl.col("content_id").last())
    by_user = dict(last_valid.iter_rows())
    users = met_data.frame[splits.test]["user_id"]
    assert latest.to_list() == [by_user[user] for user in users]


def test_counting_all_events_is_seen(met_home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    hold_nothing_out(monkeypatch)
    data = read(met_home)
    assert counted(data) > len(data.examples.splits.train)


def test_the_workspace_apart_is_gone(met_home: Settings, met_data: EventData) -> None:
    assert not list(met_home.home.glob(".writing-*"))


# -- examples


def test_a_batch_is_what_the_store_would_answer(met_data: EventData) -> None:
    examples = met_data.examples
    rows = examples.splits.test[:7]
    batch = examples.batch(rows)
    assert batch.objects("content_id").tolist() == [examples.columns.objects("content_id")[row] for row in rows]
    np.testing.assert_array_equal(batch.vectors("toy"), examples.contents.vectors("toy")[examples.items[rows]])
    assert batch.related[RELATED] is examples.contents
    assert examples.contents.rows == CONTENTS
    assert examples.digests == {"toy": SPEC.digest}


def test_the_digest_sees_labels_splits_and_features(met_home: Settings, met_data: EventData) -> None:
    again = read(met_home)
    assert again.digest == met_data.digest
    assert read(met_home, split="random").digest != met_data.digest
    labels = {**again.examples.labels, "engaged": 1 - again.examples.labels["engaged"]}
    other = dataclasses.replace(again, examples=dataclasses.replace(again.examples, labels=labels))
    assert other.digest != met_data.digest


def test_the_golden_rows_have_a_past(met_data: EventData) -> None:
    columns = met_data.golden.columns()
    assert columns.rows == 8
    known = set(columns.related[RELATED].objects("content_id"))
    assert all(set(met) <= known for met in columns.objects(RELATED))
    assert columns.vectors("toy").shape == (8, SPEC.dim)
