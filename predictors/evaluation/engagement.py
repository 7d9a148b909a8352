"""Predictors of engagement on held-out contents: `id,pred,cls` of each, and how good that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from feature_repo.errors import InputError
from predictors.base import Predictor
from predictors.engagement import EngagementData, Examples
from predictors.evaluation.engagement_metrics import evaluate, r2
from predictors.evaluation.outcomes import Predictions
from predictors.evaluation.paired import Draw, Measures
from predictors.labels import CLASSES, Classes, Floats, Quintiles
from predictors.recipes import Fitted

if TYPE_CHECKING:
    from predictors.end_to_end.data import MediaData

FILE, PROBABILITIES = "engagement", "probabilities"


@dataclass(frozen=True, slots=True)
class EngagementOutcome:
    """Scores and classes, predicted and true, (n,) each; a bootstrap draws contents."""

    truth: Floats
    predicted: Floats
    classes: Classes
    predicted_classes: Classes

    @property
    def units(self) -> int:
        """How many contents there are."""
        return len(self.truth)

    def measure(self, drawn: Draw | None = None, /) -> Measures:
        """See `predictors.evaluation.engagement_metrics`."""
        rows = slice(None) if drawn is None else drawn
        return evaluate(self.truth[rows], self.predicted[rows], self.classes[rows], self.predicted_classes[rows])


class EngagementExamination:
    """See `Examination`; classes are cut on the training rows' scores."""

    name = "engagement"
    units = "contents"

    def __init__(self, data: EngagementData | MediaData) -> None:
        self._examples: Examples = data.examples
        self._learnt = self._examples.scores[self._examples.splits.train]
        self._quintiles = Quintiles.fit(self._learnt)
        self._ids = [self._examples.contents[row].content_id for row in self._examples.splits.test]

    def objective(self, fitted: Fitted, /) -> float:
        """R2 of the scores."""
        valid = self._examples.splits.valid
        columns = fitted.beside(self._examples.columns).take(valid)
        return r2(self._examples.scores[valid], fitted.predictor.score(columns).score)

    def truth(self) -> pl.DataFrame:
        """`id,score,cls` of each test content."""
        scores = self._examples.scores[self._examples.splits.test]
        return pl.DataFrame({"id": self._ids, "score": scores, "cls": self._quintiles.classes(scores)})

    def predict(self, fitted: Fitted, predictor: Predictor, /) -> Predictions:
        """`id,pred,cls` of each test content, and the `probabilities` of its classes: `id,p0` to `p4`."""
        said = predictor.score(fitted.beside(self._examples.columns).take(self._examples.splits.test))
        shares = {f"p{place}": said.probabilities[:, place] for place in range(CLASSES)}
        return {**self._table(said.score, said.classes), PROBABILITIES: pl.DataFrame({"id": self._ids, **shares})}

    def naive(self) -> Mapping[str, Predictions]:
        """Always the training mean and the training rows' most frequent class."""
        rows = len(self._ids)
        majority = np.bincount(self._quintiles.classes(self._learnt), minlength=CLASSES).argmax()
        return {"mean": self._table(np.full(rows, self._learnt.mean()), np.full(rows, majority))}

    def outcome(self, predictions: Predictions, /) -> EngagementOutcome:
        """Predictions beside the scores."""
        table = predictions[FILE]
        if table["id"].to_list() != self._ids:
            raise InputError(f"the predictions of {table.height} contents are not of the {len(self._ids)} held out")
        truth = self.truth()
        scores, classes = truth["score"].to_numpy(), truth["cls"].to_numpy()
        return EngagementOutcome(scores, table["pred"].to_numpy(), classes, table["cls"].to_numpy())

    def _table(self, scores: Floats, classes: Classes) -> Predictions:
        columns = {"id": self._ids, "pred": scores, "cls": classes.astype(np.int64)}
        return {FILE: pl.DataFrame(columns)}
