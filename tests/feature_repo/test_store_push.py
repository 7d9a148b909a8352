"""Events folded into the real online stores: seen at once, and not undone by a later materialization."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from feature_repo.catalog import Catalog
from feature_repo.contracts import Event, EventType, Interaction
from feature_repo.errors import StateError
from feature_repo.events import EventLog
from feature_repo.folding import FOLDED
from feature_repo.recorder import Recorder, catch_up
from feature_repo.schema import VIEWS, full_schema
from feature_repo.settings import Settings
from feature_repo.store import Store

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
SERVICE = "interest"


@pytest.fixture
def store(filled: Catalog, settings: Settings) -> Store:
    """A store over `filled`, applied and materialized."""
    made = Store(settings)
    made.apply()
    list(made.materialize())
    return made


@pytest.fixture
def recorder(store: Store, settings: Settings) -> Iterator[Recorder]:
    made = Recorder(settings, store.push)
    made.catch_up()
    yield made
    made.close()


def like(number: int, content: str = "c001") -> Event:
    return Event(f"e{number}", Interaction("u1", content, EventType.LIKE, NOW + timedelta(minutes=number)))


def read(store: Store) -> dict[str, object]:
    """The folded features of a user and a content."""
    columns = store.read(SERVICE, ["c001"], "u1")
    names = [n for views in FOLDED.values() for view in views for n in VIEWS[view][1] if n in columns.values]
    return {name: columns.values[name][0] for name in names}


def test_seen_at_once_and_after_any_materialization(
    recorder: Recorder,
    store: Store,
    settings: Settings,
    filled: Catalog,
    refresh_statistics: Callable[[Settings, Catalog], None],
) -> None:
    before = read(store)
    assert recorder.record([like(2), like(1)]) == [True, True]
    after = read(store)
    assert after["user_likes"] == before["user_likes"] + 2  # type: ignore[operator]  # a number
    assert after["recent_contents"][-2:] == ["c001", "c001"]  # type: ignore[index]  # a list
    assert after["recent_times"][-1] == like(2).interaction.timestamp.timestamp()  # type: ignore[index]
    list(store.materialize(force=True))  # of files that know nothing of it
    assert read(store) == after
    refresh_statistics(settings, filled)  # now they know
    list(store.materialize(force=True))
    assert read(store) == after
    for views in FOLDED.values():
        for view in views:
            latest = pl.read_parquet(settings.features_dir / view / "rows.parquet")["event_timestamp"].max()
            assert latest == datetime(2025, 6, 2, tzinfo=UTC)


def test_what_is_ingested_while_a_server_keeps_the_features(
    recorder: Recorder, store: Store, settings: Settings
) -> None:
    recorder.record([like(1)])
    list(EventLog(settings.interactions_dir).append([like(3, "c002").interaction]))
    catch_up(settings, store.push)
    assert read(store)["recent_contents"][-2:] == ["c001", "c002"]  # type: ignore[index]  # a list


def test_a_view_that_is_not_applied(settings: Settings) -> None:
    empty = pl.DataFrame(schema=full_schema("user_stats"))
    with pytest.raises(StateError, match="'user_stats' is not applied: run `larder apply`"):
        Store(settings).push("user_stats", empty)
