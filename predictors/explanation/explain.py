"""Why a predictor scored as it did: what each feature and each modality added, as numbers and as maps over pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Columns
from feature_repo.errors import unknown_name
from predictors.base import Predictor
from predictors.labels import Floats
from predictors.recipes import named

SCORE, LOG_ODDS = "score", "log-odds"  # scales


class Feature(NamedTuple):
    """What a contribution is of, in words, and the modality that it belongs to."""

    name: str
    modality: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why n rows scored as they did.

    `contributions` (n, len(features)) and `base` (n,), float64, are on `scale`: the score itself, or the log-odds of a
    probability. With `base` a row's contributions sum to `total` (n,), what the predictor said, but for `residual`:
    rounding where the `method` is exact, else the error of its quadrature. `gates` (n,) are weights of modalities in
    a fusion. `directions` (n, dim) say, by embedding, along which vectors a picture's score grows, `attention`
    (n, h, w) what is looked at in the picture that an embedding's tokens are of; both float32.
    """

    method: str
    scale: str
    features: tuple[Feature, ...]
    contributions: Floats
    base: Floats
    total: Floats
    gates: Mapping[str, Floats] = field(default_factory=dict)
    directions: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    attention: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)

    @property
    def residual(self) -> Floats:
        """What base and contributions leave of the total, (n,)."""
        left: Floats = self.total - self.base - self.contributions.sum(axis=1)
        return left

    @property
    def by_modality(self) -> dict[str, Floats]:
        """Sums of the contributions of each modality's features, (n,), in the features' order."""
        sums: dict[str, Floats] = {}
        for column, feature in enumerate(self.features):
            sums[feature.modality] = (
                sums.get(feature.modality, np.zeros(len(self.base))) + self.contributions[:, column]
            )
        return sums

    def top(self, row: int, count: int) -> list[tuple[Feature, float]]:
        """The features of a row that contribute most either way, the largest first; none that add nothing."""
        own = self.contributions[row]
        order = np.argsort(-np.abs(own), kind="stable")[:count]
        return [(self.features[column], float(own[column])) for column in order.tolist() if own[column]]

    def to_json(self, row: int, count: int | None = None) -> dict[str, Any]:
        """One row as JSON holds it, with its `count` largest contributions, or with all; directions are left out."""
        shown = self.top(row, len(self.features) if count is None else count)
        return {
            "method": self.method,
            "scale": self.scale,
            "total": float(self.total[row]),
            "base": float(self.base[row]),
            "residual": float(self.residual[row]),
            "by_modality": {name: float(values[row]) for name, values in self.by_modality.items()},
            "contributions": [{**feature._asdict(), "value": value} for feature, value in shown],
            "gates": {name: float(values[row]) for name, values in self.gates.items()},
            "attention": {name: maps[row].tolist() for name, maps in self.attention.items()},
        }


class Explain(Protocol):
    """Explains the predictors of one class: deterministic, a row the same alone and among others."""

    def __call__(self, predictor: Any, columns: Columns, /) -> Explanation:
        """Raises StateError where `score` would."""
        ...


# predictor -> "module:function", an `Explain`
EXPLAINERS: Mapping[str, str] = {
    "popularity": "predictors.explanation.trees:explain_popularity",
    "interest_catboost": "predictors.explanation.trees:explain_interest_catboost",
    "engagement_fusion": "predictors.explanation.fusion:explain_fusion",
    "engagement_end_to_end": "predictors.explanation.end_to_end:explain_end_to_end",
    "interest": "predictors.explanation.interest:explain_interest",
    "interest_factors": "predictors.explanation.interest:explain_factors",
    "interest_blend": "predictors.explanation.interest:explain_blend",
}


def explain(predictor: Predictor, columns: Columns) -> Explanation:
    """Why the rows of `columns` scored as they did. Raises ConfigurationError for a predictor that nothing explains."""
    if predictor.name not in EXPLAINERS:
        raise unknown_name("predictor to explain", predictor.name, EXPLAINERS)
    return cast(Explain, named(EXPLAINERS[predictor.name]))(predictor, columns)
