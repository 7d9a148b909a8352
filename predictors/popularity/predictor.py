"""Predictor `popularity`: gradient-boosted trees over a small assembled matrix, with calibrated classes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from catboost import CatBoost, CatBoostError

from feature_repo.columns import Columns, Wanted
from feature_repo.errors import StateError
from feature_repo.files import write_json
from predictors import boosting
from predictors.base import Scores
from predictors.calibration import Calibration, fit_calibration
from predictors.config import TrainConfig
from predictors.engagement import Examples
from predictors.labels import CLASSES, Quintiles
from predictors.popularity.features import Assembler, FeatureSet, Matrix, popularity_features
from predictors.recipes import Fitted
from predictors.splits import Splits
from predictors.tracking import LocalRun, Run
from predictors.trees import Trees

LEAST_TRAINING = 30  # labelled contents in the training split
_MODELS = ("regressor", "classifier")
_STATE = "popularity.json"


class Popularity:
    """Engagement score and quintile class of contents from facts, creator history and embeddings."""

    name = "popularity"
    service = "popularity"

    def __init__(
        self,
        assembler: Assembler,
        models: Mapping[str, CatBoost],
        calibration: Calibration,
        quintiles: Quintiles,
        embeddings: Mapping[str, str],
        version: str,
    ) -> None:
        self._version = version
        self.assembler = assembler
        self.models = models
        self._trees = {kind: Trees.of(model) for kind, model in models.items()}
        self._calibration = calibration
        self._quintiles = quintiles
        self._embeddings = {name: embeddings[name] for name in assembler.features.embeddings}

    @classmethod
    def fit(
        cls, examples: Examples, features: FeatureSet, config: TrainConfig, run: Run
    ) -> tuple[Popularity, dict[str, float]]:
        """Train on the training rows, stop and calibrate on the validation rows; the test rows are not looked at.

        With `config.refit` the models then learn from both with as many trees; classes stay those of the training
        rows. Beside the predictor: what calibration did on the validation rows. Raises StateError where there is too
        little to learn from.
        """
        splits, scores = examples.splits, examples.scores
        _require_learnable(scores, splits)
        quintiles = Quintiles.fit(scores[splits.train])
        classes = quintiles.classes(scores)
        targets: dict[str, npt.NDArray[Any]] = {"regressor": scores, "classifier": classes}
        assembler, matrix = Assembler.fit(examples, features, config)
        train, valid = ((matrix[part], part) for part in (splits.train, splits.valid))
        models, trees = {}, {}
        for kind, target in targets.items():
            learnt, stopping = ((block, target[part]) for block, part in (train, valid))
            models[kind], trees[kind], curves = boosting.stopped(kind, learnt, stopping, config, CLASSES)
            for split, losses in curves.items():
                for loss in losses:
                    run.metric(kind, split, loss)
        score, logits = (models[kind].predict(valid[0]) for kind in _MODELS)
        calibration, errors = fit_calibration(score, logits, quintiles.edges, classes[splits.valid])
        if config.refit:
            assembler, models = _refit(examples, features, targets, trees, config)
        return cls(assembler, models, calibration, quintiles, examples.digests, run.version), errors

    @property
    def version(self) -> str:
        """Names what it was trained from."""
        return self._version

    @property
    def features(self) -> tuple[str, ...]:
        """Columns that `score` reads."""
        return self.assembler.features.columns

    @property
    def embeddings(self) -> Mapping[str, str]:
        """Embedding name -> digest of its spec."""
        return self._embeddings

    @property
    def importances(self) -> dict[str, dict[str, float]]:
        """Share of each matrix column in the predictions' changes, in percent, by model."""
        return {
            kind: dict(zip(self.assembler.names, model.get_feature_importance().tolist(), strict=True))
            for kind, model in self.models.items()
        }

    def score(self, columns: Columns) -> Scores:
        """Score every row; see `Predictor.score`."""
        contents = self.prepare(columns) if columns.rows else np.empty((0, self.width), np.float32)
        return self.score_prepared(columns, contents)

    @property
    def width(self) -> int:
        """Columns of the matrix: all of it is made ahead."""
        return len(self.assembler.names)

    @property
    def prepared(self) -> tuple[str, ...]:
        """Every feature."""
        return tuple(name for name in self.features if name != "content_id")

    @property
    def live(self) -> Wanted:
        """Nothing: no user is asked about."""
        return Wanted(frozenset())

    def prepare(self, contents: Columns) -> Matrix:
        """The assembled matrix, (n, width); see `Preparing.prepare`."""
        return self.assembler(contents)

    def score_prepared(self, columns: Columns, contents: Matrix, met: Matrix | None = None) -> Scores:
        """The trees and the calibration; see `Preparing.score_prepared`."""
        if columns.rows == 0:
            return Scores(np.empty(0), np.empty((0, CLASSES)), np.empty(0, np.int64))
        score, logits = (self._trees[kind](contents) for kind in _MODELS)
        probabilities = self._calibration(score, logits, self._quintiles.edges)
        return Scores(score, probabilities, probabilities.argmax(axis=1))

    def influences(self, columns: Columns) -> dict[str, dict[str, float]]:
        """How far each column of the matrix moves the scores of these rows; see `boosting.influences`."""
        matrix = self.assembler(columns)
        values = boosting.contributions(self.models["regressor"], matrix)[:, :-1]
        return boosting.influences(self.assembler.names, matrix, values)

    def save(self, folder: Path) -> None:
        """Write the model's files into `folder`; the same model gives the same bytes."""
        self.assembler.save(folder)
        state = {
            "embeddings": self._embeddings,
            "calibration": self._calibration.to_json(),
            "edges": list(self._quintiles.edges),
        }
        write_json(folder / _STATE, state)
        for kind, model in self.models.items():
            model.save_model(str(folder / f"{kind}.cbm"))

    @classmethod
    def load(cls, folder: Path) -> Popularity:
        """Read what `save` wrote. Raises StateError where it cannot be read."""
        try:
            state = json.loads((folder / _STATE).read_text())
            models = {kind: CatBoost().load_model(str(folder / f"{kind}.cbm")) for kind in _MODELS}
            calibration, quintiles = Calibration(**state["calibration"]), Quintiles(tuple(state["edges"]))
            embeddings = dict(state["embeddings"])
        except (OSError, ValueError, KeyError, TypeError, CatBoostError) as error:
            raise StateError(f"{folder}: the model cannot be read ({error}); train again") from error
        return cls(Assembler.load(folder), models, calibration, quintiles, embeddings, folder.name)


