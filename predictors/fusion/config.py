"""How `engagement_fusion` is trained; saved with every version."""

from __future__ import annotations

from dataclasses import dataclass

from feature_repo.errors import ConfigurationError
from predictors.config import LabelConfig, require_at_least


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionConfig(LabelConfig):
    """All defaults of `engagement_fusion`. Chosen on the validation splits of real films, never on a test split."""

    # inputs
    folds: int = 5  # of the out-of-fold ridge scores
    top_words: int = 32  # tags, and languages, that have a column
    bins: int = 8  # that a number is encoded in
    components: int = 16  # of a vector, beside its ridge score
    token_components: int = 64  # of a token
    # net
    width: int = 32  # of a modality's state
    hidden: int = 1024  # units over all numbers
    heads: int = 4
    dropout: float = 0.3
    modality_dropout: float = 0.15  # chance that a training row goes without a modality
    # training
    members: int = 3  # nets of other seeds, averaged
    epochs: int = 30  # at most: training stops once validation no longer improves
    patience: int = 5  # epochs without an improvement
    batch: int = 128
    learning_rate: float = 5e-4
    weight_decay: float = 0.1
    huber_share: float = 0.3  # of the loss; the rest is squared error

    def __post_init__(self) -> None:
        LabelConfig.__post_init__(self)
        ones = ("bins", "width", "hidden", "heads", "token_components", "members", "epochs", "patience", "batch")
        require_at_least(
            self, {"folds": 2, "top_words": 0, "components": 0, "weight_decay": 0} | dict.fromkeys(ones, 1)
        )
        if self.width % self.heads:
            raise ConfigurationError(f"width must be a multiple of heads, got {self.width} and {self.heads}")
        for name in ("dropout", "modality_dropout", "huber_share"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
        if not 0 < self.learning_rate <= 1:
            raise ConfigurationError(f"learning_rate must be above 0 and at most 1, got {self.learning_rate}")
