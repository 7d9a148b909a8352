"""Filters on the table of facts are those that one would work out content by content."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.columns import Mask
from feature_repo.facts import NUMBER_FACTS, TEXT_FACTS, Facts, read_facts
from feature_repo.schema import full_schema
from feature_repo.settings import Settings

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WORDS = st.sampled_from(["a", "b", "c", "d"])
NUMBERS = st.sampled_from([-1.0, 0.0, 1.5, 2.0, 3.0])
CONTENTS = st.lists(
    st.fixed_dictionaries(
        {
            "content_creator": st.one_of(st.just(""), WORDS),
            "language": st.one_of(st.none(), WORDS),
            "tags": st.one_of(st.none(), st.lists(WORDS, max_size=3)),
            "published_year": st.one_of(st.none(), NUMBERS),
            "duration_s": st.one_of(st.none(), NUMBERS),
            "event_timestamp": NUMBERS.map(lambda seconds: EPOCH + timedelta(seconds=seconds)),
        }
    ),
    max_size=8,
)
TEXTS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "creator": lambda row: [row["content_creator"]] if row["content_creator"] else [],
    "language": lambda row: [row["language"]] if row["language"] else [],
    "tags": lambda row: row["tags"] or [],
}
VALUES: dict[str, Callable[[dict[str, Any]], float | None]] = {
    "published_year": lambda row: row["published_year"],
    "published_at": lambda row: (row["event_timestamp"] - EPOCH).total_seconds(),
    "duration_s": lambda row: row["duration_s"],
}


def facts_of(rows: list[dict[str, Any]], **along: list[str]) -> Facts:
    named = [{**row, "content_id": f"c{n}", "title": f"title {n}"} for n, row in enumerate(rows)]
    return Facts(
        pl.DataFrame(named, full_schema("content_meta")), pl.DataFrame(schema=full_schema("content_stats")), along
    )


def true_rows(mask: Mask) -> list[int]:
    assert mask.dtype == bool
    return np.flatnonzero(mask).tolist()


@given(CONTENTS, st.sampled_from(TEXT_FACTS), st.lists(WORDS | st.just("nowhere"), max_size=3))
def test_conditions_on_texts(rows: list[dict[str, Any]], fact: str, wanted: list[str]) -> None:
    facts, said = facts_of(rows), [set(TEXTS[fact](row)) for row in rows]
    assert true_rows(facts.any_of(fact, wanted)) == [n for n, own in enumerate(said) if own & set(wanted)]
    assert true_rows(facts.none_of(fact, wanted)) == [n for n, own in enumerate(said) if own and not own & set(wanted)]


@given(CONTENTS, st.sampled_from(NUMBER_FACTS), st.none() | NUMBERS, st.none() | NUMBERS)
def test_conditions_on_numbers(
    rows: list[dict[str, Any]], fact: str, at_least: float | None, below: float | None
) -> None:
    least, most = -np.inf if at_least is None else at_least, np.inf if below is None else below
    values = [VALUES[fact](row) for row in rows]
    meeting = [n for n, value in enumerate(values) if value is not None and least <= value < most]
    assert true_rows(facts_of(rows).within(fact, at_least, below)) == meeting


def test_the_most_engaging_are_the_popular_and_of_equals_the_newest() -> None:
    days = [EPOCH + timedelta(days=day) for day in (1, 3, 2, 2)]
    meta = pl.DataFrame(
        [{"content_id": f"c{n}", "event_timestamp": day} for n, day in enumerate(days)], full_schema("content_meta")
    )
    none = {f"content_{kind}s": 0.0 for kind in ("impression", "view", "like", "share", "comment", "rating")}
    stats = [
        {"content_id": "c0", "event_timestamp": days[0], **none, "content_views": 9.0},
        {"content_id": "c0", "event_timestamp": days[1], **none, "content_views": 10.0},
        {"content_id": "c2", "event_timestamp": days[1], **none, "content_likes": 8.0},  # a like is worth two views
    ]
    facts = Facts(meta, pl.DataFrame(stats, full_schema("content_stats")), {})
    assert facts.popular.tolist() == [2, 0, 1, 3]


def test_rows_and_titles_by_id() -> None:
    facts = facts_of([{}, {}, {}], index=["c2", "gone", "c0"])
    assert facts.rows["index"].tolist() == [2, -1, 0]
    assert facts.titles(["c1", "gone", "c0"]) == ["title 1", "", "title 0"]


def test_a_workspace_without_statistics_has_no_facts(settings: Settings) -> None:
    assert len(read_facts(settings, {})) == 0
