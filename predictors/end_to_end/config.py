"""How `engagement_end_to_end` is trained; saved with every version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from feature_repo.errors import ConfigurationError, unknown_name
from predictors.config import LabelConfig, require_at_least

ATTENTION_HEADS = 4

# fusion -> what it makes of both towers
FUSIONS: Mapping[str, str] = {
    "concat": "both vectors through one layer",
    "gated": "a weighed sum, the weights of both a function of both (Arevalo et al., arXiv:1702.01992)",
    "cross_attention": "places of the picture attend to words and words to places (Lu et al., arXiv:1908.02265)",
}
# head -> how the five classes are told apart
HEADS: Mapping[str, str] = {
    "corn": "four conditional questions, above this class or not (Shi et al., arXiv:2111.08851)",
    "softmax": "five logits that know no order",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EndToEndConfig(LabelConfig):
    """All defaults; none of them has been searched for yet."""

    # towers: blocks from the last one down that are fitted, the others stay as published
    image_blocks: int = 3
    text_blocks: int = 2
    # head
    fusion: str = "gated"
    head: str = "corn"
    tokens: int = 16  # of each tower, with cross attention
    width: int = 64
    dropout: float = 0.3
    # loss
    class_share: float = 0.5  # of the classes' loss; the rest is the squared error of the standardised score
    balanced: bool = True  # every class weighs the same, however many contents it has
    # training
    epochs: int = 8
    patience: int = 3  # epochs without a better R2 on validation
    batch: int = 32
    rate: float = 3e-4  # of the head
    tower_rate: float = 3e-5  # of the towers' last block
    layer_decay: float = 0.7  # of the rate, a block further down (Howard and Ruder, arXiv:1801.06146)
    weight_decay: float = 0.05
    modality_dropout: float = 0.1  # chance that a content is shown without its picture, or without its text
    mirror: bool = True  # pictures are shown mirrored half of the time
    mixed_precision: bool = True  # bfloat16 where the device multiplies it
    threads: int = 2  # of the processor; the last bits of the weights depend on it

    @property
    def kept_tokens(self) -> int:
        """Tokens that the head reads of each tower."""
        return self.tokens if self.fusion == "cross_attention" else 0

    def __post_init__(self) -> None:
        LabelConfig.__post_init__(self)
        for name, known in (("fusion", FUSIONS), ("head", HEADS)):
            if getattr(self, name) not in known:
                raise unknown_name(name, getattr(self, name), known)
        whole = ("image_blocks", "text_blocks", "tokens", "width", "epochs", "patience", "batch", "threads")
        require_at_least(self, dict.fromkeys(whole, 1) | {"weight_decay": 0})
        if self.fusion == "cross_attention" and self.width % ATTENTION_HEADS:
            raise ConfigurationError(f"width must be a multiple of {ATTENTION_HEADS} to attend, got {self.width}")
        for name in ("dropout", "modality_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be from 0 to below 1, got {getattr(self, name)}")
        if not 0 <= self.class_share <= 1:
            raise ConfigurationError(f"class_share must be from 0 to 1, got {self.class_share}")
        for name in ("rate", "tower_rate", "layer_decay"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigurationError(f"{name} must be above 0 and at most 1, got {getattr(self, name)}")
