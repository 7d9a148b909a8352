"""The trained net of `interest` as a request asks it: one user, many candidates.

The same function as `InterestNet`, with all that is known beforehand multiplied out: layers that follow one another
with no bend between them are one matrix, and what a user's events ask of candidates is one more. What is left are few
large products; small ones cost more to start than to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from predictors.interest.net import LAST, Block, InterestNet, Past, Represented


@dataclass(frozen=True, slots=True)
class Events:
    """The n events of one user, oldest first: `vectors` (n, width) of their contents; the others (n,)."""

    vectors: torch.Tensor
    kinds: torch.Tensor
    values: torch.Tensor
    gaps: torch.Tensor

    @classmethod
    def of(cls, past: Past) -> Events:
        """Those of the first user."""
        known = past.known[0]
        return cls(*(part[0, known] for part in (past.vectors, past.kinds, past.values, past.gaps)))


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user is, `taste` and `query` (width,) and `level` (outputs,), and what the n events ask: `asks` (heads n,
    width) times candidates' vectors, plus `offsets` (heads n,), is how near they are; `gives`
    (heads, width / heads + 2, n) are the events' vectors, values and ones.
    """

    taste: torch.Tensor
    query: torch.Tensor
    level: torch.Tensor
    asks: torch.Tensor
    offsets: torch.Tensor
    gives: torch.Tensor