def fit_popularity(examples: Examples, config: TrainConfig, run: Run) -> Fitted:
    """Fit on every feature; beside it, the same model without any embedding."""
    features = popularity_features(examples.digests)
    predictor, errors = Popularity.fit(examples, features, config, run)
    quiet = LocalRun("metadata only", run.folder)
    bare, _ = Popularity.fit(examples, FeatureSet(features.numbers, features.words), config, quiet)
    influences = predictor.influences(examples.columns.take(examples.splits.valid))
    facts = {"importances": predictor.importances, "influences": influences, "calibration": errors}
    return Fitted(predictor, facts, {"metadata_only": bare})


def _refit(
    examples: Examples,
    features: FeatureSet,
    targets: Mapping[str, npt.NDArray[Any]],
    trees: Mapping[str, list[int]],
    config: TrainConfig,
) -> tuple[Assembler, dict[str, CatBoost]]:
    """Assembler and models of the training and the validation rows, with as many trees as validation asked for."""
    splits = examples.splits
    both = np.sort(np.concatenate([splits.train, splits.valid]))
    assembler, matrix = Assembler.fit(
        replace(examples, splits=Splits(both, splits.valid, splits.test)), features, config
    )
    models = {
        kind: boosting.refitted(kind, (matrix[both], target[both]), trees[kind], config, CLASSES)
        for kind, target in targets.items()
    }
    return assembler, models


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
