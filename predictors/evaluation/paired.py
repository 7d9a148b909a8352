"""How sure a comparison is: the bootstrap of each predictor's measures, and of the differences between two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from predictors.labels import Floats

Draw = npt.NDArray[np.intp]

Measures = dict[str, float]


class Outcome(Protocol):
    """What a predictor said of held-out rows, beside the truth. Its units are what a bootstrap draws: contents,
    whose rows are independent of each other, or users with all of their events.
    """

    @property
    def units(self) -> int:
        """How many there are."""

    def measure(self, drawn: Draw | None = None, /) -> Measures:
        """Every measure by name, of the units drawn (k,), repeats included; None: of all, each once."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measure: its value, and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference(Estimate):
    """One predictor's measure less another's on the same units; `p` is the two-sided p-value of no difference."""

    p: float


@dataclass(frozen=True, slots=True)
class Resampled:
    """The measures of one predictor, means over its trainings: as they are, and (r,) of them in r resamples."""

    values: Measures
    samples: Mapping[str, Floats]

    def estimates(self) -> dict[str, Estimate]:
        """Every measure with its percentile interval (Efron 1979)."""
        return {name: Estimate(value, *_interval(self.samples[name])) for name, value in self.values.items()}

    def less(self, other: Resampled) -> dict[str, Difference]:
        """Every measure less the other's, by the paired bootstrap: each resample is the same units for both."""
        return {name: _difference(self, other, name) for name in self.values if name in other.values}


def resample(outcomes: Sequence[Outcome], resamples: int, seed: int) -> Resampled:
    """Draw units with replacement. `outcomes` are one predictor's, one for each of its trainings.

    The draws depend on the seed and the number of units alone: outcomes on the same rows see the same ones, so that
    many trainings on one split make the interval of the training luck narrower, not that of the rows.
    """
    drawn = [_samples(outcome, resamples, seed) for outcome in outcomes]
    values = [outcome.measure() for outcome in outcomes]
    return Resampled(
        {name: float(np.mean([measured[name] for measured in values])) for name in values[0]},
        {name: np.mean([samples[name] for samples in drawn], axis=0) for name in values[0]},
    )


def _samples(outcome: Outcome, resamples: int, seed: int) -> dict[str, Floats]:
    rng = np.random.default_rng(seed)
    rows = [outcome.measure(rng.integers(0, outcome.units, outcome.units)) for _ in range(resamples)]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _difference(one: Resampled, other: Resampled, name: str) -> Difference:
    samples = one.samples[name] - other.samples[name]
    # One more on either side: r resamples cannot show a p-value under 1 / (r + 1)
    tail = min((samples <= 0).sum(), (samples >= 0).sum()) + 1
    p = min(1.0, 2 * float(tail) / (len(samples) + 1))
    return Difference(one.values[name] - other.values[name], *_interval(samples), p)


def _interval(samples: Floats) -> tuple[float, float]:
    low, high = np.quantile(samples, [0.025, 0.975])
    return float(low), float(high)
