"""The net of `interest`: what a user's last events, tastes and counts say of a content.

Contents meet a history as in target attention (DIN, Zhou et al. 2018, https://arxiv.org/abs/1706.06978) inside a small
Transformer: the events look at each other once per user, each candidate at all events. That is as much of the pairs as
a request can pay for: letting 50 events look at each other anew for each of 500 candidates costs 500 times the first
block. What the candidate finds, its likeness to the last events and to the most similar one go through cross layers
(DCNv2, Wang et al. 2021, https://arxiv.org/abs/2008.13535) with the user, the content and the counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from embedders.user_histories import GAPS
from feature_repo.contracts import EventType

LAST = 5  # events whose likeness to the candidate is told one by one

_FAR = -1e4  # of an event that is not there, before the softmax


@dataclass(frozen=True, slots=True)
class NetConfig:
    """The net's shape, saved with its weights. `features` counts a content's numbers, `context` the statistics."""

    features: int
    content_buckets: int
    user_buckets: int
    context: int
    outputs: int  # logits: engaged, the reaction where it varies, then the heads
    width: int
    hidden: int
    heads: int
    cross_layers: int
    cross_rank: int
    dropout: float
    id_dropout: float


@dataclass(frozen=True, slots=True)
class Represented:
    """What the net makes of m contents, whoever asks: `vectors` (m, width), `levels` (m, outputs), and for the head of
    meetings `keys` (m, width) and `familiar` (m,).
    """

    vectors: torch.Tensor
    levels: torch.Tensor
    keys: torch.Tensor
    familiar: torch.Tensor

    def take(self, rows: torch.Tensor) -> Represented:
        """Those rows."""
        return Represented(self.vectors[rows], self.levels[rows], self.keys[rows], self.familiar[rows])

    def packed(self) -> torch.Tensor:
        """All of it side by side, (m, 2 width + outputs + 1)."""
        return torch.cat([self.vectors, self.keys, self.levels, self.familiar[:, None]], 1)


@dataclass(frozen=True, slots=True)
class Past:
    """g users' histories of n events: `vectors` (g, n, width) of their contents; the others (g, n), see `Histories`."""

    vectors: torch.Tensor
    kinds: torch.Tensor
    values: torch.Tensor
    gaps: torch.Tensor
    known: torch.Tensor


@dataclass(frozen=True, slots=True)
class State:
    """What the net makes of g users once: `events` (g, n, width), `taste` (g, width), `level` (g, outputs), `query`
    (g, width) of the head of meetings; `values` and `known` (g, n) as they came.
    """

    events: torch.Tensor
    taste: torch.Tensor
    level: torch.Tensor
    query: torch.Tensor
    values: torch.Tensor
    known: torch.Tensor


