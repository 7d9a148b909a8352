"""The point-in-time join against a row-by-row oracle written from Feast's documentation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.columnar import asof
from feature_repo.columnar.asof import Asked, History, Moments, asof_rows, in_time_order

DAY = datetime(2026, 3, 1, tzinfo=UTC)
UNITS = ("ms", "us", "ns")

Row = dict[str, Any]


def oracle(asked: list[Row], rows: list[Row], keys: list[str], ttl: timedelta | None, known: bool) -> list[int]:
    """ "the latest row of the key that is not newer than the entity row, and not older than it by more than ttl"."""
    answers = []
    for ask in asked:
        best, best_rank = -1, None
        for number, row in enumerate(rows):
            if ask["at"] is None or row["at"] is None or any(ask[k] is None or ask[k] != row[k] for k in keys):
                continue
            if row["at"] > ask["at"] or (ttl and row["at"] < ask["at"] - ttl):
                continue
            if known and (row["created"] is None or row["created"] > ask["at"]):
                continue
            rank = (row["at"], row["created"] is not None, row["created"] or DAY, number)
            if best_rank is None or rank > best_rank:
                best, best_rank = number, rank
        answers.append(best)
    return answers


def ours(
    asked: list[Row],
    rows: list[Row],
    types: dict[str, Any],
    ttl: timedelta | None = None,
    known: bool = False,
    units: tuple[str, str, str] = ("us", "us", "us"),
    zone: str | None = "UTC",
) -> list[int]:
    def frame(side: list[Row], at: str, created: str) -> pl.DataFrame:
        times = {"at": pl.Datetime("us", "UTC"), "created": pl.Datetime("us", "UTC")}
        read = pl.DataFrame(side, schema=types | times)
        moved = [pl.col(n).dt.cast_time_unit(u) for n, u in (("at", at), ("created", created))]  # type: ignore[arg-type]
        read = read.with_columns(moved)
        return read.with_columns(
            pl.col("at").dt.convert_time_zone(zone) if zone else pl.col("at").dt.replace_time_zone(None)
        )

    left, right = frame(asked, units[0], "us"), frame(rows, units[1], units[2])
    keys = list(types)
    history = History(right.select(keys), right["at"], lambda: right["created"])
    found: list[int] = asof_rows(
        Asked(left.select(keys), Moments.of(left["at"])), history, ttl=ttl, known=known
    ).tolist()
    return found


def times() -> st.SearchStrategy[datetime | None]:
    steps = st.integers(-8, 8).map(lambda step: DAY + timedelta(milliseconds=step))
    return st.one_of(st.none(), steps, steps, steps)


def rows_of(keys: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[list[Row]]:
    return st.lists(st.fixed_dictionaries({**keys, "at": times(), "created": times()}), max_size=30)


TEXT = st.sampled_from(["a", "b", "a longer key than fits inline", "", None])
NUMBER = st.sampled_from([0, 1, -1, 2**40, None])
KINDS: list[tuple[dict[str, st.SearchStrategy[Any]], dict[str, Any]]] = [
    ({"k": TEXT}, {"k": pl.String}),
    ({"k": NUMBER}, {"k": pl.Int64}),
    ({"k": TEXT, "n": NUMBER}, {"k": pl.String, "n": pl.Int64}),
    ({"k": st.just(0)}, {"k": pl.Int64}),
]
KIND_IDS = ["text", "number", "composite", "none"]


@pytest.mark.parametrize(("keys", "types"), KINDS, ids=KIND_IDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_agrees_with_the_oracle(
    keys: dict[str, st.SearchStrategy[Any]], types: dict[str, Any], data: st.DataObject
) -> None:
    asked, rows = data.draw(rows_of(keys)), data.draw(rows_of(keys))
    ttl = data.draw(st.sampled_from([None, timedelta(0), timedelta(milliseconds=3), timedelta(days=999_999_999)]))
    known = data.draw(st.booleans())
    units = data.draw(st.tuples(*[st.sampled_from(UNITS)] * 3))
    zone = data.draw(st.sampled_from(["UTC", "Asia/Kathmandu", None]))
    floor = DAY - timedelta(days=300_000)
    limit = None if ttl is not None and ttl > DAY - floor else ttl
    assert ours(asked, rows, types, ttl, known, units, zone) == oracle(asked, rows, list(types), limit, known)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_keys_that_fall_on_one_hash_are_told_apart(data: st.DataObject) -> None:
    """Even when all fall on one."""
    keys = {"k": TEXT, "n": NUMBER}
    asked, rows = data.draw(rows_of(keys)), data.draw(rows_of(keys))
    ttl, known = data.draw(st.sampled_from([None, timedelta(milliseconds=3)])), data.draw(st.booleans())
    with pytest.MonkeyPatch.context() as patch:
        real = asof.hashes_of
        patch.setattr(asof, "hashes_of", lambda keys, seed=0: real(keys, seed) if seed else 0 * real(keys))
        found = ours(asked, rows, {"k": pl.String, "n": pl.Int64}, ttl, known)
    assert found == oracle(asked, rows, ["k", "n"], ttl, known)


def test_both_ends_of_the_ttl_count() -> None:
    rows = [{"k": "a", "at": DAY, "created": DAY}]
    hour = timedelta(hours=1)
    steps = [timedelta(0), hour, hour + timedelta(microseconds=1), -timedelta(microseconds=1)]
    asked = [{"k": "a", "at": DAY + step, "created": None} for step in steps]
    assert ours(asked, rows, {"k": pl.String}, hour) == [0, 0, -1, -1]
    assert ours(asked, rows, {"k": pl.String}, timedelta(0)) == [0, 0, 0, -1]


def test_nanoseconds_are_not_rounded_away() -> None:
    """A row one nanosecond in the future is in the future, in whichever unit the other side is."""
    start = int(DAY.timestamp()) * 10**9
    history = History(pl.DataFrame({"k": ["a", "a"]}), pl.Series([start, start + 1]).cast(pl.Datetime("ns")))
    for dtype, at in ((pl.Datetime("us"), start // 1000), (pl.Datetime("ns"), start)):
        asked = Asked(pl.DataFrame({"k": ["a"]}), Moments.of(pl.Series([at]).cast(dtype)))
        assert asof_rows(asked, history).tolist() == [0]
        assert asof_rows(asked, history, ttl=timedelta(microseconds=1)).tolist() == [0]
    coarse = History(pl.DataFrame({"k": ["a"]}), pl.Series([start // 1000]).cast(pl.Datetime("us")))
    after = Asked(pl.DataFrame({"k": ["a"]}), Moments.of(pl.Series([start + 1001]).cast(pl.Datetime("ns"))))
    assert asof_rows(after, coarse, ttl=timedelta(microseconds=1)).tolist() == [-1]
    assert asof_rows(after, coarse, ttl=timedelta(microseconds=2)).tolist() == [0]


def test_years_beyond_nanoseconds() -> None:
    far = datetime(9000, 1, 1)
    history = History(pl.DataFrame({"k": ["a", "a"]}), pl.Series([datetime(1, 1, 1), far]))
    asked = Asked(pl.DataFrame({"k": ["a"]}), Moments.of(pl.Series([DAY]).dt.cast_time_unit("ns")))
    assert asof_rows(asked, history).tolist() == [0]
    fine = History(pl.DataFrame({"k": ["a"]}), pl.Series([DAY]).dt.cast_time_unit("ns"))
    late = Asked(pl.DataFrame({"k": ["a"]}), Moments.of(pl.Series([far])))
    assert asof_rows(late, fine).tolist() == [0]


def test_created_times_are_read_only_where_they_matter() -> None:
    def fail() -> pl.Series:
        raise AssertionError("read")

    keys, times = pl.DataFrame({"k": ["a", "a"]}), pl.Series([DAY + timedelta(hours=1), DAY])
    asked = Asked(pl.DataFrame({"k": ["a"]}), Moments.of(pl.Series([DAY])))
    assert asof_rows(asked, History(keys, times, fail)).tolist() == [1]
    with pytest.raises(AssertionError, match="read"):
        asof_rows(asked, History(keys, pl.Series([DAY, DAY]), fail))
    with pytest.raises(AssertionError, match="read"):
        asof_rows(asked, History(keys, times, fail), known=True)


def test_times_must_be_times() -> None:
    with pytest.raises(TypeError, match="'at' holds Int64"):
        Moments.of(pl.Series("at", [1]))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3))), st.booleans())
def test_time_order_is_stable(pairs: list[tuple[int, int]], with_created: bool) -> None:
    at = np.array([a for a, _ in pairs], np.int64)
    created = np.array([c for _, c in pairs], np.int64)
    expected = sorted(range(len(pairs)), key=lambda i: pairs[i] if with_created else pairs[i][0])
    order = in_time_order(at, created if with_created else None)
    assert (list(range(len(pairs))) if order is None else order.tolist()) == expected


def test_many_rows_agree_with_polars() -> None:
    """At a size where ranks, hashes and their bits matter, against Polars' own join."""
    draw = np.random.default_rng(3)
    names = np.array([f"key-{number:05}" for number in range(3_000)])

    def side(rows: int) -> pl.DataFrame:
        at = pl.Series(draw.integers(0, 10**12, rows)).cast(pl.Datetime("us"))
        return pl.DataFrame({"k": names[draw.integers(0, len(names), rows)], "at": at})

    left, right = side(40_000), side(90_000)
    found = asof_rows(Asked(left.select("k"), Moments.of(left["at"])), History(right.select("k"), right["at"]))
    joined = (
        left.with_row_index("ask")
        .sort("at")
        .join_asof(right.with_row_index("row").sort("at"), on="at", by="k", check_sortedness=False)
    )
    expected = joined.sort("ask")["row"].cast(pl.Int64).fill_null(-1)
    assert found.tolist() == expected.to_list()
