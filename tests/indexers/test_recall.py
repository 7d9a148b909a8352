"""Recall on arrays small enough to check by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexers import recall
from indexers.kinds import Matrix, Positions, unit_rows

Clustered = Callable[..., Matrix]


def fan(*degrees: float) -> Matrix:
    """Unit rows in the plane at these angles."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_exact_scores_leave_the_row_itself_out() -> None:
    scores = recall.exact_scores(fan(0, 10, 30, 180), np.array([0]), 2)
    assert sorted(scores[0]) == pytest.approx([np.cos(np.radians(30)), np.cos(np.radians(10))], abs=1e-6)


def test_exact_scores_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch, clustered: Clustered) -> None:
    unit, _ = unit_rows(clustered(100), "test")
    sample = recall.sample_positions(100, 20, 1)
    whole = np.sort(recall.exact_scores(unit, sample, 10))
    monkeypatch.setattr(recall, "_BLOCK", 7)
    np.testing.assert_allclose(np.sort(recall.exact_scores(unit, sample, 10)), whole, atol=1e-6)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([0, 1, 2], 1.0),
        ([1, 2, 0], 1.0),
        ([0, 1, 3], 0.5),
        ([0, 3, 4], 0.0),
        ([0, -1, -1], 0.0),
        ([0, 1, 1], 0.5),
        ([1, 3, 2], 0.5),
    ],
)
def test_share_of_the_two_nearest_that_was_found(found: list[int], expected: float) -> None:
    unit = fan(0, 10, 20, 90, 180)
    assert recall.recall_at_k(unit, np.array([0]), np.array([found]), 2) == expected


def test_equally_near_rows_are_as_good() -> None:
    unit = fan(0, 10, 10, 10, 90)
    for found in ([1, 2], [3, 2], [1, 3]):
        assert recall.recall_at_k(unit, np.array([0]), np.array([found]), 2) == 1.0


@pytest.mark.parametrize("rows", [0, 1])
def test_with_no_other_row_there_is_nothing_to_miss(rows: int) -> None:
    sample = recall.sample_positions(rows, 10, 0)
    assert recall.recall_at_k(fan(*range(rows)), sample, sample.reshape(-1, 1), 10) == 1.0


@given(st.integers(0, 200), st.integers(1, 50), st.integers(0, 3))
def test_a_sample_is_distinct_ordered_and_seeded(count: int, size: int, seed: int) -> None:
    sample: Positions = recall.sample_positions(count, size, seed)
    assert len(sample) == min(count, size)
    assert sample.tolist() == sorted(set(sample.tolist()))
    assert all(0 <= position < count for position in sample)
    assert np.array_equal(sample, recall.sample_positions(count, size, seed))
