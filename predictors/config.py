"""How a predictor is trained; saved with every version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from feature_repo.contracts import ENGAGEMENT_WEIGHTS
from feature_repo.errors import ConfigurationError, unknown_name
from predictors.splits import require_split

DEVICES = ("cpu", "gpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelConfig:
    """What every predictor of engagement is told: its labels, its split, how it is measured."""

    weights: Mapping[str, float] = field(default_factory=lambda: dict(ENGAGEMENT_WEIGHTS))  # of counters in the label
    split: str = "random"  # a name of splits.SPLITS, or a folder with train.csv, valid.csv and test.csv
    seed: int = 0
    resamples: int = 200  # of the bootstrap behind the 95 % intervals

    def __post_init__(self) -> None:
        require_split(self.split)
        require_at_least(self, {"seed": 0, "resamples": 1})

    def to_json(self) -> dict[str, Any]:
        """Everything that decides what the model is."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig(LabelConfig):
    """All defaults of `popularity`. Chosen on the validation splits of real films, never on a test split."""

    # features
    folds: int = 5  # of the out-of-fold ridge scores
    pca_components: int = 0  # per embedding beside its ridge score: 4 and 8 lost on validation
    top_words: int = 32  # tags, and languages, that have a column
    kernel_centres: int = 2048  # training contents in the joint kernel ridge; 0: no such columns
    kernel_components: int = 64  # of each embedding in its kernel
    neighbours: int = 0  # earlier contents whose mean score is a column of each embedding: 10 and 30 lost
    # trees
    bags: int = 2  # models that differ in their seed and are averaged
    refit: bool = True  # once validation has said how many iterations, learn from its rows too
    iterations: int = 600  # at most: training stops once validation no longer improves
    patience: int = 40  # iterations without an improvement
    depth: int = 5
    learning_rate: float = 0.08
    column_share: float = 0.4  # columns that a split may choose from; CatBoost has no such choice on a GPU
    device: str = "cpu"  # that trains: "cpu" or "gpu"
    threads: int = -1  # all cores; the model does not depend on it

    def __post_init__(self) -> None:
        LabelConfig.__post_init__(self)
        least = {"folds": 2, "pca_components": 0, "top_words": 0, "iterations": 1, "patience": 1, "depth": 1, "bags": 1}
        require_at_least(self, least | {"kernel_centres": 0, "kernel_components": 1, "neighbours": 0})
        if self.device not in DEVICES:
            raise unknown_name("device", self.device, DEVICES)
        for name in ("learning_rate", "column_share"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigurationError(f"{name} must be above 0 and at most 1, got {getattr(self, name)}")

    def to_json(self) -> dict[str, Any]:
        """Everything that decides what the model is; `threads` does not."""
        said = asdict(self)
        del said["threads"]
        return said


def require_at_least(config: object, least: Mapping[str, float]) -> None:
    """Raise ConfigurationError where a field is less than it may be."""
    for name, bound in least.items():
        if getattr(config, name) < bound:
            raise ConfigurationError(f"{name} must be at least {bound}, got {getattr(config, name)}")
