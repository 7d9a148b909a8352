"""A walk through the trees says to the last bit what CatBoost says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from catboost import CatBoost, sum_models
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.errors import StateError
from predictors.trees import Trees

ROWS, COLUMNS = 120, 5


def fitted(loss: str, **options: Any) -> CatBoost:
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(ROWS, COLUMNS)).astype(np.float32)
    matrix[rng.random(matrix.shape) < 0.1] = np.nan
    score = np.nan_to_num(matrix[:, 0] * matrix[:, 1]) + matrix[:, 2]
    target = np.digitize(np.nan_to_num(score), [-0.5, 0.5]) if loss == "MultiClass" else np.nan_to_num(score)
    chosen = {"iterations": 30, "depth": 4, "thread_count": 1, "verbose": False, "allow_writing_files": False}
    return CatBoost({"loss_function": loss, **chosen, **options}).fit(matrix, target)


@pytest.fixture(scope="module")
def models() -> dict[str, CatBoost]:
    one, other = fitted("RMSE"), fitted("RMSE", depth=2, iterations=7, random_seed=1)
    classes = fitted("MultiClass")
    return {
        "some": fitted("MultiClass", classes_count=5),
        "one": one,
        "classes": classes,
        "bags": sum_models([one, other], weights=[0.5, 0.5]),
        "stump": fitted("RMSE", min_data_in_leaf=ROWS, l2_leaf_reg=1e9, iterations=2),
    }


@pytest.mark.parametrize("kind", ["one", "classes", "some", "bags", "stump"])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), rows=st.integers(1, 70), absent=st.floats(0, 1))
def test_it_says_what_catboost_says(
    models: dict[str, CatBoost], kind: str, seed: int, rows: int, absent: float
) -> None:
    rng = np.random.default_rng(seed)
    matrix = (3 * rng.normal(size=(rows, COLUMNS))).astype(np.float32)
    matrix[rng.random(matrix.shape) < absent] = np.nan
    borders = [0.0, *(border for some in models[kind].get_borders().values() for border in some if np.isfinite(border))]
    matrix[0] = rng.choice(borders, COLUMNS)  # on a border is not above it
    matrix.flags.writeable = False
    np.testing.assert_array_equal(Trees.of(models[kind])(matrix), models[kind].predict(matrix, thread_count=1))


def test_of_no_rows_it_says_nothing(models: dict[str, CatBoost]) -> None:
    none = np.empty((0, COLUMNS), np.float32)
    assert Trees.of(models["one"])(none).shape == (0,)
    assert Trees.of(models["classes"])(none).shape == (0, 3)


@pytest.mark.parametrize("other", [{"grow_policy": "Depthwise"}, {"nan_mode": "Max"}])
def test_trees_of_another_kind_are_refused(other: dict[str, str]) -> None:
    with pytest.raises(StateError, match="symmetric"):
        Trees.of(fitted("RMSE", **other))
