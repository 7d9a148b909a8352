import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from feature_repo.errors import StateError
from predictors.fusion.encodings import Bins, Scale, TokenMap

numbers = hnp.arrays(np.float32, st.tuples(st.integers(1, 30), st.just(3)), elements=st.floats(-1e3, 1e3, width=32))


@settings(max_examples=50)
@given(numbers, st.integers(1, 6))
def test_bins_fill_up_in_order(rows: np.ndarray, bins: int) -> None:
    fitted = Bins.fit(rows, bins)
    said = fitted(rows)
    count = len(fitted.low)
    assert said.shape == (len(rows), count + 3)
    assert ((said >= 0) & (said <= 1)).all()
    assert not said[:, count:].any()  # none is unknown
    for number in range(3):
        mine = said[:, :count][:, fitted.column == number]
        assert (np.diff(mine[np.argsort(rows[:, number], kind="stable")], axis=0) >= 0).all()
        assert (np.diff(mine, axis=1) <= 0).all()  # the next begins where one is full


def test_the_unknown_is_marked() -> None:
    fitted = Bins.fit(np.array([[0.0, np.nan], [1.0, np.nan], [np.nan, np.nan]], np.float32), 2)
    np.testing.assert_array_equal(fitted.column, [0, 0])  # a number that nobody knows has no bins
    said = fitted(np.array([[0.75, 5.0], [np.nan, np.nan]], np.float32))
    np.testing.assert_array_equal(said, [[1, 0.5, 0, 0], [np.nan, np.nan, 1, 1]])


def test_a_scale_is_that_of_its_rows_and_unknown_is_average() -> None:
    rows = np.array([[1.0, 5.0], [3.0, 5.0], [np.nan, 5.0]], np.float32)
    np.testing.assert_allclose(Scale.fit(rows)(rows), [[-1, 0], [1, 0], [0, 0]])


def test_token_components_are_principal() -> None:
    rng = np.random.default_rng(0)
    tokens = (rng.normal(size=(200, 4, 5)) * np.array([5.0, 1, 0.1, 0.1, 0.1]) + 3).astype(np.float32)
    fitted = TokenMap.fit(tokens, 2)
    said = fitted(tokens.reshape(200, -1))
    assert said.shape == (200, 4, 2)
    assert said.reshape(-1, 2).var(axis=0).mean() == pytest.approx(1.0, abs=0.01)
    assert abs(np.corrcoef(said[:, :, 0].ravel(), tokens[:, :, 0].ravel())[0, 1]) > 0.99
    np.testing.assert_array_equal(fitted(np.full((1, 20), np.nan, np.float32)), np.zeros((1, 4, 2)))
    np.testing.assert_array_equal(fitted(np.empty((2, 0), np.float32)), np.zeros((2, 4, 2)))
    with pytest.raises(StateError, match="train again"):
        fitted(np.zeros((1, 19), np.float32))
