"""What a predictor learns: one engagement score per content, and five classes cut on the training split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.contracts import Content
from feature_repo.errors import ConfigurationError

Floats = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]

CLASSES = 5


@dataclass(frozen=True, slots=True)
class EngagementScore:
    """log(1 + weighted sum of a content's counters): counts are heavy-tailed, their logarithms are not."""

    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        bad = sorted(name for name, w in self.weights.items() if not (np.isfinite(w) and w >= 0))
        if bad:
            raise ConfigurationError(f"weights of {', '.join(bad)} must be finite and not negative")
        if not any(self.weights.values()):
            raise ConfigurationError("no counter has a weight above 0, so every score would be 0; give at least one")

    def __call__(self, counters: Mapping[str, float]) -> float:
        """The score of one content; NaN where it has none of the weighted counters, or a negative sum."""
        counted = [w * counters[name] for name, w in self.weights.items() if w > 0 and name in counters]
        total = sum(counted) if counted else float("nan")
        return float(np.log1p(total)) if total >= 0 else float("nan")

    def of(self, contents: Iterable[Content]) -> Floats:
        """Scores (n,) float64 of contents, in order."""
        return np.array([self(content.counters) for content in contents], np.float64)


@dataclass(frozen=True, slots=True)
class Quintiles:
    """Four edges that cut scores into classes 0 (least) to 4; a score on an edge is in the upper class."""

    edges: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.edges) != CLASSES - 1 or not np.all(np.diff(self.edges) >= 0):
            raise ConfigurationError(f"quintile edges must be {CLASSES - 1} numbers in rising order, got {self.edges}")

    @classmethod
    def fit(cls, scores: Floats) -> Quintiles:
        """Cut at the 20, 40, 60 and 80 % quantiles of the training scores (n,).

        Ties may make edges equal; the classes between equal edges are then empty.
        Raises ConfigurationError where all scores are one value.
        """
        values = np.asarray(scores, np.float64)
        if not len(values) or np.isnan(values).any():
            raise ConfigurationError(
                "quintiles need at least one score and no NaN: leave unlabelled contents out first"
            )
        if values.min() == values.max():
            raise ConfigurationError(
                f"every training score is {values[0]:g}, so there are no classes to tell apart; check the label weights"
            )
        quantiles: Sequence[float] = np.quantile(values, np.arange(1, CLASSES) / CLASSES).tolist()
        return cls(tuple(quantiles))

    def classes(self, scores: Floats) -> Classes:
        """Class (n,) int64 of each score."""
        return np.searchsorted(np.array(self.edges), scores, side="right").astype(np.int64)
