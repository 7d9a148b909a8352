"""The event log: once each, whole segments only."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from feature_repo import events
from feature_repo.contracts import Event, Interaction
from feature_repo.errors import InputError
from feature_repo.events import SCHEMA, EventLog, from_frame, to_frame
from feature_repo.settings import Settings

Make = Callable[[int, int], list[Interaction]]


def test_events_come_back_once(settings: Settings, make_interactions: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "SEGMENT_ROWS", 40)
    log = EventLog(settings.interactions_dir)
    given = make_interactions(100, 10)
    assert list(log.append(given)) == [40, 80, 100]
    list(log.append(given))  # the same data set again
    list(log.append(given[:70]))  # and with other borders between the segments
    found = log.scan().collect()
    assert set(found["event_id"]) == {event.event_id for event in given}
    assert found.height == len(set(found["event_id"]))


@pytest.mark.parametrize("rows", [1000, 40, 7])
def test_users_come_whole_and_in_order(
    settings: Settings, make_interactions: Make, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(events, "SEGMENT_ROWS", 40)
    log = EventLog(settings.interactions_dir)
    given = make_interactions(100, 10)
    list(log.append(given))
    list(log.append(given[:70]))  # the first 40 are a segment that is there already
    assert log.count() == 130
    frames = list(log.by_user(rows))
    assert len(frames) == 1 if rows == 1000 else len(frames) > 1
    users = [user for frame in frames for user in frame["user_id"].unique()]
    assert len(users) == len(set(users))
    for frame in frames:
        assert frame.schema == pl.Schema(SCHEMA)
        assert frame.equals(frame.sort("user_id", "timestamp", "event_id"))
    assert sorted(pl.concat(frames)["event_id"]) == sorted({event.event_id for event in given})
    again = list(log.by_user(rows))
    assert all(one.equals(other) for one, other in zip(frames, again, strict=True))
    assert all(path.suffix == ".parquet" for path in settings.interactions_dir.iterdir())


def test_an_empty_log_has_the_columns(settings: Settings) -> None:
    frame = EventLog(settings.interactions_dir).scan().collect()
    assert frame.is_empty()
    assert frame.schema == pl.Schema(SCHEMA)
    assert [one.is_empty() for one in EventLog(settings.interactions_dir).by_user()] == [True]
    assert EventLog(settings.interactions_dir).count() == 0


def test_times_and_values_survive(settings: Settings, make_interactions: Make) -> None:
    given = {event.event_id: event for event in make_interactions(20, 3)}
    log = EventLog(settings.interactions_dir)
    list(log.append(given.values()))
    for row in log.scan().collect().iter_rows(named=True):
        event = given[row["event_id"]]
        assert (row["user_id"], row["content_id"], row["event"]) == (event.user_id, event.content_id, event.event.value)
        assert (row["timestamp"], row["value"]) == (event.timestamp, event.value)


def test_rows_are_events_again(make_interactions: Make) -> None:
    given = [Event(f"e{number}", one, "call") for number, one in enumerate(make_interactions(20, 3))]
    assert list(from_frame(to_frame(given))) == given


def test_an_event_without_an_id_is_named_by_what_it_says() -> None:
    row = {"user_id": "u", "content_id": "c", "event": "like", "timestamp": "2025-01-31T12:00:00.25Z"}
    [event] = from_frame(pl.DataFrame([row]))
    assert (event.event_id, event.interaction.value, event.request_id) == (event.interaction.event_id, 1.0, None)
    assert event.interaction.timestamp.isoformat() == "2025-01-31T12:00:00.250000+00:00"


def test_ids_may_be_whole_numbers() -> None:
    row = {"user_id": 196, "content_id": 50, "event": "like", "timestamp": "2025-01-31T12:00:00Z", "event_id": 7}
    [event] = from_frame(pl.DataFrame([row]))
    assert (event.event_id, event.interaction.user_id, event.interaction.content_id) == ("7", "196", "50")


@pytest.mark.parametrize(
    ("amiss", "told"),
    [
        ({"user_id": 1.5}, "user_id: is of type Float64; give texts"),
        ({"timestamp": 1_740_830_400}, "timestamp: is of type Int64; write 2025-"),
    ],
)
def test_columns_of_another_type_are_refused(amiss: dict[str, object], told: str) -> None:
    row = {"user_id": "u", "content_id": "c", "event": "like", "timestamp": "2025-01-31T12:00:00Z"}
    with pytest.raises(InputError, match=told):
        list(from_frame(pl.DataFrame([row | amiss])))


@pytest.mark.parametrize(
    ("amiss", "told"),
    [
        ({"event": "sneeze"}, "row 1: 'sneeze' is no event; there are impression, view"),
        ({"user_id": None}, "row 1: user_id"),
        ({"timestamp": "yesterday"}, "row 1: timestamp 'yesterday'; write 2025-"),
    ],
)
def test_rows_that_are_no_events_are_named(amiss: dict[str, object], told: str) -> None:
    row = {"user_id": "u", "content_id": "c", "event": "like", "timestamp": "2025-01-31T12:00:00Z"}
    with pytest.raises(InputError, match=told):
        list(from_frame(pl.DataFrame([row, row | amiss])))
    with pytest.raises(InputError, match="column timestamp is missing"):
        list(from_frame(pl.DataFrame([{k: v for k, v in row.items() if k != "timestamp"}])))
