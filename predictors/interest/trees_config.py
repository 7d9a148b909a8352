"""How `interest_catboost` is trained; saved with every version."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from feature_repo.errors import ConfigurationError
from predictors.config import require_at_least
from predictors.interest.labels import ExampleConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class InterestTreesConfig(ExampleConfig):
    """All defaults. Chosen on the validation splits of real films, never on a test split."""

    # what the crowd says
    folds: int = 5  # of users: a training row sees what the users of the other folds say
    factors: int = 32
    pull: float = 5.0  # encounters that a bias starts with
    # what contents say
    components: int = 64  # per embedding
    top_tags: int = 32  # tags that count
    # what the user's history says: prior variances in units of a reaction's noise
    embedding_weight: float = 0.05  # of each embedding
    tags_weight: float = 0.06
    year_weight: float = 0.04
    taste_weight: float = 0.15  # of the crowd's factors
    leniency: float = 0.3
    # rows
    unmet: float = 0.2  # share of training rows that are shown as if nobody had met the content
    negatives: int = 8  # contents drawn evenly for each engaged row that the ranking learns from
    ranked: int = 25_000  # engaged rows, at most, that the ranking learns from
    # trees
    iterations: int = 1000  # at most: training stops once validation no longer improves
    patience: int = 50
    depth: int = 4
    learning_rate: float = 0.06
    leaf_penalty: float = 10.0
    column_share: float = 0.5  # columns that a split may choose from
    threads: int = -1  # all cores; the model does not depend on it

    def __post_init__(self) -> None:
        ExampleConfig.__post_init__(self)
        least = {"folds": 2, "factors": 1, "pull": 0, "components": 1, "top_tags": 0, "negatives": 1, "ranked": 1}
        require_at_least(self, least | {"iterations": 1, "patience": 1, "depth": 1, "leniency": 0, "leaf_penalty": 0})
        require_at_least(self, dict.fromkeys(("embedding_weight", "tags_weight", "year_weight", "taste_weight"), 0))
        for name in ("learning_rate", "column_share"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigurationError(f"{name} must be above 0 and at most 1, got {getattr(self, name)}")
        if not 0 <= self.unmet < 1:
            raise ConfigurationError(f"unmet must be at least 0 and below 1, got {self.unmet}")

    def to_json(self) -> dict[str, Any]:
        """Everything that decides what the model is; `threads` does not."""
        said = asdict(self)
        del said["threads"]
        return said
