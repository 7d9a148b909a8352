"""Predictor `popularity`: gradient-boosted trees (Prokhorenkova et al. 2018) over a small assembled matrix."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from catboost import CatBoostClassifier, CatBoostError, CatBoostRegressor

from feature_repo.columns import Columns
from feature_repo.errors import StateError
from feature_repo.files import write_json
from predictors.base import Scores
from predictors.config import TrainConfig
from predictors.features import Assembler, Examples, FeatureSet, Matrix
from predictors.labels import CLASSES, Quintiles
from predictors.splits import Splits

LEAST_TRAINING = 30  # labelled contents in the training split
_REGRESSOR, _CLASSIFIER, _EMBEDDINGS = "regressor.cbm", "classifier.cbm", "embeddings.json"

Curves = dict[str, dict[str, list[float]]]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained `Popularity`, the edges of its classes, and its loss per iteration: model -> split -> values."""

    predictor: Popularity
    quintiles: Quintiles
    curves: Curves


class Popularity:
    """Engagement score and quintile class of contents from facts, creator history and embeddings."""

    name = "popularity"
    service = "popularity"

    def __init__(
        self,
        assembler: Assembler,
        regressor: CatBoostRegressor,
        classifier: CatBoostClassifier,
        embeddings: Mapping[str, str],
        version: str,
    ) -> None:
        self._version = version
        self._assembler = assembler
        self._regressor = regressor
        self._classifier = classifier
        self._embeddings = {name: embeddings[name] for name in assembler.features.embeddings}

    @classmethod
    def fit(
        cls,
        examples: Examples,
        features: FeatureSet,
        config: TrainConfig,
        embeddings: Mapping[str, str],
        version: str = "unpublished",
    ) -> Fitted:
        """Train on the training rows, stop on the validation rows; the test rows are not looked at.

        `embeddings` gives the spec digest of each of `features.embeddings`. Raises StateError where there is
        too little to learn from.
        """
        splits, scores = examples.splits, examples.scores
        _require_learnable(scores, splits)
        quintiles = Quintiles.fit(scores[splits.train])
        assembler, matrix = Assembler.fit(examples, features, config)
        options = _options(config)
        regressor = CatBoostRegressor(loss_function="RMSE", **options)
        classifier = CatBoostClassifier(loss_function="MultiClass", classes_count=CLASSES, **options)
        curves = {
            "regressor": _train(regressor, matrix, scores, splits),
            "classifier": _train(classifier, matrix, quintiles.classes(scores), splits),
        }
        return Fitted(cls(assembler, regressor, classifier, embeddings, version), quintiles, curves)

    @property
    def version(self) -> str:
        """Names what it was trained from."""
        return self._version

    @property
    def features(self) -> tuple[str, ...]:
        """Columns that `score` reads."""
        return self._assembler.features.columns

    @property
    def embeddings(self) -> Mapping[str, str]:
        """Embedding name -> digest of its spec."""
        return self._embeddings

    @property
    def importances(self) -> dict[str, dict[str, float]]:
        """Share of each matrix column in the predictions' changes, in percent, by model."""
        models = {"regressor": self._regressor, "classifier": self._classifier}
        return {
            kind: dict(zip(self._assembler.names, model.get_feature_importance().tolist(), strict=True))
            for kind, model in models.items()
        }

    def score(self, columns: Columns) -> Scores:
        """Score every row; see `Predictor.score`."""
        if columns.rows == 0:
            return Scores(np.empty(0), np.empty((0, CLASSES)), np.empty(0, np.int64))
        matrix = self._assembler(columns)
        # One thread: waking others costs more than the trees of a request's rows
        score = self._regressor.predict(matrix, thread_count=1)
        probabilities = self._classifier.predict(matrix, prediction_type="Probability", thread_count=1)
        return Scores(score, probabilities, probabilities.argmax(axis=1))

    def save(self, folder: Path) -> None:
        """Write the model's files into `folder`; the same model gives the same bytes."""
        self._assembler.save(folder)
        write_json(folder / _EMBEDDINGS, self._embeddings)
        self._regressor.save_model(str(folder / _REGRESSOR))
        self._classifier.save_model(str(folder / _CLASSIFIER))

    @classmethod
    def load(cls, folder: Path) -> Popularity:
        """Read what `save` wrote. Raises StateError where it cannot be read."""
        regressor, classifier = CatBoostRegressor(), CatBoostClassifier()
        try:
            embeddings = json.loads((folder / _EMBEDDINGS).read_text())
            regressor.load_model(str(folder / _REGRESSOR))
            classifier.load_model(str(folder / _CLASSIFIER))
        except (OSError, ValueError, CatBoostError) as error:
            raise StateError(f"{folder}: the model cannot be read ({error}); train again") from error
        return cls(Assembler.load(folder), regressor, classifier, embeddings, folder.name)


def _options(config: TrainConfig) -> dict[str, Any]:
    return {
        "iterations": config.iterations,
        "depth": config.depth,
        "learning_rate": config.learning_rate,
        "rsm": config.column_share,
        "early_stopping_rounds": config.patience,
        "random_seed": config.seed,
        "thread_count": config.threads,
        "allow_writing_files": False,
        "verbose": False,
    }


def _train(model: Any, matrix: Matrix, targets: npt.NDArray[Any], splits: Splits) -> dict[str, list[float]]:
    """Fit `model` in place; its loss per iteration on the training and validation rows."""
    train, valid = splits.train, splits.valid
    model.fit(matrix[train], targets[train], eval_set=(matrix[valid], targets[valid]))
    _forget_the_run(model)
    losses = model.get_evals_result()
    return {split: next(iter(losses[key].values())) for split, key in (("train", "learn"), ("valid", "validation"))}


def _forget_the_run(model: Any) -> None:
    """Take when, by which threads and under what random name it was trained out of `model`, so that equal
    trainings are equal bytes.
    """
    metadata = model.get_metadata()
    for stamp in ("train_finish_time", "model_guid"):
        metadata[stamp] = ""
    params = json.loads(metadata["params"])
    for options in (params["flat_params"], params["system_options"]):
        options["thread_count"] = 1  # loading complains of -1
    metadata["params"] = json.dumps(params)


def _require_learnable(scores: npt.NDArray[np.float64], splits: Splits) -> None:
    train = scores[splits.train]
    if len(train) < LEAST_TRAINING or not len(splits.valid):
        raise StateError(
            f"{len(train)} labelled contents to train on and {len(splits.valid)} to validate on; "
            f"at least {LEAST_TRAINING} and 1 are needed: ingest more contents that have counters"
        )
    if train.min() == train.max():
        raise StateError(
            f"every training content has the score {train[0]:g}, so there is nothing to learn: "
            "ingest contents whose counters differ, or weigh other counters"
        )
