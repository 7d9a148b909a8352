import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictors.popularity.neighbours import Neighbours


def world(rows: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, 6)).astype(np.float32), rng.permutation(rows).astype(float), rng.normal(size=rows)


@given(st.integers(0, 1000), st.integers(1, 20))
def test_a_row_never_reads_its_own_target_or_a_later_one(seed: int, nearest: int) -> None:
    vectors, published, targets = world(40, seed)
    row = seed % 40
    known = published < published[row]
    hidden = np.where(known, targets, 1e6)
    said, again = (Neighbours.fit(vectors, published, t, nearest)(vectors, published)[row] for t in (targets, hidden))
    np.testing.assert_array_equal(said, again)
    assert np.isnan(said) == (not known.any())


def test_the_nearest_earlier_targets_are_averaged() -> None:
    vectors = np.array([[1, 0], [1, 0.1], [0, 1], [1, 0]], np.float32)
    near = Neighbours.fit(vectors, np.array([1.0, 2.0, 3.0, 9.0]), np.array([10.0, 20.0, 30.0, 40.0]), nearest=2)
    said = near(np.array([[1, 0]], np.float32), np.array([5.0]))
    assert said[0] == pytest.approx(15.0, abs=0.1)  # the third is far, the fourth later


def test_nearer_contents_weigh_more() -> None:
    vectors, times = np.array([[1, 0], [0, 1]], np.float32), np.array([1.0, 1.0])
    near = Neighbours.fit(vectors, times, np.array([0.0, 1.0]), nearest=2)
    low, high = near(np.array([[1, 0.2], [0.2, 1]], np.float32), np.array([2.0, 2.0]))
    assert low < 0.1 < 0.9 < high


def test_a_content_without_a_vector_is_no_neighbour_and_has_none() -> None:
    vectors, published, targets = world()
    vectors[7] = np.nan
    near = Neighbours.fit(vectors, published, targets, nearest=5)
    assert len(near.targets) == 119
    assert np.isnan(near(vectors, published)[7])


@pytest.mark.parametrize("rows", [1, 63, 65])
def test_a_row_scores_the_same_alone_and_in_a_batch(rows: int) -> None:
    vectors, published, targets = world()
    near = Neighbours.fit(vectors, published, targets, nearest=5)
    np.testing.assert_array_equal(near(vectors, published)[:rows], near(vectors[:rows], published[:rows]))
