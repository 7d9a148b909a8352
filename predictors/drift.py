"""Drift: how far what predictors read and say online is from what they were trained on.

PSI, the population stability index, is the symmetric Kullback-Leibler divergence of two binned distributions, absence
being a bin: Yurdakul and Naranjo, Statistical properties of the population stability index (J. Risk Model Validation,
2020). KS, Kolmogorov and Smirnov's, is the largest gap of the two cumulative distributions, here at the bins' edges.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.columns import Columns
from feature_repo.errors import StateError
from feature_repo.files import write_json
from feature_repo.settings import Settings
from predictors import samples, versions
from predictors.base import Predictor

FILE = "reference.json"
ROWS = 20_000  # of training, at most, that a reference is made of
BINS = 20
SHIFTED, DRIFTED = 0.1, 0.25  # of PSI
LEAST_ROWS = 500  # fewer say nothing: by chance alone PSI is then about 0.05
_STEP, _LEAST_STEP = np.float32(1e-6), np.float32(1e-30)  # from the least value of training down to the first edge
_HALF = 0.5  # of a row that each bin has beforehand, so that an empty one is not infinitely far

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sketch:
    """A distribution: `shares` (k + 1,) of the values lie up to each of k `edges` and above the last; `missing` is the
    share of the `rows` that have none. Of training, the first bin is what lies below all values, the last above all.
    """

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    missing: float
    rows: int

    @classmethod
    def of(cls, values: pl.Series) -> Sketch:
        """By quantiles. Of a Boolean column, which says whether something is there, only that is kept."""
        if values.dtype == pl.Boolean:
            return cls((), (1.0,), 0.0, 0).like(values)
        found = _floats(values)
        quantiles = np.quantile(found, np.linspace(0, 1, BINS + 1), method="inverted_cdf") if len(found) else found
        below = quantiles[:1] - (_STEP * np.abs(quantiles[:1]) + _LEAST_STEP)
        edges = np.unique(np.concatenate([below, quantiles]))
        return cls(tuple(map(float, edges)), (0.0,) * (len(edges) + 1), 0.0, 0).like(values)

    def like(self, values: pl.Series) -> Sketch:
        """Other values in the same bins."""
        here = np.zeros(int(values.sum()), np.float32) if values.dtype == pl.Boolean else _floats(values)
        bins = np.searchsorted(np.array(self.edges, np.float32), here)
        counts = np.bincount(bins, minlength=len(self.shares)) / max(1, len(here))
        missing = 1 - len(here) / len(values) if len(values) else 0.0
        return Sketch(self.edges, tuple(counts.tolist()), missing, len(values))

    @property
    def binned(self) -> Floats:
        """Rows in each bin, the missing ones last, (k + 2,)."""
        return self.rows * np.array([*(share * (1 - self.missing) for share in self.shares), self.missing])


def psi(expected: Sketch, found: Sketch) -> float:
    """The population stability index of two sketches with the same edges; 0 where they are equal."""
    counts = np.stack([expected.binned, found.binned])
    counts = counts[:, counts.any(axis=0)] + _HALF
    p, q = counts / counts.sum(axis=1, keepdims=True)
    return float(((q - p) * np.log(q / p)).sum())


def ks(expected: Sketch, found: Sketch) -> float:
    """The largest gap of the cumulative distributions of the values that are there, 0 to 1."""
    if expected.missing == 1 or found.missing == 1 or not found.rows:
        return 0.0
    return float(np.abs(np.cumsum(expected.shares) - np.cumsum(found.shares)).max())


@dataclass(frozen=True, slots=True)
class Shift:
    """How far one feature, or the score, is from training's."""

    name: str
    expected: Sketch
    found: Sketch

    @property
    def psi(self) -> float:
        """See `psi`."""
        return psi(self.expected, self.found)

    @property
    def ks(self) -> float:
        """See `ks`."""
        return ks(self.expected, self.found)

    @property
    def verdict(self) -> str:
        """What the thresholds say."""
        if self.found.rows < LEAST_ROWS:
            return "too few rows"
        return "drifted" if self.psi >= DRIFTED else "shifted" if self.psi >= SHIFTED else "stable"


@dataclass(frozen=True, slots=True)
class Drift:
    """The score of one predictor's version, then its features, the farthest first; `calls` were sampled."""

    predictor: str
    version: str
    rows: int
    calls: int
    shifts: tuple[Shift, ...]


def write_reference(folder: Path, predictor: Predictor, learnt: Iterable[Columns], held_out: Iterable[Columns]) -> None:
    """Keep how features are distributed over training rows, and the score over rows that were not learnt from: those
    are what a model meets online, and of what it has learnt it is surer.
    """
    features = pl.concat([samples.frame_of(columns, predictor) for columns in learnt])
    scores = pl.Series(np.concatenate([predictor.score(columns).score for columns in held_out]))
    said = {
        "features": {values.name: asdict(Sketch.of(values)) for values in features},
        "score": asdict(Sketch.of(scores)),
    }
    write_json(folder / FILE, said)


def spread(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """At most `ROWS` of these rows, evenly spread."""
    return rows[:: -(-len(rows) // ROWS) or 1]


def compare(settings: Settings, predictor: str, version: str, since: datetime | None = None) -> Drift:
    """What was sampled of a predictor's version against its training.

    Raises StateError where nothing was sampled, or the version has no reference.
    """
    reference = _reference(versions.find(settings, predictor, version))
    found = samples.scan(settings, predictor, version, since)
    if found.is_empty():
        raise StateError(f"nothing was sampled of {predictor} {version}: serve it with LARDER_SAMPLE_SHARE=0.01")
    shifts = [
        Shift(name, expected, expected.like(found[name]))
        for name, expected in reference["features"].items()
        if name in found.columns
    ]
    score = Shift(samples.SCORE, reference["score"], reference["score"].like(found[samples.SCORE]))
    ranked = sorted(shifts, key=lambda shift: -shift.psi)
    return Drift(predictor, version, found.height, found["request_id"].n_unique(), (score, *ranked))


def _reference(folder: Path) -> dict[str, Any]:
    try:
        said = json.loads((folder / FILE).read_text())
    except (OSError, ValueError) as error:
        raise StateError(
            f"{folder.name} has no distributions of its training: train again, then `larder release`"
        ) from error
    features = {name: read_sketch(one) for name, one in said["features"].items()}
    return {"features": features, "score": read_sketch(said["score"])}


def read_sketch(said: Mapping[str, Any]) -> Sketch:
    """A sketch as JSON has it."""
    return Sketch(tuple(said["edges"]), tuple(said["shares"]), said["missing"], said["rows"])


def _floats(values: pl.Series) -> npt.NDArray[np.float32]:
    """The values that are there, as the online store has them: (n,) float32."""
    found: npt.NDArray[np.float32] = values.cast(pl.Float32).to_numpy()
    return found[np.isfinite(found)]
