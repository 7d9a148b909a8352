"""The trees of a CatBoost model as arrays, and a compiled walk through them.

CatBoost's own walk makes a `Pool` of the rows and looks each value up among all borders first, at every call and for
each model anew. A request's few hundred rows are walked sooner by comparing the values themselves.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from catboost import CatBoost

from feature_repo.errors import StateError
from predictors.compiled import compiled

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trees:
    """t trees of d levels: a row goes up by 2^level where its value of `features` (t, d) is above `borders` (t, d), and
    ends at one of `leaves` (t, k, 2^d). What it meets, times `scale` and plus `bias` (k,), is the raw prediction.
    """

    features: npt.NDArray[np.int64]
    borders: npt.NDArray[np.float32]
    leaves: Floats
    scale: float
    bias: Floats

    @classmethod
    def of(cls, model: CatBoost) -> Trees:
        """Of a model of symmetric trees over numbers, in which a missing value is below every border, as CatBoost has
        it by default. Raises StateError for another.
        """
        with TemporaryDirectory() as folder:
            path = Path(folder) / "model.json"
            model.save_model(str(path), format="json")
            said: dict[str, Any] = json.loads(path.read_text())
        numbers = said["features_info"]["float_features"]
        missing = {number["nan_value_treatment"] for number in numbers}
        if set(said["features_info"]) != {"float_features"} or "oblivious_trees" not in said or "AsTrue" in missing:
            raise StateError("the model's trees are not symmetric trees over numbers: train again")
        trees, (scale, started) = said["oblivious_trees"], said["scale_and_bias"]
        known, bias = range(len(started)), np.array(started, np.float64)
        classes = said["model_info"].get("class_params", {"classes_count": 0})
        if classes["classes_count"] > len(known) > 1:  # the others were in no training row
            known, bias = classes["class_to_label"], np.full(classes["classes_count"], -np.inf)
            bias[known] = started
        depth = max((len(tree["splits"] or ()) for tree in trees), default=0)
        features = np.zeros((len(trees), depth), np.int64)
        borders = np.full((len(trees), depth), np.inf, np.float32)  # nothing is above the levels that a tree lacks
        leaves = np.zeros((len(trees), len(bias), 2**depth))
        for row, tree in enumerate(trees):
            splits, values = tree["splits"] or (), np.reshape(tree["leaf_values"], (-1, len(known)))
            features[row, : len(splits)] = [split["float_feature_index"] for split in splits]
            borders[row, : len(splits)] = [split["border"] for split in splits]
            leaves[row, known, : len(values)] = values.T
        return cls(features, borders, leaves, scale, bias)

    def __call__(self, matrix: npt.NDArray[np.float32]) -> Floats:
        """`model.predict` of (n, columns): (n,) where k is 1, else (n, k)."""
        raw = np.zeros((len(self.bias), len(matrix)))
        _walk(np.array(matrix.T, np.float32, order="C"), self.features, self.borders, self.leaves, raw)
        said: Floats = raw.T * self.scale + self.bias
        return said[:, 0] if len(self.bias) == 1 else said


@compiled("void(f4[:,::1], i8[:,::1], f4[:,::1], f8[:,:,::1], f8[:,::1])")
def _walk(
    columns: npt.NDArray[np.float32],
    features: npt.NDArray[np.int64],
    borders: npt.NDArray[np.float32],
    leaves: Floats,
    raw: Floats,
) -> None:
    """Add the leaves of the rows of `columns` (columns, n) to `raw` (k, n)."""
    none = np.int32(0)
    places = np.empty(columns.shape[1], np.int32)
    for tree in range(len(features)):
        places[:] = none
        for level in range(features.shape[1]):
            column, border, up = columns[features[tree, level]], borders[tree, level], np.int32(1 << level)
            for row in range(len(places)):
                places[row] |= up if column[row] > border else none
        for output in range(len(raw)):
            said, values = raw[output], leaves[tree, output]
            for row in range(len(said)):
                said[row] += values[places[row]]