class Folded:
    """What the net says of a user's candidates. It holds products of weights: a net that learns on is folded anew."""

    @torch.no_grad()
    def __init__(self, net: InterestNet) -> None:
        self._net = net
        self._width, self._heads, self._outputs = net.config.width, net.config.heads, net.config.outputs
        self._event = torch.cat([net.event.weight, net.value.weight], 1)
        self._moments = (net.kinds.weight[:, None] + net.gaps.weight + net.event.bias).flatten(0, 1)
        eye = torch.eye(self._width)
        self._user = torch.cat([torch.cat([net.taste.weight, eye], 1), net.query.weight])
        self._user_bias = torch.cat([net.taste.bias, net.query.bias])
        self._change, self._change_bias = net.change.weight, net.change.bias[:, None]
        self._product = net.product[:, None]
        self._fold_attention(net)
        self._fold_crosses(net)

    def _fold_attention(self, net: InterestNet) -> None:
        """`ask` times `offer`, head by head: an event's vector becomes one to multiply candidates' by."""
        heads, each = self._heads, self._width // self._heads
        ask, bias = net.ask.weight.view(heads, each, -1) * each**-0.5, net.ask.bias.view(heads, 1, each) * each**-0.5
        offer, level = net.offer.weight.view(heads, each, -1), net.offer.bias.view(heads, each, 1)
        of_event = [(ask.mT @ offer).flatten(0, 1), (bias @ offer).flatten(0, 1), net.give.weight]
        of_none = [(ask.mT @ level).flatten(), (bias @ level).flatten(), net.give.bias]
        self._seen, self._seen_bias = torch.cat(of_event), torch.cat(of_none)

    def _fold_crosses(self, net: InterestNet) -> None:
        """Cross layers multiply their input by 1 and the sum of what each brings up, so that `out` comes once."""
        hidden, outputs, rank = net.config.hidden, self._outputs, net.config.cross_rank
        crossed, self._deep = torch.split(net.out.weight, [net.out.in_features - hidden, hidden], 1)
        eye, none = torch.eye(outputs), torch.zeros(rank)
        plain = torch.cat([net.plain.weight, eye, eye], 1)  # of the last features: the context and both levels
        plain = F.pad(plain, (crossed.shape[1] - plain.shape[1], 0))
        downs, ups = ([cast(nn.Linear, layer) for layer in layers] for layers in (net.cross.down, net.cross.up))
        deep = cast(nn.Linear, net.deep[0])
        self._first = torch.cat([downs[0].weight, deep.weight, plain])
        self._first_bias = torch.cat([none, deep.bias, net.out.bias + net.plain.bias])[:, None]
        self._up, self._up_bias = ups[0].weight, 1 + ups[0].bias[:, None]
        # A row more, whose output is always 1, brings the bias up
        self._ended = torch.cat([none, torch.ones(1)])[:, None]
        narrow = [F.pad(down.weight, (0, 0, 0, 1)) for down in downs[1:]]
        wide = [torch.cat([up.weight, up.bias[:, None]], 1) for up in ups[1:]]
        self._others = list(zip(narrow, wide, strict=True))
        self._crossed = crossed

    def recall(self, events: Events, user: int) -> Asked:
        """What hangs on the user alone, a row of the users' table."""
        net, n, width, heads = self._net, len(events.vectors), self._width, self._heads
        own = net.users.table.weight[user]
        x, seen = self._events(events) if n else (torch.empty(0, width), torch.zeros(2 * width))
        taste, query = torch.split(torch.addmv(self._user_bias, self._user, torch.cat([seen, own])), width)
        asks, offsets, gives = torch.split(F.linear(x, self._seen, self._seen_bias), [heads * width, heads, width], 1)
        asks = asks.view(-1, heads, width).transpose(0, 1).reshape(-1, width)
        values = events.values[:, None, None].expand(-1, heads, 1)
        gives = torch.cat([gives.reshape(-1, heads, width // heads), values, torch.ones_like(values)], 2)
        return Asked(
            taste, query, net.user_levels.table.weight[user], asks, offsets.T.flatten(), gives.permute(1, 2, 0)
        )

    def __call__(self, asked: Asked, contents: Represented, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (r, outputs) and those of meetings (r,) of r contents in `context` (r, statistics), as
        `InterestNet.forward` and `meetings` give them.
        """
        net = self._net
        x = self._features(asked, contents, context)
        product = asked.taste[None] @ contents.vectors.T
        parts = [net.config.cross_rank, net.config.hidden, self._outputs]
        narrow, deep, logits = torch.split(torch.addmm(self._first_bias, self._first, x), parts)
        scale = torch.addmm(self._up_bias, self._up, narrow)
        for down, up in self._others:
            scale.addmm_(up, torch.addmm(self._ended, down, x * scale))
        logits.addmm_(self._crossed, scale.mul_(x)).addmm_(self._deep, F.gelu(deep)).addcmul_(product, self._product)
        return logits.T, torch.addmv(contents.familiar, contents.keys, asked.query)

    def _features(self, asked: Asked, contents: Represented, context: torch.Tensor) -> torch.Tensor:
        """What goes through the cross layers, (features, r): candidates lie along the last axis, where sums and maxima
        over events and features take all of them at once.
        """
        width, heads, outputs = self._width, self._heads, self._outputs
        x = torch.empty(self._first.shape[1], len(context))
        parts = [width] * 4 + [2 * heads + LAST, context.shape[1], outputs, outputs]
        vectors, product, attended, changed, likeness, told, own, levels = torch.split(x, parts)
        vectors.copy_(contents.vectors.T)
        torch.mul(vectors, asked.taste[:, None], out=product)
        self._attend(asked, vectors, attended, likeness)
        torch.addmm(self._change_bias, self._change, vectors, out=changed).mul_(attended)
        _normalise(x[: 4 * width], self._net.found)
        told.copy_(context.T)
        own.copy_(asked.level[:, None])
        levels.copy_(contents.levels.T)
        return x

    def _events(self, events: Events) -> tuple[torch.Tensor, torch.Tensor]:
        """The encoded events (n, width), and their weighted mean beside the last one (2 width,)."""
        net, values = self._net, events.values[:, None]
        said = torch.cat([events.vectors, events.vectors * values, values], 1)
        moments = self._moments[events.kinds * net.gaps.num_embeddings + events.gaps]
        x = torch.addmm(moments, said, self._event.T)
        x = _encoded(net.block, x)
        x = F.layer_norm(x, (self._width,), net.norm.weight, net.norm.bias)
        weights = torch.softmax(x @ net.weigh.weight[0], 0)
        return x, torch.cat([weights @ x, x[-1]])

    def _attend(self, asked: Asked, vectors: torch.Tensor, attended: torch.Tensor, likeness: torch.Tensor) -> None:
        """As `InterestNet._attend`, of `vectors` (width, r), into the other two."""
        heads, each, n = asked.gives.shape
        if not n:
            attended.zero_()
            likeness.zero_()
            return
        most, valued, last = torch.split(likeness, [heads, heads, LAST])
        near = torch.addmm(asked.offsets[:, None], asked.asks, vectors).view(heads, n, -1)
        torch.amax(near, 1, out=most)
        last[: max(LAST - n, 0)] = 0
        torch.mean(near[:, -LAST:], 0, out=last[max(LAST - n, 0) :])
        # A softmax, divided by its sum at the end
        found = asked.gives @ near.sub_(most[:, None]).exp_()
        found /= found[:, -1:].clone()
        attended.view(heads, each - 2, -1).copy_(found[:, :-2])
        valued.copy_(found[:, -2])


def _normalise(x: torch.Tensor, norm: nn.LayerNorm) -> None:
    """The norm of each column of (features, r), in place."""
    x -= x.mean(0)
    x *= (x.square().mean(0) + norm.eps).rsqrt_()
    torch.addcmul(norm.bias[:, None], x, norm.weight[:, None], out=x)


def _encoded(block: Block, x: torch.Tensor) -> torch.Tensor:
    """What the block makes of the events (n, width) of one user."""
    n, width = x.shape
    normed = F.layer_norm(x, (width,), block.before.weight, block.before.bias)
    qkv = F.linear(normed, block.qkv.weight, block.qkv.bias).view(n, 3, block.heads, -1)
    query, key, value = qkv.permute(1, 2, 0, 3)
    seen = F.scaled_dot_product_attention(query[None], key[None], value[None])[0].transpose(0, 1).reshape(n, width)
    x = x + F.linear(seen, block.out.weight, block.out.bias)
    normed = F.layer_norm(x, (width,), block.between.weight, block.between.bias)
    thought: torch.Tensor = x + block.think(normed)
    return thought
