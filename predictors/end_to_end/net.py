"""The head of `engagement_end_to_end`: fuses a picture's and a text's vectors into a score and five ordered classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from predictors.end_to_end.config import ATTENTION_HEADS, EndToEndConfig
from predictors.labels import CLASSES

MODALITIES = ("image", "text")


@dataclass(frozen=True, slots=True)
class Shape:
    """Of one tower: numbers of a vector, and of each of its tokens."""

    dim: int
    token_dim: int


class Seen(NamedTuple):
    """What a tower says of n contents: vectors (n, dim) of unit length, tokens (n, K, token_dim), and which contents it
    saw, (n,) bool. The rows of the others mean nothing.
    """

    vectors: torch.Tensor
    tokens: torch.Tensor
    present: torch.Tensor

    def take(self, rows: npt.NDArray[np.intp]) -> Seen:
        """The given rows."""
        picked = torch.from_numpy(np.asarray(rows))
        return Seen(self.vectors[picked], self.tokens[picked], self.present[picked])


class Said(NamedTuple):
    """Standardised scores (n,), class logits (n, 4) of CORN or (n, 5) of a softmax, and the modalities' weights in
    the fusion, (n, 2), which sum to 1 or, of a content without either medium, are 0.
    """

    score: torch.Tensor
    logits: torch.Tensor
    gates: torch.Tensor


class Head(nn.Module):
    """A linear reading of both vectors, and beside it a fusion that adds what a sum cannot say.

    The linear part is meant to start at a ridge regression's weights, and `steps` at what its score says of the
    classes; the fusion starts at zero. So the first steps do not tear at what the towers know (Kumar et al.,
    arXiv:2202.10054). A vector that is not there counts as the mean of the training rows.
    """

    def __init__(self, shapes: Mapping[str, Shape], config: EndToEndConfig) -> None:
        super().__init__()
        dims = [shapes[modality].dim for modality in MODALITIES]
        for modality, dim in zip(MODALITIES, dims, strict=True):
            self.register_buffer(f"mean_{modality}", torch.zeros(dim))
            self.register_buffer(f"scale_{modality}", torch.ones(()))
        self.linear = nn.Linear(sum(dims), 1)
        self.fusion: Fusion = _FUSIONS[config.fusion](shapes, config)
        self.added = nn.Linear(config.width, 1)
        self.logits = nn.Linear(config.width, CLASSES - 1 if config.head == "corn" else CLASSES)
        self.steps = nn.Linear(1, self.logits.out_features)
        for layer in (self.added, self.logits):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @torch.no_grad()
    def standardise(self, seen: Mapping[str, Seen]) -> None:
        """Take the mean and the spread of the vectors from these contents, the training rows."""
        for modality in MODALITIES:
            vectors = seen[modality].vectors[seen[modality].present]
            if len(vectors):
                self.get_buffer(f"mean_{modality}").copy_(vectors.mean(0))
                self.get_buffer(f"scale_{modality}").copy_(vectors.var(0, unbiased=False).mean().sqrt().clamp_min(1e-6))

    def standardised(self, seen: Mapping[str, Seen]) -> dict[str, torch.Tensor]:
        """Vectors by modality, (n, dim), around 0; 0 where there is none."""
        made = {}
        for modality in MODALITIES:
            mean, scale = self.get_buffer(f"mean_{modality}"), self.get_buffer(f"scale_{modality}")
            one = seen[modality]
            made[modality] = torch.where(one.present[:, None], (one.vectors - mean) / scale, 0.0)
        return made

    def forward(self, seen: Mapping[str, Seen]) -> Said:
        """See `Said`."""
        vectors = self.standardised(seen)
        fused, gates = self.fusion(vectors, seen)
        score = self.linear(torch.cat(list(vectors.values()), dim=1)) + self.added(fused)
        return Said(score[:, 0], self.steps(score) + self.logits(fused), gates)


class Fusion(nn.Module):
    """Vectors and tokens of both modalities -> (n, width), and how much each counted, (n, 2)."""

    def __init__(self, shapes: Mapping[str, Shape], config: EndToEndConfig) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)

    def _gates(self, seen: Mapping[str, Seen], logits: torch.Tensor | None = None) -> torch.Tensor:
        """A softmax over the modalities that are there; equal shares without logits."""
        present = torch.stack([seen[modality].present for modality in MODALITIES], dim=1)
        weights = present.float() if logits is None else present * (logits - logits.amax(1, keepdim=True)).exp()
        return weights / weights.sum(1, keepdim=True).clamp_min(1e-12)


class Concat(Fusion):
    """Both vectors through one layer."""

    def __init__(self, shapes: Mapping[str, Shape], config: EndToEndConfig) -> None:
        super().__init__(shapes, config)
        self.layer = nn.Linear(sum(shapes[modality].dim for modality in MODALITIES), config.width)

    def forward(
        self, vectors: Mapping[str, torch.Tensor], seen: Mapping[str, Seen]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Fusion`."""
        made = nn.functional.gelu(self.layer(self.dropout(torch.cat(list(vectors.values()), dim=1))))
        return self.dropout(made), self._gates(seen)