class Known(nn.Module):
    """A table of ids whose row 0 says nothing: for an id that training has not met, and in training now and then."""

    def __init__(self, buckets: int, width: int, deviation: float, dropout: float) -> None:
        super().__init__()
        self.table = nn.Embedding(buckets + 1, width, padding_idx=0)
        self.dropout = dropout
        with torch.no_grad():
            nn.init.normal_(self.table.weight, std=deviation)[0] = 0

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(n,) -> (n, width)."""
        if self.training:
            rows = rows * (torch.rand(rows.shape, device=rows.device) >= self.dropout)
        found: torch.Tensor = self.table(rows)
        return found


class Block(nn.Module):
    """Events look at each other and think; normalised before, not after."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.think = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """(g, n, width) and where there is an event (g, n) -> (g, n, width)."""
        g, n, width = x.shape
        heads = self.qkv(self.before(x)).view(g, n, 3, self.heads, width // self.heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        far = torch.where(known, 0.0, _FAR)[:, None, None, :]  # no infinity: a user without events is no NaN
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=far)
        x = x + self.drop(self.out(seen.transpose(1, 2).reshape(g, n, width)))
        thought: torch.Tensor = x + self.drop(self.think(self.between(x)))
        return thought


class Cross(nn.Module):
    """x0 * (U V x) + x, layer upon layer: products of features, of low rank."""

    def __init__(self, width: int, rank: int, layers: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Linear(width, rank, bias=False) for _ in range(layers))
        self.up = nn.ModuleList(nn.Linear(rank, width) for _ in range(layers))

    def forward(self, first: torch.Tensor) -> torch.Tensor:
        """(..., width) -> the same."""
        x = first
        for down, up in zip(self.down, self.up, strict=True):
            x = first * up(down(x)) + x
        return x


class InterestNet(nn.Module):
    """`represent` contents and `recall` users once, then ask `forward` of any pair of them."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.config = config
        width, outputs, drop = config.width, config.outputs, config.id_dropout
        self.adapter = nn.Sequential(
            nn.Linear(config.features, config.hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, width),
        )
        self.contents = Known(config.content_buckets, width, 0.05, drop)
        self.content_levels = Known(config.content_buckets, outputs + 1, 0.0, drop)  # the last one: how familiar
        self.described_levels = nn.Linear(width, outputs + 1)
        self.key = nn.Linear(width, width)
        self.users = Known(config.user_buckets, width, 0.05, drop)
        self.user_levels = Known(config.user_buckets, outputs, 0.0, drop)

        self.event = nn.Linear(2 * width, width)
        self.value = nn.Linear(1, width, bias=False)
        self.kinds, self.gaps = nn.Embedding(len(EventType), width), nn.Embedding(GAPS, width)
        self.block, self.norm = Block(config), nn.LayerNorm(width)
        self.weigh = nn.Linear(width, 1)
        self.taste = nn.Linear(2 * width, width)
        self.query = nn.Linear(3 * width, width)

        self.ask, self.offer, self.give = (nn.Linear(width, width) for _ in range(3))
        self.change = nn.Linear(width, width)
        self.found = nn.LayerNorm(4 * width)
        features = 4 * width + 2 * config.heads + LAST + config.context + 2 * outputs
        self.cross = Cross(features, config.cross_rank, config.cross_layers)
        self.deep = nn.Sequential(nn.Linear(features, config.hidden), nn.GELU(), nn.Dropout(config.dropout))
        self.drop = nn.Dropout(config.dropout)
        self.out = nn.Linear(features + config.hidden, outputs)
        self.plain = nn.Linear(config.context, outputs)  # counts alone, so that the rest begins from what they say
        self.product = nn.Parameter(torch.ones(outputs))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def represent(self, features: torch.Tensor, ids: torch.Tensor) -> Represented:
        """Numbers (m, features) and rows of the table of ids (m,)."""
        described = self.adapter(features)
        vectors = described + self.contents(ids)
        levels = self.described_levels(described) + self.content_levels(ids)
        return Represented(vectors, levels[:, :-1], self.key(vectors), levels[:, -1])

    def recall(self, past: Past, ids: torch.Tensor) -> State:
        """Histories and rows of the users' table (g,)."""
        valued = past.vectors * past.values[..., None]
        x = self.event(torch.cat([past.vectors, valued], -1)) + self.value(past.values[..., None])
        x = self.norm(self.block(x + self.kinds(past.kinds) + self.gaps(past.gaps), past.known))
        x = x * past.known[..., None]
        weights = torch.softmax(self.weigh(x).squeeze(-1).masked_fill(~past.known, _FAR), 1)
        seen = torch.cat([(x * weights[..., None]).sum(1), x[:, -1]], -1)
        own = self.users(ids)
        taste, query = own + self.taste(seen), self.query(torch.cat([seen, own], -1))
        return State(x, taste, self.user_levels(ids), query, past.values, past.known)

    def forward(self, state: State, contents: Represented, context: torch.Tensor) -> torch.Tensor:
        """Logits (g, r, outputs) of r contents each; of `contents` the vectors are (g, r, width), and so on; `context`
        is (g, r, statistics).
        """
        vectors = contents.vectors
        attended, likeness = self._attend(state, vectors)
        product = state.taste[:, None] * vectors
        found = self.found(torch.cat([vectors, product, attended, attended * self.change(vectors)], -1))
        own = state.level[:, None].expand(-1, vectors.shape[1], -1)
        x = self.drop(torch.cat([found, likeness, context, own, contents.levels], -1))
        logits = self.out(torch.cat([self.cross(x), self.deep(x)], -1))
        plain = own + contents.levels + product.sum(-1, keepdim=True) * self.product
        said: torch.Tensor = logits + plain + self.plain(context)
        return said

    def meetings(self, state: State, contents: Represented) -> torch.Tensor:
        """How likely each user (g,) meets each of m contents next, (g, m): logits of a softmax over all."""
        logits: torch.Tensor = state.query @ contents.keys.T + contents.familiar
        return logits

    def _attend(self, state: State, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What candidates (g, r, width) find in the events, (g, r, width); and how like them they are: per head the
        most similar one and the value of the similar ones, then the last ones each, (g, r, 2 heads + LAST).
        """
        g, r, width = vectors.shape
        heads, n = self.config.heads, state.events.shape[1]
        query = self.ask(vectors).view(g, r, heads, -1).transpose(1, 2)
        key, value = (layer(state.events).view(g, n, heads, -1).transpose(1, 2) for layer in (self.offer, self.give))
        known = state.known[:, None, :, None]
        said = torch.cat([value * known, state.values[:, None, :, None].expand(-1, heads, -1, -1)], -1)
        far = torch.where(state.known, 0.0, _FAR).to(vectors.dtype)[:, None, None, :]
        near = torch.baddbmm(
            far.expand(-1, heads, -1, -1).reshape(g * heads, 1, n),
            query.reshape(g * heads, r, -1),
            key.reshape(g * heads, n, -1).transpose(1, 2),
            alpha=(width // heads) ** -0.5,
        ).view(g, heads, r, n)
        most = near.amax(-1, keepdim=True)
        found = torch.softmax(near, -1) @ said  # without events all weights are equal, of zeros
        attended, valued = found[..., :-1].transpose(1, 2).reshape(g, r, width), found[..., -1]
        some = state.known.any(1)[:, None, None]
        last = near[..., -LAST:].mean(1) * state.known[:, None, -LAST:]
        most = most.squeeze(-1).transpose(1, 2) * some
        return attended, torch.cat([most, valued.transpose(1, 2), last], -1)
