"""A golden batch: a few rows with the scores that the model gave them when it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
_RELATED = "golden-{}.parquet"
_SCORE, _PROBABILITIES = "expected_score", "expected_probabilities"
_TOLERANCE = 1e-5  # another machine's sums of a ridge score may differ in the last place


@dataclass(frozen=True, slots=True)
class Golden:
    """Rows of a predictor's features, and by name the tables of which their lists name rows (`Columns.related`)."""

    rows: pl.DataFrame
    related: Mapping[str, pl.DataFrame] = field(default_factory=dict)

    def columns(self) -> Columns:
        """As `Predictor.score` takes them."""
        related = {name: Columns.from_frame(frame) for name, frame in self.related.items()}
        return Columns.from_frame(self.rows).with_related(related)


def write_golden(folder: Path, golden: Golden, predictor: Predictor) -> None:
    """Score the rows and keep them with their scores."""
    kept = Golden(golden.rows.select(predictor.features), golden.related)
    scores = predictor.score(kept.columns())
    frame = kept.rows.with_columns(pl.Series(_SCORE, scores.score), pl.Series(_PROBABILITIES, scores.probabilities))
    frame.write_parquet(folder / FILE)
    for name, table in golden.related.items():
        table.write_parquet(folder / _RELATED.format(name))


def check_golden(folder: Path, predictor: Predictor) -> None:
    """Raise StateError unless the predictor scores its golden batch as it did when it was trained."""
    path = folder / FILE
    begin, _, end = _RELATED.partition("{}")
    try:
        frame = pl.read_parquet(path)
        related = {
            found.name.removeprefix(begin).removesuffix(end): pl.read_parquet(found)
            for found in sorted(folder.glob(_RELATED.format("*")))
        }
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StateError(f"{path} cannot be read ({error}); train again") from error
    scores = predictor.score(Golden(frame, related).columns())
    expected = np.column_stack([frame[_SCORE].to_numpy(), frame[_PROBABILITIES].to_numpy()])
    said = np.column_stack([scores.score, scores.probabilities])
    worst = float(np.abs(said - expected).max())
    if not worst <= _TOLERANCE:
        raise StateError(
            f"{folder}: {predictor.name} scores its golden batch {worst:.3g} off what it did when it was trained; "
            "the model or a library under it has changed: train again"
        )
