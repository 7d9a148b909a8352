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
from predictors.interest.net import InterestNet
from predictors.interest.passes import answer, encode


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

    taste: Matrix
    query: Matrix
    level: Matrix
    asks: Matrix
    gives: Matrix


class Folded:
    """What the net says of a user's candidates. It holds products of weights: a net that learns on is folded anew."""

    @torch.no_grad()
    def __init__(self, net: InterestNet) -> None:
        self._net = net
        self._width, self._heads, self._outputs = net.config.width, net.config.heads, net.config.outputs
        self._moments = (net.kinds.weight[:, None] + net.gaps.weight).flatten(0, 1).numpy()
        tables = net.users.table.weight, net.user_levels.table.weight, net.product
        self._users, self._levels, self._product = (table.detach().numpy() for table in tables)
        eye = torch.eye(self._width)
        self._user = torch.cat([torch.cat([net.taste.weight, eye], 1), net.query.weight]).numpy()
        self._user_bias = torch.cat([net.taste.bias, net.query.bias]).numpy()
        self._product = net.product.numpy(force=True)
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
        crossed, last = torch.split(net.out.weight, [net.out.in_features - hidden, hidden], 1)
        eye = torch.eye(outputs)
        plain = torch.cat([net.plain.weight, eye, eye], 1)  # of the last features: the context and both levels
        plain = F.pad(plain, (crossed.shape[1] - plain.shape[1], 0))
        downs, ups = ([cast(nn.Linear, layer) for layer in layers] for layers in (net.cross.down, net.cross.up))
        deep = cast(nn.Linear, net.deep[0])
        bias = torch.cat([torch.zeros(rank), deep.bias, net.out.bias + net.plain.bias])
        first = torch.cat([bias[:, None], torch.cat([downs[0].weight, deep.weight, plain])], 1)
        layers = _with_bias(net.change), _both(net.found), first, crossed.contiguous(), last.contiguous()
        self._layers = tuple(weight.detach().numpy() for weight in layers)
        narrow = torch.stack([down.weight for down in downs])[1:].numpy()
        self._crosses = narrow, np.array([_with_bias(up).numpy() for up in ups])

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
        hangs = self._user @ np.concatenate([seen, self._users[user]]) + self._user_bias
        return Asked(hangs[:width], hangs[width:], self._levels[user], asks, gives)

    def __call__(self, asked: Asked, contents: Matrix, context: Matrix) -> tuple[Matrix, Matrix]:
        """Logits (r, outputs) and those of meetings (r,) of r contents, as `Represented.packed` has them, in `context`
        (r, statistics), as `InterestNet.forward` and `meetings` give them.
        """
        contents = np.require(contents, requirements=["C", "W"])  # as the compiled pass is made for
        logits = np.empty((self._outputs, len(contents)), np.float32)
        answer(
            contents,
            np.ascontiguousarray(context.T),
            asked.taste,
            asked.level,
            np.outer(self._product, asked.taste),
            asked.asks,
            asked.gives,
            self._layers,
            self._crosses,
            self._net.found.eps,
            logits,
        )
        keys, familiar = contents[:, self._width : 2 * self._width], contents[:, -1]
        return logits.T, keys @ asked.query + familiar


def _with_bias(layer: nn.Linear) -> torch.Tensor:
    """(out, 1 + in), the bias first."""
    return torch.cat([layer.bias[:, None], layer.weight], 1)


def _both(norm: nn.LayerNorm) -> torch.Tensor:
    """(2, width): the factor, and what is added."""
    return torch.stack([norm.weight, norm.bias])
