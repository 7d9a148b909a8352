"""Users' events as arrays, against loops that read them one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedders.user_histories import GAPS, Histories, every, read_histories
from feature_repo.errors import ConfigurationError

DAY_US = 86_400_000_000
START = datetime(2025, 1, 1, tzinfo=UTC)

# users -> events of (item, time in hours): few items and few hours, so that many meet again and many coincide
worlds = st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60)), max_size=12), max_size=5)


def made(users: list[list[tuple[int, int]]]) -> Histories:
    ordered = [sorted(events, key=lambda event: event[1]) for events in users]
    flat = [event for events in ordered for event in events]
    return Histories(
        np.cumsum([0, *map(len, ordered)]),
        np.array([item for item, _ in flat], np.int64),
        np.zeros(len(flat), np.int64),
        np.array([hour * 3_600_000_000 for _, hour in flat], np.int64),
    )


@given(worlds)
def test_the_past_is_the_last_event_of_an_earlier_moment(users: list[list[tuple[int, int]]]) -> None:
    histories = made(users)
    pasts, owners = histories.pasts(), histories.owners()
    for event, past in enumerate(pasts):
        earlier = [
            other
            for other in range(event)
            if owners[other] == owners[event] and histories.times[other] < histories.times[event]
        ]
        assert past == max(earlier, default=-1)


@given(worlds)
def test_first_meetings(users: list[list[tuple[int, int]]]) -> None:
    histories = made(users)
    met: set[tuple[int, int]] = set()
    for pair, first in zip(
        zip(histories.owners().tolist(), histories.items.tolist(), strict=True), histories.first_meetings(), strict=True
    ):
        assert first == (pair not in met)
        met.add(pair)


@given(worlds, st.sampled_from(["day", "1", "3", "100"]))
def test_snapshots_hold_whole_moments_and_each_users_last(users: list[list[tuple[int, int]]], rows: str) -> None:
    histories = made(users)
    taken = set(histories.snapshots(rows).tolist())
    owners = histories.owners()
    moments = [  # the last event of each moment
        event
        for event in range(len(owners))
        if not any(
            owners[o] == owners[event] and histories.times[o] == histories.times[event]
            for o in range(event + 1, len(owners))
        )
    ]
    assert taken <= set(moments)
    for user, start in enumerate(histories.starts[:-1].tolist()):
        mine = [event for event in moments if owners[event] == user]
        blocks = [int(histories.times[e]) // DAY_US if rows == "day" else (e - start) // int(rows) for e in mine]
        last_of_block = dict(zip(blocks, mine, strict=True))
        assert {event for event in taken if owners[event] == user} == set(last_of_block.values())


@given(worlds, st.sampled_from(["day", "2"]))
def test_later_events_move_no_earlier_snapshot(users: list[list[tuple[int, int]]], rows: str) -> None:
    """But the last one, whose day or group of events may go on."""
    long = made(users)
    cut = 30 * 3_600_000_000
    short = made([[event for event in events if event[1] < 30] for events in users])

    def dated(histories: Histories) -> list[tuple[int, int]]:
        taken = histories.snapshots(rows)
        return list(zip(histories.owners()[taken].tolist(), histories.times[taken].tolist(), strict=True))

    before = dated(short)
    kept = [row for at, row in enumerate(before) if at + 1 < len(before) and before[at + 1][0] == row[0]]
    assert set(kept) <= {row for row in dated(long) if row[1] < cut}


def test_gaps_grow_by_powers_of_two() -> None:
    seconds = np.cumsum([0, 0, 1, 3, 1023, 10**12])
    histories = Histories(np.array([0, 6, 6, 7]), np.zeros(7, int), np.zeros(7, int), np.append(seconds * 10**6, 5))
    assert histories.gaps().tolist() == [0, 1, 2, 3, 11, GAPS - 1, 0]


@pytest.mark.parametrize("rows", ["", "0", "-1", "week", "1.5"])
def test_other_rows_are_refused(rows: str) -> None:
    with pytest.raises(ConfigurationError, match="say day, or after how many events"):
        every(rows)


def test_frames_become_arrays_and_parts_become_one() -> None:
    frame = pl.DataFrame(
        {
            "user_id": ["a", "a", "b"],
            "content_id": ["x", "y", "x"],
            "event": ["view", "like", "view"],
            "timestamp": [START, START + timedelta(seconds=1), START],
        }
    )
    one = read_histories(frame, {"x": 7, "y": 8})
    assert one.starts.tolist() == [0, 2, 3]
    assert one.items.tolist() == [7, 8, 7]
    assert one.kinds.tolist() == [1, 2, 1]
    assert np.diff(one.times[:2]).tolist() == [1_000_000]
    none = read_histories(frame.clear(), {})
    both = Histories.joined([one, none, one])
    assert both.starts.tolist() == [0, 2, 3, 5, 6]
    assert both.items.tolist() == [7, 8, 7] * 2
    with pytest.raises(KeyError):
        read_histories(frame, {"x": 7})
