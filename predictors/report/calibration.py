"""Whether probabilities can be believed: what was said beside what came."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from predictors.calibration import BINS
from predictors.evaluation.engagement import PROBABILITIES
from predictors.evaluation.interest import EVENTS
from predictors.labels import CLASSES, Floats
from predictors.report.evidence import Model, Task


@dataclass(frozen=True, slots=True)
class Reliability:
    """`bins` (b, 3): mean probability said, share that was so, and rows, of each bin that has any. `error` is the
    expected calibration error (Naeini et al. 2015), in units of probability.
    """

    model: str
    bins: Floats
    error: float


def reliabilities(task: Task) -> list[Reliability]:
    """Of every model that says probabilities and is not naive."""
    found = []
    for model in task.models:
        if model.naive or task.truth is None or (pair := _said_and_true(model, task.truth)) is None:
            continue
        bins = reliability_bins(*pair)
        error = float(np.abs(bins[:, 0] - bins[:, 1]) @ bins[:, 2] / bins[:, 2].sum())
        found.append(Reliability(model.name, bins, error))
    return found


def reliability_bins(said: Floats, true: Floats) -> Floats:
    """See `Reliability.bins`; ten bins of equal width, of probabilities (n,) and 0 or 1 (n,)."""
    places = np.minimum((said * BINS).astype(np.int64), BINS - 1)
    rows = np.bincount(places, minlength=BINS)
    sums = [np.bincount(places, values, BINS) for values in (said, true)]
    some = rows > 0
    return np.stack([*(total[some] / rows[some] for total in sums), rows[some].astype(np.float64)], axis=1)


def _said_and_true(model: Model, truth: pl.DataFrame) -> tuple[Floats, Floats] | None:
    """Probabilities, and whether it was so: of engagement, or of the likeliest of the five classes."""
    if EVENTS in model.said and "engaged" in truth.columns:
        return model.said[EVENTS]["p"].to_numpy(), truth["engaged"].to_numpy().astype(np.float64)
    if PROBABILITIES in model.said:
        shares = model.said[PROBABILITIES].select(f"p{place}" for place in range(CLASSES)).to_numpy()
        return shares.max(axis=1), (shares.argmax(axis=1) == truth["cls"].to_numpy()).astype(np.float64)
    return None
