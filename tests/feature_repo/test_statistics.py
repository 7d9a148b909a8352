"""Dated rows against a slow oracle that counts events one by one; nothing of the future in any of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import log1p

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.catalog import Catalog
from feature_repo.contracts import Event, EventType, Interaction
from feature_repo.events import to_frame
from feature_repo.schema import LIKE_RATE_PRIOR, RECENT, VIEWS, full_schema
from feature_repo.settings import Settings
from feature_repo.statistics import (
    EVENT_WEIGHTS,
    content_stats,
    creator_stats,
    user_recent,
    user_stats,
)

START = datetime(2025, 1, 1, tzinfo=UTC)

events_strategy = st.lists(
    st.builds(
        Interaction,
        user_id=st.sampled_from(["u0", "u1"]),
        content_id=st.sampled_from(["c0", "c1", "c2"]),
        event=st.sampled_from(EventType),
        timestamp=st.datetimes(datetime(2025, 1, 1), datetime(2025, 1, 6)).map(lambda t: t.replace(tzinfo=UTC)),
        value=st.sampled_from([1.0, 2.0, 5.0]),
    ),
    max_size=60,
    unique_by=lambda event: event.event_id,
)


def _frame(events: list[Interaction]) -> pl.DataFrame:
    return to_frame([Event(event.event_id, event) for event in events])


@settings(max_examples=60, deadline=None)
@given(events_strategy)
def test_counts_are_of_the_events_before_the_stamp(events: list[Interaction]) -> None:
    for frame, key, prefix in ((content_stats, "content_id", "content"), (user_stats, "user_id", "user")):
        rows = frame(_frame(events)).to_dicts()
        midnights = {(getattr(e, key), e.timestamp.date() + timedelta(days=1)) for e in events}
        assert {(row[key], row["event_timestamp"].date()) for row in rows} == midnights
        for row in rows:
            before = [e for e in events if getattr(e, key) == row[key] and e.timestamp < row["event_timestamp"]]
            for kind in EventType:
                assert row[f"{prefix}_{kind}s"] == sum(e.event == kind for e in before)
            stars = [e.value for e in before if e.event == EventType.RATING]
            assert row[f"{prefix}_rating_mean"] == (pytest.approx(sum(stars) / len(stars)) if stars else None)
            likes = sum(e.event == EventType.LIKE for e in before) + LIKE_RATE_PRIOR[0]
            views = sum(e.event == EventType.VIEW for e in before) + LIKE_RATE_PRIOR[1]
            assert row[f"{prefix}_like_rate"] == pytest.approx(likes / views)


@settings(max_examples=60, deadline=None)
@given(events_strategy)
def test_a_creators_mean_is_over_the_posts_so_far(events: list[Interaction]) -> None:
    owners = {"c0": "k0", "c1": "k0", "c2": "k1"}
    posted = {"c0": START, "c1": START + timedelta(days=1, hours=3), "c2": START + timedelta(hours=1)}
    events = [e for e in events if e.timestamp >= posted[e.content_id]]
    meta = pl.DataFrame(
        {"content_id": list(owners), "content_creator": list(owners.values()), "event_timestamp": list(posted.values())}
    )
    for row in creator_stats(_frame(events), meta).to_dicts():
        stamp = row["event_timestamp"]
        own = [c for c, k in owners.items() if k == row["creator_id"] and posted[c] < stamp]
        earned = [
            log1p(sum(EVENT_WEIGHTS[e.event] for e in events if e.content_id == c and e.timestamp < stamp)) for c in own
        ]
        assert row["creator_posts"] == len(own)
        assert row["creator_mean_engagement"] == pytest.approx(sum(earned) / len(own))
        gap = (max(posted[c] for c in own) - min(posted[c] for c in own)).total_seconds() / 86_400
        assert row["creator_post_gap_days"] == (pytest.approx(gap / (len(own) - 1)) if len(own) > 1 else None)


@settings(max_examples=60, deadline=None)
@given(events_strategy)
def test_recent_events_are_the_last_ones_before_the_stamp(events: list[Interaction]) -> None:
    seen = [e for e in events if e.event != EventType.IMPRESSION]
    rows = user_recent(_frame(events)).to_dicts()
    assert len(rows) == len({(e.user_id, e.timestamp.date()) for e in seen})
    for row in rows:
        own = [e for e in seen if e.user_id == row["user_id"] and e.timestamp < row["event_timestamp"]]
        own.sort(key=lambda e: (e.timestamp, e.event_id))
        assert row["recent_contents"] == [e.content_id for e in own[-RECENT:]]
        assert row["recent_events"] == [e.event.value for e in own[-RECENT:]]
        assert row["recent_times"] == [int(e.timestamp.timestamp()) for e in own[-RECENT:]]
        assert row["recent_values"] == [e.value for e in own[-RECENT:]]


def test_a_finer_grain_tells_what_was_done_earlier_the_same_day() -> None:
    events = [Interaction("u", f"c{i}", EventType.RATING, START + timedelta(seconds=i // 2), 4.0) for i in range(4)]
    events.append(Interaction("u", "c9", EventType.RATING, START + timedelta(days=1), 1.0))
    recent = user_recent(_frame(events), "1s").sort("event_timestamp")
    assert recent["recent_contents"].list.len().to_list() == [2, 4, 5]
    counted = user_stats(_frame(events), "1s").sort("event_timestamp")
    assert counted["event_timestamp"].to_list() == [
        START + timedelta(seconds=1),
        START + timedelta(seconds=2),
        START + timedelta(days=1, seconds=1),
    ]
    assert counted["user_ratings"].to_list() == [2, 4, 5]
    assert counted["user_active_days"].to_list() == [1, 1, 2]


def test_only_so_many_recent_events_are_kept() -> None:
    many = [Interaction("u", f"c{i}", EventType.VIEW, START + timedelta(seconds=i)) for i in range(RECENT + 7)]
    (row,) = user_recent(_frame(many)).to_dicts()
    assert row["recent_contents"] == [f"c{i}" for i in range(7, RECENT + 7)]


def test_every_view_is_written_with_its_columns(filled: Catalog, settings: Settings) -> None:
    for view in VIEWS:
        frame = pl.read_parquet(settings.features_dir / view / "rows.parquet")
        assert frame.schema == pl.Schema(full_schema(view))
        assert frame.height > 0


def test_views_of_an_empty_workspace_have_no_rows(
    catalog: Catalog, settings: Settings, refresh_statistics: Callable[..., None]
) -> None:
    refresh_statistics(settings, catalog)
    for view in VIEWS:
        assert pl.read_parquet(settings.features_dir / view / "rows.parquet").schema == pl.Schema(full_schema(view))


def test_no_counter_of_the_source_becomes_a_feature(filled: Catalog, settings: Settings) -> None:
    columns = {name for view in ("content_meta", "creator_stats") for name in VIEWS[view][1]}
    counters = {name for item in filled.items() for name in item.content.counters}
    assert not {c for c in columns for counter in counters if counter in c}
