"""A golden batch: a few rows with the scores that the model gave them when it was trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from feature_repo.columns import Columns
from feature_repo.errors import StateError

if TYPE_CHECKING:
    from predictors.base import Predictor

FILE = "golden.parquet"
ROWS = 8
_SCORE, _PROBABILITIES = "expected_score", "expected_probabilities"
_TOLERANCE = 1e-5  # another machine's sums of a ridge score may differ in the last place


def write_golden(folder: Path, rows: pl.DataFrame, predictor: Predictor) -> None:
    """Score `rows`, which hold the predictor's features, and keep both."""
    scores = predictor.score(Columns.from_frame(rows))
    frame = rows.select(predictor.features).with_columns(
        pl.Series(_SCORE, scores.score), pl.Series(_PROBABILITIES, scores.probabilities)
    )
    frame.write_parquet(folder / FILE)


def check_golden(folder: Path, predictor: Predictor) -> None:
    """Raise StateError unless the predictor scores its golden batch as it did when it was trained."""
    path = folder / FILE
    try:
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StateError(f"{path} cannot be read ({error}); train again") from error
    scores = predictor.score(Columns.from_frame(frame))
    expected = np.column_stack([frame[_SCORE].to_numpy(), frame[_PROBABILITIES].to_numpy()])
    found = np.column_stack([scores.score, scores.probabilities])
    worst = float(np.abs(found - expected).max())
    if not worst <= _TOLERANCE:
        raise StateError(
            f"{folder}: {predictor.name} scores its golden batch {worst:.3g} off what it did when it was trained; "
            "the model or a library under it has changed: train again"
        )
