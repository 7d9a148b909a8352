"""How a predictor is trained; saved with every version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from feature_repo.contracts import ENGAGEMENT_WEIGHTS
from feature_repo.errors import ConfigurationError, unknown_name
from predictors.splits import SPLITS


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """All defaults of training. Chosen on the validation splits of real films, never on a test split."""

    # labels and splits
    weights: Mapping[str, float] = field(default_factory=lambda: dict(ENGAGEMENT_WEIGHTS))  # of counters in the label
    split: str = "random"  # a name of splits.SPLITS
    seed: int = 0
    # features
    folds: int = 5  # of the out-of-fold ridge scores
    pca_components: int = 0  # per embedding beside its ridge score: 4 and 8 lost on validation
    top_words: int = 32  # tags, and languages, that have a column
    # trees
    iterations: int = 1000  # at most: training stops once validation no longer improves
    patience: int = 50  # iterations without an improvement
    depth: int = 6
    learning_rate: float = 0.03
    column_share: float = 0.5  # columns that a split may choose from
    threads: int = -1  # all cores; the model does not depend on it
    # measurement
    resamples: int = 200  # of the bootstrap behind the 95 % intervals

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise unknown_name("split", self.split, SPLITS)
        least = {"seed": 0, "folds": 2, "pca_components": 0, "top_words": 0, "iterations": 1, "patience": 1}
        least |= {"depth": 1, "resamples": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ConfigurationError(f"{name} must be at least {bound}, got {getattr(self, name)}")
        for name in ("learning_rate", "column_share"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigurationError(f"{name} must be above 0 and at most 1, got {getattr(self, name)}")

    def to_json(self) -> dict[str, Any]:
        """Everything that decides what the model is; `threads` does not."""
        said = asdict(self)
        del said["threads"]
        return said
