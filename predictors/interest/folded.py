"""The trained net of `interest` as a request asks it: one user, many candidates.

The same function as `InterestNet`, with all that is known beforehand multiplied out: layers that follow one another
with no bend between them are one matrix, and what a user's events ask of candidates is one more. What is left are few
large products; small ones cost more to start than to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from embedders.user_histories import GAPS
from predictors.interest.content_inputs import Matrix, Rows
from predictors.interest.net import LAST, InterestNet, Represented
from predictors.interest.passes import encode, normalise, peak, share


@dataclass(frozen=True, slots=True)
class Events:
    """The n events of one user, oldest first: `vectors` (n, width) of their contents; the others (n,)."""

    vectors: Matrix
    kinds: Rows
    values: Matrix
    gaps: Rows


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user is, `taste` and `query` (width,) and `level` (outputs,), and what the n events ask: `asks` (heads n,
    1 + width) times 1 and a candidate's vector is how near it is; `gives` (heads, width / heads + 2, n) are the events'
    vectors, values and ones.
    """

    taste: torch.Tensor
    query: torch.Tensor
    level: torch.Tensor
    asks: torch.Tensor
    gives: torch.Tensor


class Folded:
    """What the net says of a user's candidates. It holds products of weights: a net that learns on is folded anew."""

    @torch.no_grad()
    def __init__(self, net: InterestNet) -> None:
        self._net = net
        self._width, self._heads, self._outputs = net.config.width, net.config.heads, net.config.outputs
        self._moments = (net.kinds.weight[:, None] + net.gaps.weight).flatten(0, 1).numpy()
        self._users, self._levels = net.users.table.weight.detach(), net.user_levels.table.weight.detach()
        eye = torch.eye(self._width)
        self._user = torch.cat([torch.cat([net.taste.weight, eye], 1), net.query.weight]).numpy()
        self._user_bias = torch.cat([net.taste.bias, net.query.bias]).numpy()
        self._change = torch.cat([net.change.bias[:, None], net.change.weight], 1)
        self._norm = *_both(net.found).numpy(), net.found.eps
        self._fold_attention(net)
        self._fold_crosses(net)

    def _fold_attention(self, net: InterestNet) -> None:
        """`ask` times `offer`, head by head: an event's vector becomes one to multiply 1 and candidates' vectors by."""
        heads, each = self._heads, self._width // self._heads
        ask, bias = net.ask.weight.view(heads, each, -1) * each**-0.5, net.ask.bias.view(heads, 1, each) * each**-0.5
        offer, level = net.offer.weight.view(heads, each, -1), net.offer.bias.view(heads, each, 1)
        by_head = [torch.cat([bias @ offer, ask.mT @ offer], 1), torch.cat([bias @ level, ask.mT @ level], 1)]
        asks = torch.cat([by_head[1], by_head[0]], 2).flatten(0, 1)
        block, think = net.block, cast(Sequence[nn.Linear], net.block.think)
        weights = [
            torch.cat([net.event.bias[:, None], net.event.weight, net.value.weight], 1),
            _both(block.before),
            _with_bias(block.qkv),
            _with_bias(block.out),
            _both(block.between),
            _with_bias(think[0]),
            _with_bias(think[2]),
            _both(net.norm),
            _with_bias(net.weigh),
            torch.cat([asks, _with_bias(net.give)]),
        ]
        self._encoder = tuple(weight.numpy() for weight in weights)

    def _fold_crosses(self, net: InterestNet) -> None:
        """Cross layers multiply their input by 1 and the sum of what each brings up, so that `out` comes once."""
        hidden, outputs, rank = net.config.hidden, self._outputs, net.config.cross_rank
        crossed, self._deep = torch.split(net.out.weight, [net.out.in_features - hidden, hidden], 1)
        eye, none = torch.eye(outputs), torch.zeros(rank)
        plain = torch.cat([net.plain.weight, eye, eye], 1)  # of the last features: the context and both levels
        plain = F.pad(plain, (crossed.shape[1] - plain.shape[1], 0))
        downs, ups = ([cast(nn.Linear, layer) for layer in layers] for layers in (net.cross.down, net.cross.up))
        deep = cast(nn.Linear, net.deep[0])
        self._first = _carrying(
            torch.cat([downs[0].weight, deep.weight, plain]),
            torch.cat([none, deep.bias, net.out.bias + net.plain.bias]),
        )
        self._up = _carrying(ups[0].weight, 1 + ups[0].bias)
        narrow = [_carrying(down.weight, none) for down in downs[1:]]
        wide = [F.pad(torch.cat([up.bias[:, None], up.weight], 1), (0, 0, 1, 0)) for up in ups[1:]]
        self._others = list(zip(narrow, wide, strict=True))
        self._crossed = F.pad(crossed, (1, 0))

    def recall(self, events: Events, user: int) -> Asked:
        """What hangs on the user alone, a row of the users' table."""
        n, width, heads = len(events.values), self._width, self._heads
        asked, seen = np.empty((heads * (1 + width) + width, n), np.float32), np.zeros(2 * width, np.float32)
        if n:
            vectors = np.ascontiguousarray(events.vectors.T)
            said = np.concatenate([vectors, vectors * events.values, events.values[None]])
            moments = self._moments[events.kinds * GAPS + events.gaps].T.copy()
            encode(said, moments, self._encoder, heads, self._net.norm.eps, asked, seen)
        asks = asked[:-width].reshape(heads, 1 + width, n).transpose(0, 2, 1).reshape(heads * n, 1 + width)
        gives = np.ones((heads, width // heads + 2, n), np.float32)
        gives[:, :-2], gives[:, -2] = asked[-width:].reshape(heads, width // heads, n), events.values
        hangs = self._user @ np.concatenate([seen, self._users[user].numpy()]) + self._user_bias
        taste, query, ask, give = (torch.from_numpy(part) for part in (hangs[:width], hangs[width:], asks, gives))
        return Asked(taste, query, self._levels[user], ask, give)

    def __call__(self, asked: Asked, contents: Represented, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (r, outputs) and those of meetings (r,) of r contents in `context` (r, statistics), as
        `InterestNet.forward` and `meetings` give them.
        """
        net = self._net
        x = self._features(asked, contents, context)
        parts = [net.config.cross_rank + 1, net.config.hidden, self._outputs]
        narrow, deep, logits = torch.split(torch.mm(self._first, x), parts)
        scale = torch.mm(self._up, narrow)
        for down, up in self._others:
            scale.addmm_(up, torch.mm(down, x * scale))
        logits.addmm_(self._crossed, scale.mul_(x)).addmm_(self._deep, F.gelu(deep))
        logits.addmm_(torch.outer(net.product, asked.taste), contents.vectors.T)
        return logits.T, torch.addmv(contents.familiar, contents.keys, asked.query)

    def _features(self, asked: Asked, contents: Represented, context: torch.Tensor) -> torch.Tensor:
        """What goes through the cross layers, (1 + features, r): candidates lie along the last axis, where sums and
        maxima over events and features take all of them at once. The first row is of ones.
        """
        width, heads, outputs = self._width, self._heads, self._outputs
        x = torch.empty(self._first.shape[1], len(context))
        parts = [1, width, width, width, width, 2 * heads + LAST, context.shape[1], outputs, outputs]
        ones, vectors, _, attended, changed, likeness, told, own, levels = torch.split(x, parts)
        ones.fill_(1)
        vectors.copy_(contents.vectors.T)
        self._attend(asked, x[: 1 + width], attended, likeness)
        torch.mm(self._change, x[: 1 + width], out=changed)
        normalise(x[1 : 1 + 4 * width].numpy(), asked.taste.numpy(), *self._norm)
        told.copy_(context.T)
        own.copy_(asked.level[:, None])
        levels.copy_(contents.levels.T)
        return x

    def _attend(self, asked: Asked, vectors: torch.Tensor, attended: torch.Tensor, likeness: torch.Tensor) -> None:
        """As `InterestNet._attend`, of ones and `vectors` (1 + width, r), into the other two."""
        heads, _, n = asked.gives.shape
        if not n:
            attended.zero_()
            likeness.zero_()
            return
        near = torch.mm(asked.asks, vectors).view(heads, n, -1)
        peak(near.numpy(), likeness.numpy())
        # A softmax, divided by its sum at the end
        share(torch.bmm(asked.gives, near.exp_()).numpy(), attended.numpy(), likeness.numpy())


def _carrying(weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The layer as a matrix that takes a row of ones before its input, and gives one before its output."""
    return torch.cat([F.pad(torch.ones(1, 1), (0, weight.shape[1])), torch.cat([bias[:, None], weight], 1)])


def _with_bias(layer: nn.Linear) -> torch.Tensor:
    """(out, 1 + in), the bias first."""
    return torch.cat([layer.bias[:, None], layer.weight], 1)


def _both(norm: nn.LayerNorm) -> torch.Tensor:
    """(2, width): the factor, and what is added."""
    return torch.stack([norm.weight, norm.bias])
