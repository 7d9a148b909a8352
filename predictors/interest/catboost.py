"""Predictor `interest_catboost`: gradient-boosted trees over what the crowd, the content and the user's history say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from catboost import CatBoostClassifier, CatBoostError, Pool
from sklearn.linear_model import LogisticRegression

from feature_repo.columns import Columns, Wanted
from feature_repo.errors import StateError
from feature_repo.files import write_json
from predictors import boosting
from predictors.base import Scores
from predictors.interest.examples import EventExamples
from predictors.interest.features import InterestAssembler, Matrix
from predictors.interest.matrices import fit_interest
from predictors.interest.trees_config import InterestTreesConfig
from predictors.labels import Floats
from predictors.recipes import Fitted
from predictors.tracking import Run

Numbers = npt.NDArray[np.floating[Any]]

LEAST_TRAINING = 100  # encounters in the training split
_EXPLAINED = 1000  # encounters, at least where there are so many, over which SHAP values are averaged
_ENGAGES, _RANKS, _STATE = "engages.cbm", "ranks.cbm", "model.json"


@dataclass(frozen=True, slots=True)
class Line:
    """Log-odds as a line over one number."""

    slope: float
    offset: float

    @classmethod
    def fit(cls, values: Numbers, engaged: Floats) -> Line:
        """The likeliest (Platt 1999); that through 0 with slope 1 where all were alike."""
        if engaged.min() == engaged.max():
            return cls(1.0, 0.0)
        fitted = LogisticRegression(C=1e6).fit(values[:, None], engaged)
        return cls(float(fitted.coef_[0, 0]), float(fitted.intercept_[0]))

    def __call__(self, values: Numbers) -> Numbers:
        """(n,) log-odds of n numbers."""
        return self.slope * values + self.offset


class InterestCatBoost:
    """P(engaged | shown) of a user with contents, and in `details["rank"]` the logarithm of the odds that the user
    meets a content and engages, against one drawn evenly from all: what to order all contents by.
    """

    name = "interest_catboost"
    service = "interest"

    def __init__(
        self,
        assembler: InterestAssembler,
        engages: CatBoostClassifier,
        ranks: CatBoostClassifier,
        start: Line,
        calibration: Line,
        embeddings: Mapping[str, str],
        version: str,
    ) -> None:
        self._version = version
        self.assembler = assembler
        self.engages = engages
        self._ranks = ranks
        self.start = start
        self.calibration = calibration
        self._embeddings = {name: embeddings[name] for name in assembler.embeddings}

    @property
    def version(self) -> str:
        """Names what it was trained from."""
        return self._version

    @property
    def features(self) -> tuple[str, ...]:
        """Columns that `score` reads."""
        return self.assembler.columns

    @property
    def embeddings(self) -> Mapping[str, str]:
        """Embedding name -> digest of its spec."""
        return self._embeddings

    @property
    def importances(self) -> dict[str, dict[str, float]]:
        """Share of each matrix column in the predictions' changes, in percent, by model."""
        models = {"engages": self.engages, "ranks": self._ranks}
        return {
            kind: dict(zip(self.assembler.names, model.get_feature_importance().tolist(), strict=True))
            for kind, model in models.items()
        }

    def score(self, columns: Columns) -> Scores:
        """Score every row; see `Predictor.score`."""
        if columns.rows == 0:
            return _no_scores()
        return self.score_matrix(self.assembler(columns))

    @property
    def width(self) -> int:
        """Numbers of a described content."""
        return self.assembler.packed_width

    @property
    def prepared(self) -> tuple[str, ...]:
        """What contents are described by."""
        return ("tags", "published_year", *self.assembler.embeddings)

    @property
    def live(self) -> Wanted:
        """Counts, and the user's history."""
        return self.assembler.live

    def prepare(self, contents: Columns) -> Matrix:
        """Contents as the features need them, (n, width); see `Preparing.prepare`."""
        return self.assembler.describe(contents).packed()

    def score_prepared(self, columns: Columns, contents: Matrix, met: Matrix) -> Scores:
        """The features that hang on the user, and the trees; see `Preparing.score_prepared`."""
        if columns.rows == 0:  # of which CatBoost complains on stderr
            return _no_scores()
        assembler = self.assembler
        candidates, related = assembler.unpacked(contents), assembler.unpacked(met)
        return self.score_matrix(assembler.matrix(columns, candidates, related, assembler.crowd))

    def score_matrix(self, matrix: Matrix) -> Scores:
        """The trees alone, of assembled rows."""
        pool = Pool(matrix)
        # One thread: waking others costs more than the trees of a request's rows
        raw, rank = (
            model.predict(pool, prediction_type="RawFormulaVal", thread_count=1)
            for model in (self.engages, self._ranks)
        )
        p = 1 / (1 + np.exp(-self.calibration(raw + self.start(matrix[:, 0]))))
        return Scores(p, np.column_stack([1 - p, p]), (p >= 0.5).astype(np.int64), {"rank": rank})

    def contributions(self, matrix: Matrix) -> Floats:
        """SHAP values of assembled rows in log-odds of the chance to engage, (n, columns + 1); see
        `boosting.contributions`.

        The trees start from a line over the expected reaction, which is a sum: the crowd's level, what this content is
        above it, the user's leniency and their liking by each block of the space. So the line is split as that sum is.
        """
        names, level = self.assembler.names, self.assembler.crowd.level
        values = self.calibration.slope * boosting.contributions(self.engages, matrix)
        parts = np.zeros_like(values[:, :-1])
        personal = [column for column, name in enumerate(names) if name == "leniency" or name.startswith("liking:")]
        parts[:, personal] = matrix[:, personal]
        expected = matrix[:, names.index("expected")].astype(np.float64)
        parts[:, names.index("crowd_bias")] = expected - level - parts.sum(axis=1)
        values[:, :-1] += self.calibration.slope * self.start.slope * parts
        values[:, -1] += self.calibration(self.start(np.full(len(matrix), level)))
        return values

    def save(self, folder: Path) -> None:
        """Write the model's files into `folder`; the same model gives the same bytes."""
        self.assembler.save(folder)
        write_json(
            folder / _STATE,
            {
                "start": (self.start.slope, self.start.offset),
                "calibration": (self.calibration.slope, self.calibration.offset),
                "embeddings": self._embeddings,
            },
        )
        self.engages.save_model(str(folder / _ENGAGES))
        self._ranks.save_model(str(folder / _RANKS))

    @classmethod
    def load(cls, folder: Path) -> InterestCatBoost:
        """Read what `save` wrote. Raises StateError where it cannot be read."""
        engages, ranks = CatBoostClassifier(), CatBoostClassifier()
        try:
            state = json.loads((folder / _STATE).read_text())
            engages.load_model(str(folder / _ENGAGES))
            ranks.load_model(str(folder / _RANKS))
            start, calibration = Line(*state["start"]), Line(*state["calibration"])
        except (OSError, ValueError, KeyError, CatBoostError) as error:
            raise StateError(f"{folder}: the model cannot be read ({error}); train again") from error
        return cls(InterestAssembler.load(folder), engages, ranks, start, calibration, state["embeddings"], folder.name)