class Gated(Fusion):
    """The gated multimodal unit (arXiv:1702.01992): each modality's own features, weighed by what both say."""

    def __init__(self, shapes: Mapping[str, Shape], config: EndToEndConfig) -> None:
        super().__init__(shapes, config)
        self.own = nn.ModuleDict({modality: nn.Linear(shapes[modality].dim, config.width) for modality in MODALITIES})
        self.gate = nn.Linear(len(MODALITIES) * config.width, len(MODALITIES))

    def forward(
        self, vectors: Mapping[str, torch.Tensor], seen: Mapping[str, Seen]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Fusion`."""
        own = [torch.tanh(self.own[modality](self.dropout(vectors[modality]))) for modality in MODALITIES]
        gates = self._gates(seen, self.gate(torch.cat(own, dim=1)))
        return self.dropout((torch.stack(own, dim=1) * gates[:, :, None]).sum(1)), gates


class CrossAttention(Fusion):
    """Each modality's tokens ask the other's (arXiv:1908.02265); the means of the answers are weighed as in `Gated`."""

    def __init__(self, shapes: Mapping[str, Shape], config: EndToEndConfig) -> None:
        super().__init__(shapes, config)
        width = config.width
        self.into = nn.ModuleDict(
            {
                m: nn.Sequential(nn.LayerNorm(shapes[m].token_dim), nn.Linear(shapes[m].token_dim, width))
                for m in MODALITIES
            }
        )
        self.absent = nn.ParameterDict({m: nn.Parameter(torch.zeros(width)) for m in MODALITIES})
        self.attend = nn.ModuleDict(
            {m: nn.MultiheadAttention(width, ATTENTION_HEADS, config.dropout, batch_first=True) for m in MODALITIES}
        )
        self.norm = nn.ModuleDict({m: nn.LayerNorm(width) for m in MODALITIES})
        self.gate = nn.Linear(len(MODALITIES) * width, len(MODALITIES))

    def forward(
        self, vectors: Mapping[str, torch.Tensor], seen: Mapping[str, Seen]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Fusion`."""
        tokens = {
            m: torch.where(seen[m].present[:, None, None], self.into[m](seen[m].tokens), self.absent[m])
            for m in MODALITIES
        }
        own = []
        for modality, other in zip(MODALITIES, reversed(MODALITIES), strict=True):
            asked, answers = tokens[modality], tokens[other]
            answer, _ = self.attend[modality](asked, answers, answers, need_weights=False)
            own.append(self.norm[modality](asked + answer).mean(1))
        gates = self._gates(seen, self.gate(torch.cat(own, dim=1)))
        return self.dropout((torch.stack(own, dim=1) * gates[:, :, None]).sum(1)), gates


_FUSIONS: Mapping[str, type[Fusion]] = {"concat": Concat, "gated": Gated, "cross_attention": CrossAttention}


def class_loss(logits: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mean loss of the classes, (n,) int64; a content counts as `weights` (5,) says of its class.

    CORN asks of a content only the questions that come up: whether it is above class k, of those that are not below.
    """
    weight = weights[classes]
    if logits.shape[1] == CLASSES:
        losses = nn.functional.cross_entropy(logits, classes, reduction="none")
        return (losses * weight).sum() / weight.sum()
    steps = torch.arange(CLASSES - 1, device=logits.device)
    above = (classes[:, None] > steps).float()
    asked = (classes[:, None] >= steps).float() * weight[:, None]
    losses = nn.functional.binary_cross_entropy_with_logits(logits, above, reduction="none")
    return (losses * asked).sum() / asked.sum()


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    """(n, 5) that sum to 1 of the logits of either head."""
    if logits.shape[1] == CLASSES:
        return logits.softmax(1)
    above = logits.sigmoid().cumprod(1)  # P(class > k)
    edge = torch.ones_like(above[:, :1])
    return torch.cat([edge, above], dim=1) - torch.cat([above, torch.zeros_like(edge)], dim=1)
