"""The defaults of the predictors of interest that are nets, factors and blends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from feature_repo.errors import ConfigurationError
from predictors.config import require_at_least
from predictors.interest.labels import ExampleConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class InterestConfig(ExampleConfig):
    """All defaults of `interest`. Chosen on the validation rows of real ratings, never on a test split."""

    # contents
    components: int = 64  # principal components of each embedding
    codes: int = 0  # levels of quantised codes that stand for an embedding instead of its components
    code_words: int = 64  # of each level
    top_words: int = 32  # tags, and languages, that have a column
    # net
    width: int = 32  # of contents, users and the history's states
    hidden: int = 64
    heads: int = 4
    cross_layers: int = 2
    cross_rank: int = 16
    dropout: float = 0.3
    id_dropout: float = 0.3  # how often a content or a user is shown without its id
    # training
    block: int = 16  # neighbouring rows of a user that share the history before the first of them
    batch: int = 128  # blocks
    epochs: int = 7  # the rate falls to nothing by then
    patience: int = 3
    rate: float = 3e-3
    decay: float = 0.05
    id_decay: float = 1.0
    reaction_weight: float = 0.5
    meeting_weight: float = 0.3  # of the head that says which content comes next
    negatives: int = 512
    threads: int = 2

    def __post_init__(self) -> None:
        ExampleConfig.__post_init__(self)
        least = {"components": 1, "codes": 0, "code_words": 2, "top_words": 0, "width": 4, "hidden": 1, "heads": 1}
        least |= {"cross_layers": 1, "cross_rank": 1, "block": 1, "batch": 1, "epochs": 1, "patience": 1, "threads": 1}
        least |= {"rate": 0, "decay": 0, "id_decay": 0, "reaction_weight": 0, "meeting_weight": 0, "negatives": 1}
        require_at_least(self, least)
        for name in ("dropout", "id_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ConfigurationError(f"width {self.width} cannot be shared among {self.heads} heads")


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorsConfig(ExampleConfig):
    """All defaults of `interest_factors`. Chosen on the validation rows of real ratings."""

    factors: int = 12
    components: int = 32  # principal components of each embedding, as side information
    top_words: int = 32
    sweeps: int = 100  # of the Gibbs sampler
    burn_in: int = 30  # sweeps that are not kept
    kept: int = 35  # samples that the model holds, evenly chosen among the others
    refit: bool = True  # once validation has said how to read the factors, learn from its rows too

    def __post_init__(self) -> None:
        ExampleConfig.__post_init__(self)
        require_at_least(self, {"factors": 1, "components": 1, "top_words": 0, "burn_in": 0, "kept": 1})
        if self.sweeps - self.burn_in < self.kept:
            raise ConfigurationError(f"{self.kept} samples cannot be kept of {self.sweeps - self.burn_in} sweeps")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlendConfig(ExampleConfig):
    """All defaults of `interest_blend`; `options` are fields of each member's own configuration, by member."""

    members: tuple[str, ...] = ("interest", "interest_factors", "interest_catboost")
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ExampleConfig.__post_init__(self)
        object.__setattr__(self, "members", tuple(self.members))  # a configuration file has lists
        if not self.members or len(set(self.members)) < len(self.members):
            raise ConfigurationError(f"members are to be different predictors, got {', '.join(self.members) or 'none'}")
        if unknown := sorted(set(self.options) - set(self.members)):
            raise ConfigurationError(f"options for {', '.join(unknown)}, which are no members")
