"""The net of `engagement_fusion`: modalities attend to each other's tokens, then a gate weighs what each says.

Cross-modal attention both ways as in ViLBERT (Lu et al. 2019); gated fusion after Arevalo et al. 2017, with gates that
sum to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import pi
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from predictors.fusion.inputs import Inputs, Shape


@dataclass(frozen=True, slots=True)
class NetOptions:
    """`width` of a modality's state, `hidden` units over all numbers, `heads` that attend, and what is dropped while
    training.
    """

    width: int
    hidden: int
    heads: int
    dropout: float
    modality_dropout: float


class CrossAttention(nn.Module):
    """Tokens of one modality ask those of the others. What is asked always has one learnt key more, "nothing": a row
    without any other modality finds that one alone.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self._heads, self._dropout = heads, dropout
        self.ask, self.answer = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.nothing = nn.Parameter(torch.zeros(1, 1, width))
        self.out = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor, others: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """(n, K, width) of (n, K, width), given `others` (n, L, width) and whether they are `known` (n, L)."""
        query, key, value, mask = self._parts(tokens, others, known)
        dropout = self._dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        attended: torch.Tensor = self.out(found.transpose(1, 2).flatten(2))
        return attended

    def weights(self, tokens: torch.Tensor, others: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """How much each token looks at "nothing" and at each of the others, (n, K, 1 + L): the mean of the heads."""
        query, key, _, mask = self._parts(tokens, others, known)
        near = (query @ key.transpose(2, 3)) / key.shape[3] ** 0.5
        weights: torch.Tensor = near.masked_fill(~mask, float("-inf")).softmax(dim=3)
        return weights.mean(dim=1)

    def _parts(
        self, tokens: torch.Tensor, others: torch.Tensor, known: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Query, key and value by head, and the mask (n, 1, 1, 1 + L) of what may be looked at."""
        asked = self.answer(torch.cat([self.nothing.expand(len(tokens), -1, -1), others], dim=1))
        key, value = (self._split(part) for part in self.key_value(asked).chunk(2, dim=-1))
        mask = F.pad(known, (1, 0), value=True)[:, None, None, :]
        return self._split(self.query(self.ask(tokens))), key, value, mask

    def _split(self, states: torch.Tensor) -> torch.Tensor:
        """(n, K, width) -> (n, heads, K, width / heads)."""
        return states.view(*states.shape[:2], self._heads, -1).transpose(1, 2)


class FusionNet(nn.Module):
    """Inputs -> a standardised score (n,) and the gates (n, modalities), which sum to 1.

    A modality's state is a linear map of its numbers, what its tokens find in the others' tokens, and what a hidden
    layer over all numbers adds to it. The score is linear in the gated sum of the states, so that a gate says in full
    how much its modality counts.
    """

    def __init__(self, shape: Shape, options: NetOptions) -> None:
        super().__init__()
        self.options = options
        width, dropout, modalities = options.width, options.dropout, 1 + len(shape.vectors)
        numbers = shape.facts + sum(shape.vectors.values())
        self.dropout = nn.Dropout(dropout)
        self.facts = nn.Linear(shape.facts, width)
        self.vectors = nn.ModuleDict({name: nn.Linear(size, width) for name, size in shape.vectors.items()})
        self.tokens = nn.ModuleDict({name: nn.Linear(size, width) for name, size in shape.tokens.items()})
        self.cross = nn.ModuleDict({name: CrossAttention(width, options.heads, dropout) for name in shape.tokens})
        self.found = nn.ModuleDict({name: _from_zero(nn.Linear(width, width)) for name in shape.tokens})
        self.hidden = nn.Linear(numbers, options.hidden)
        nn.init.normal_(self.hidden.weight, std=(2 * numbers) ** -0.5)
        nn.init.uniform_(self.hidden.bias, 0, 2 * pi)
        self.added = _from_zero(nn.Linear(options.hidden, modalities * width))
        self.gate = _from_zero(nn.Linear(modalities * width, modalities))  # even gates
        self.score = nn.Linear(width, 1)

    def drawn(self, numbers: torch.Tensor) -> torch.Tensor:
        """What the hidden layer makes of (n, F + V…) facts and vectors, side by side: (n, hidden). Before it learns,
        two rows are as alike in it as a Gaussian kernel says (random Fourier features, Rahimi and Recht 2007).
        """
        waves: torch.Tensor = (2 / self.options.hidden) ** 0.5 * torch.cos(self.hidden(numbers))
        return waves

    def start_at(
        self, facts: torch.Tensor, vectors: Mapping[str, torch.Tensor], hidden: torch.Tensor, bias: float
    ) -> None:
        """Begin as a linear model of these weights: the first number of each state is what its modality adds, and
        that of the facts, which every row has, what the hidden layer adds, too. These weights stay: what is learnt from
        there on is the attention between the tokens, and the gates.
        """
        with torch.no_grad():
            self.added.weight[0] = hidden
            for linear, weights in ((self.facts, facts), *((self.vectors[name], w) for name, w in vectors.items())):
                mapped = cast(nn.Linear, linear)
                mapped.weight[0] = weights
                mapped.bias[0] = 0.0
            self.score.weight.zero_()
            self.score.weight[0, 0] = 1.0
            self.score.bias.fill_(bias)
        for held in (self.facts, self.vectors, self.hidden, self.added, self.score):
            held.requires_grad_(False)

    def forward(self, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
        """Score (n,) and gates (n, M) float32."""
        known = self._without_some(inputs.known)
        blocks = [inputs.facts, *inputs.vectors.values()]
        blocks = [self.dropout(block * known[:, [place]]) for place, block in enumerate(blocks)]
        said = self._heard(inputs, known)
        states = [self.facts(blocks[0])]
        states += [self.vectors[name](block) + said[name] for name, block in zip(said, blocks[1:], strict=True)]
        hidden = self.dropout(self.drawn(torch.cat(blocks, dim=1)))
        states = torch.stack(states, dim=1) + self.added(hidden).view(len(known), known.shape[1], -1)
        states = states * known[:, :, None]  # (n, M, width)
        gates = self.gate(self.dropout(states).flatten(1)).masked_fill(~known, float("-inf")).softmax(dim=1)
        # As many times the mean as there are modalities: with even gates each counts in full
        fused = (gates[:, :, None] * states).sum(dim=1) * known.sum(dim=1, keepdim=True)
        return self.score(fused).squeeze(1), gates

    def _heard(self, inputs: Inputs, known: torch.Tensor) -> dict[str, torch.Tensor]:
        """What each embedding's tokens say together with what they find in the others', (n, width)."""
        names = list(inputs.tokens)
        tokens = {name: self.dropout(self.tokens[name](inputs.tokens[name])) for name in names}
        has = {name: known[:, place, None].expand(-1, tokens[name].shape[1]) for place, name in enumerate(names, 1)}
        heard = {}
        for name in names:
            said, others = tokens[name], [other for other in names if other != name]
            if others:
                asked = torch.cat([tokens[other] for other in others], dim=1)
                said = said + self.cross[name](said, asked, torch.cat([has[other] for other in others], dim=1))
            heard[name] = self.found[name](F.gelu(said).mean(dim=1))
        return heard

    def _without_some(self, known: torch.Tensor) -> torch.Tensor:
        """While training, rows go without some modalities, so that none is relied on alone; never without all."""
        if not self.training:
            return known
        kept = known & (torch.rand(known.shape, device=known.device) >= self.options.modality_dropout)
        return torch.where(kept.any(dim=1, keepdim=True), kept, known)


def _from_zero(linear: nn.Linear) -> nn.Linear:
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


class Concatenation(nn.Module):
    """What fusion is measured against: `body` reads all inputs side by side, tokens as their mean (`Inputs.flat`)."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
        """Score (n,), and even gates (n, M) over what is known."""
        known = inputs.known.float()
        return self.body(inputs.flat()).squeeze(1), known / known.sum(dim=1, keepdim=True)


def perceptron(size: int, width: int, dropout: float) -> nn.Module:
    """One hidden layer over `size` numbers, dropout before and in it."""
    hidden = [nn.Linear(size, width), nn.GELU(), nn.Dropout(dropout)]
    return nn.Sequential(nn.Dropout(dropout), *hidden, nn.Linear(width, 1))