def fit_interest_catboost(examples: EventExamples, config: InterestTreesConfig, run: Run) -> Fitted:
    """Train on the training rows, stop and calibrate on the validation rows; the test rows are not looked at.

    The trees start from the log-odds that the expected reaction gives, and add what it misses: it orders a user's
    contents more finely than splits of it would. Raises StateError where there is too little to learn from.
    """
    splits, labels = examples.splits, examples.labels["engaged"]
    engaged, held = labels[splits.train], labels[splits.valid]
    _require_learnable(engaged)
    run.stage("features")
    interest = fit_interest(examples, config)
    train = interest.matrix(examples, splits.train, training=True)
    valid = interest.matrix(examples, splits.valid, training=False)
    run.stage("engages")
    start = Line.fit(train[:, 0], engaged)
    sides = (Pool(train, engaged, baseline=start(train[:, 0])), Pool(valid, held, baseline=start(valid[:, 0])))
    engages = _fit(*sides, config, run, "engages")
    raw = engages.predict(valid, prediction_type="RawFormulaVal") + start(valid[:, 0])
    run.stage("ranks")
    learnt, checked = (Pool(*interest.ranking(examples, rows)) for rows in (splits.train, splits.valid))
    ranks = _fit(learnt, checked, config, run, "ranks")
    calibration = Line.fit(raw, held)
    predictor = InterestCatBoost(interest.assembler, engages, ranks, start, calibration, examples.digests, run.version)
    some = valid[:: max(1, len(valid) // _EXPLAINED)]
    influences = boosting.influences(interest.assembler.names, some, predictor.contributions(some)[:, :-1])
    return Fitted(predictor, {"importances": predictor.importances, "influences": influences})


def _fit(train: Pool, valid: Pool, config: InterestTreesConfig, run: Run, curve: str) -> CatBoostClassifier:
    options: dict[str, Any] = {
        "iterations": config.iterations,
        "depth": config.depth,
        "learning_rate": config.learning_rate,
        "rsm": config.column_share,
        "l2_leaf_reg": config.leaf_penalty,
        "early_stopping_rounds": config.patience,
        "random_seed": config.seed,
        "thread_count": config.threads,
        "allow_writing_files": False,
        "verbose": False,
    }
    model = CatBoostClassifier(loss_function="Logloss", **options)
    model.fit(train, eval_set=valid)
    boosting.forget_the_run(model)
    losses = model.get_evals_result()
    for split, key in (("train", "learn"), ("valid", "validation")):
        for loss in losses[key]["Logloss"]:
            run.metric(curve, split, loss)
    return model


def _no_scores() -> Scores:
    return Scores(np.empty(0), np.empty((0, 2)), np.empty(0, np.int64), {"rank": np.empty(0)})


def _require_learnable(engaged: Floats) -> None:
    if len(engaged) < LEAST_TRAINING or engaged.min() == engaged.max():
        raise StateError(
            f"{len(engaged)} training encounters, {int(engaged.sum())} of them engaged; at least {LEAST_TRAINING} of "
            "both kinds together are needed: ingest more events"
        )
