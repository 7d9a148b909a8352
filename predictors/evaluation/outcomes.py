"""What a task's predictors are compared by: the table of how each is asked about held-out rows, and judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast

import polars as pl

from predictors.base import Predictor
from predictors.evaluation.paired import Outcome
from predictors.recipes import Fitted, named

Predictions = Mapping[str, pl.DataFrame]
"""What a predictor said of the test rows: tables by the name of their file."""


class Examination(Protocol):
    """The held-out rows of a task's data."""

    @property
    def name(self) -> str:
        """What is predicted: predictors of several tasks may say the same of the same rows."""

    @property
    def units(self) -> str:
        """What a bootstrap draws, in the plural."""

    def objective(self, fitted: Fitted, /) -> float:
        """How good the predictor is on the validation rows; greater is better. The test rows are not looked at."""

    def truth(self) -> pl.DataFrame:
        """What is true of the test rows."""

    def predict(self, fitted: Fitted, predictor: Predictor, /) -> Predictions:
        """What that predictor, or a rival of it, says of the test rows."""

    def naive(self) -> Mapping[str, Predictions]:
        """The same of baselines that learn next to nothing, by name."""

    def outcome(self, predictions: Predictions, /) -> Outcome:
        """Predictions beside the truth. Raises InputError where they are not of these rows."""


# task -> "module:Class", an `Examination` made of the task's data
EXAMINATIONS: Mapping[str, str] = {
    "engagement": "predictors.evaluation.engagement:EngagementExamination",
    "media": "predictors.evaluation.engagement:EngagementExamination",
    "interest": "predictors.evaluation.interest:InterestExamination",
}


def examination(task: str, data: Any) -> Examination:
    """The held-out rows of that task's data."""
    return cast(Examination, named(EXAMINATIONS[task])(data))
