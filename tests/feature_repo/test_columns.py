"""Frames as columns."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from feature_repo.columns import Columns
from feature_repo.errors import StateError

FRAME = pl.DataFrame(
    {
        "number": [1, None, 3],
        "flag": [True, None, False],
        "text": ["a", None, "c"],
        "tags": [["x"], None, []],
        "array": pl.Series([[1.0, 2.0], None, [5.0, 6.0]], dtype=pl.Array(pl.Float32, 2)),
        "list": pl.Series([[1.0, 2.0], None, [5.0, 6.0]], dtype=pl.List(pl.Float32)),
    }
)


def test_absent_values_are_marked() -> None:
    columns = Columns.from_frame(FRAME)
    for name in FRAME.columns:
        assert columns.present[name].tolist() == [True, False, True]
    np.testing.assert_array_equal(columns.numbers("number"), [1.0, np.nan, 3.0])
    np.testing.assert_array_equal(columns.numbers("flag"), [1.0, np.nan, 0.0])
    assert columns.objects("text").tolist() == ["a", None, "c"]
    assert columns.objects("tags").tolist() == [["x"], None, []]


@pytest.mark.parametrize("name", ["array", "list"])
def test_vectors_are_a_matrix(name: str) -> None:
    matrix = Columns.from_frame(FRAME).vectors(name)
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, [[1, 2], [np.nan, np.nan], [5, 6]])


def test_rows_are_taken_in_the_given_order() -> None:
    taken = Columns.from_frame(FRAME).take([2, 0, 0])
    assert taken.rows == 3
    assert taken.objects("text").tolist() == ["c", "a", "a"]
    assert taken.present["text"].tolist() == [True, True, True]


def test_columns_stand_beside_each_other_only_with_as_many_rows() -> None:
    columns = Columns.from_frame(FRAME)
    other = Columns.from_frame(pl.DataFrame({"more": [1, 2, 3]}))
    assert columns.beside(other).numbers("more").tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match="2 rows"):
        columns.beside(other.take([0, 1]))


def test_a_column_that_was_not_read_is_named() -> None:
    with pytest.raises(StateError, match="'views'"):
        Columns.from_frame(FRAME).numbers("views")
