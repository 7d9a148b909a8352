"""Gradient-boosted trees (Prokhorenkova et al. 2018): trained in bags, averaged into one model, explained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from catboost import CatBoost, Pool, sum_models

from predictors.config import TrainConfig

Matrix = npt.NDArray[np.float32]
Targets = npt.NDArray[Any]
Losses = dict[str, list[float]]

_KINDS: Mapping[str, Mapping[str, Any]] = {
    "regressor": {"loss_function": "RMSE"},
    "classifier": {"loss_function": "MultiClass"},
}


def stopped(
    kind: str, train: tuple[Matrix, Targets], valid: tuple[Matrix, Targets], config: TrainConfig, classes: int
) -> tuple[CatBoost, list[int], Losses]:
    """Bags that stop once validation no longer improves: their mean, the trees of each, the first one's losses."""
    bags = []
    for bag in range(config.bags):
        model = CatBoost(_options(kind, config, bag, classes) | {"early_stopping_rounds": config.patience})
        model.fit(*train, eval_set=valid)
        bags.append(model)
    losses = bags[0].get_evals_result()
    curves = {split: next(iter(losses[key].values())) for split, key in (("train", "learn"), ("valid", "validation"))}
    return _mean(bags), [bag.tree_count_ for bag in bags], curves


def refitted(kind: str, rows: tuple[Matrix, Targets], trees: list[int], config: TrainConfig, classes: int) -> CatBoost:
    """Bags of as many trees as are said, on all of the rows: their mean."""
    bags = []
    for bag, count in enumerate(trees):
        bags.append(CatBoost(_options(kind, config, bag, classes) | {"iterations": count}))
        bags[-1].fit(*rows)
    return _mean(bags)


def contributions(model: CatBoost, matrix: Matrix) -> npt.NDArray[np.float64]:
    """SHAP values (Lundberg et al. 2020), (n, columns + 1) float64: the last column is what every row starts from, and
    a row's sum is what the trees say of it.
    """
    values: npt.NDArray[np.float64] = model.get_feature_importance(Pool(matrix), type="ShapValues", thread_count=1)
    return values


def influences(names: Sequence[str], matrix: Matrix, values: npt.NDArray[np.float64]) -> dict[str, dict[str, float]]:
    """How far each column of `matrix` (n, columns) moves predictions, by name: its `mean` absolute SHAP value, from
    `values` (n, columns), and the `direction`, the correlation in [-1, 1] of the column with them.
    """
    return {
        name: {"mean": float(np.abs(given).mean()), "direction": _direction(column.astype(np.float64), given)}
        for name, column, given in zip(names, matrix.T, values.T, strict=True)
    }


def _direction(column: npt.NDArray[np.float64], given: npt.NDArray[np.float64]) -> float:
    known = ~np.isnan(column)
    column, given = column[known], given[known]
    if not len(column) or np.ptp(column) == 0 or np.ptp(given) == 0:
        return 0.0
    return float(np.corrcoef(column, given)[0, 1])


def _options(kind: str, config: TrainConfig, bag: int, classes: int) -> dict[str, Any]:
    on_cpu = {"rsm": config.column_share, "task_type": "CPU"}
    return {
        **_KINDS[kind],
        **({"classes_count": classes} if kind == "classifier" else {}),
        **(on_cpu if config.device == "cpu" else {"task_type": "GPU"}),
        "iterations": config.iterations,
        "depth": config.depth,
        "learning_rate": config.learning_rate,
        "random_seed": config.seed * config.bags + bag,
        "thread_count": config.threads,
        "allow_writing_files": False,
        "verbose": False,
    }


def _mean(bags: list[CatBoost]) -> CatBoost:
    """One model that predicts the bags' mean."""
    for bag in bags:
        forget_the_run(bag)
    if len(bags) == 1:
        return bags[0]
    mean = sum_models(bags, weights=[1 / len(bags)] * len(bags))
    forget_the_run(mean)
    return mean


def forget_the_run(model: CatBoost) -> None:
    """Take when, by which threads and under what random name it was trained out of `model`, so that equal
    trainings are equal bytes.
    """
    metadata = model.get_metadata()
    for stamp in ("train_finish_time", "model_guid"):
        metadata[stamp] = ""
    if "params" in metadata:  # a sum has those of its bags
        params = json.loads(metadata["params"])
        for options in (params["flat_params"], params["system_options"]):
            options["thread_count"] = 1  # loading complains of -1
        metadata["params"] = json.dumps(params)
