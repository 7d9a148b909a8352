"""A causal Transformer over a user's events, after SASRec (https://arxiv.org/abs/1808.09781): its state after an
event is the user's vector.

An item is its frozen vectors through a learned adapter, plus a learned vector of its id. Ids are hashed to a table of
bounded size, and are often left out in training, so that an item that came later is known by its content alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

from embedders.fitted import Weights
from embedders.next_item import Scores
from embedders.user_histories import GAPS, Histories, Rows
from feature_repo.contracts import EventType

Matrix = npt.NDArray[np.float32]

_CHUNKS = 128  # stretches of events in a forward pass


@dataclass(frozen=True, slots=True)
class SequenceConfig:
    """The net's shape, saved with its weights. `features` counts the numbers of an item's vectors and their flags."""

    features: int
    buckets: int  # rows of the id table
    width: int = 64  # of the user vector
    hidden: int = 128  # of the adapter
    layers: int = 2
    heads: int = 2
    length: int = 100  # events that a state can look back on, at most; even
    dropout: float = 0.2
    id_dropout: float = 0.3  # how often an item is shown without its id


class ItemEncoder(nn.Module):
    """What an item says: its content through the adapter, and its id where training has seen it."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        self.adapter = nn.Sequential(
            nn.Linear(config.features, config.hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.width),
        )
        self.ids = nn.Embedding(config.buckets + 1, config.width, padding_idx=0)  # row 0: an id never seen
        self.id_dropout = config.id_dropout

    def forward(self, features: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """(n, features) float32 and (n,) rows of the id table -> (n, width)."""
        if self.training:
            ids = ids * (torch.rand(len(ids), device=ids.device) >= self.id_dropout)
        vectors: torch.Tensor = self.adapter(features) + self.ids(ids)
        return vectors


class Attention(nn.Module):
    """Each event looks at itself and those before it, and at nothing after."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, events, width) -> the same."""
        n, events, width = x.shape
        heads = self.qkv(x).view(n, events, 3, self.heads, width // self.heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each (n, heads, events, width / heads)
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        mixed: torch.Tensor = self.out(seen.transpose(1, 2).reshape(n, events, width))
        return mixed


class Block(nn.Module):
    """Attention and a perceptron, each added to what came in; normalised before, not after."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        width = config.width
        self.attend = nn.Sequential(nn.LayerNorm(width), Attention(config), nn.Dropout(config.dropout))
        self.think = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            nn.Dropout(config.dropout),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, events, width) -> the same."""
        x = x + self.attend(x)
        thought: torch.Tensor = self.think(x)
        return x + thought


class UserSequence(nn.Module):
    """Events -> states. What a state says of an item is their dot product, `score`."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        self.config = config
        self.items = ItemEncoder(config)
        self.kinds = nn.Embedding(len(EventType), config.width)
        self.gaps = nn.Embedding(GAPS, config.width)
        self.places = nn.Embedding(config.length, config.width)
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config.layers)))
        self.norm = nn.LayerNorm(config.width)
        self.apply(_initialise)

    def forward(self, items: torch.Tensor, kinds: torch.Tensor, gaps: torch.Tensor) -> torch.Tensor:
        """Item vectors (n, events, width), event types and gap codes (n, events) -> states (n, events, width)."""
        places = self.places(torch.arange(items.shape[1], device=items.device))  # (events, width)
        x = self.drop(items + self.kinds(kinds) + self.gaps(gaps) + places)
        states: torch.Tensor = self.norm(self.blocks(x))
        return states


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
        if module.padding_idx is not None:
            with torch.no_grad():
                module.weight[module.padding_idx].zero_()


def sampled_loss(
    states: torch.Tensor, right: torch.Tensor, others: torch.Tensor, log_odds: torch.Tensor, hits: torch.Tensor
) -> torch.Tensor:
    """Mean cross-entropy of the right item among itself and sampled others, as if among all items.

    `states` (n, width), `right` (n, width), `others` (k, width). `log_odds` (n + k,) are the logarithms of how often
    each of them is sampled; without them, what is popular would be punished for being sampled often (Bengio and
    Senécal 2008; Yi et al., RecSys 2019). `hits` (n, k) says which of the others is the right item itself.
    """
    n = len(states)
    mine = (states * right).sum(-1) - log_odds[:n]  # (n,)
    theirs = (states @ others.T - log_odds[n:]).masked_fill(hits, -torch.inf)  # (n, k)
    logits = torch.cat([mine[:, None], theirs], 1)
    return F.cross_entropy(logits, torch.zeros(n, dtype=torch.int64, device=logits.device))


def chunk_starts(events: Rows, length: int) -> Rows:
    """Where the stretch begins in which each event has its state, for events counted from the user's first.

    Stretches of `length` overlap by half, and an event's state is that of the first one to hold it. So a state has
    seen between half of `length` and all of it, and events that come later change no stretch before them.
    """
    half = length // 2
    starts: Rows = np.where(events < length, 0, (events // half - 1) * half)
    return starts


@torch.inference_mode()
def encode_states(net: UserSequence, items: torch.Tensor, histories: Histories, wanted: Rows) -> Matrix:
    """States after the `wanted` events, (wanted, width) float32; `items` (contents, width) are vectors by number."""
    found = np.empty((len(wanted), net.config.width), np.float32)
    gaps, last = histories.gaps(), len(histories.items) - 1
    first = histories.starts[histories.owners()[wanted]]
    begins = first + chunk_starts(wanted - first, net.config.length)
    for rows in _batches(begins, wanted):
        chunks, chunk = np.unique(begins[rows], return_inverse=True)
        places = wanted[rows] - begins[rows]
        index = np.minimum(
            chunks[:, None] + np.arange(places.max() + 1), last
        )  # (chunks, events); what is past, unseen
        numbers, kinds, between = (torch.from_numpy(v[index]).to(items.device) for v in _columns(histories, gaps))
        found[rows] = net(items[numbers], kinds, between).cpu().numpy()[chunk, places]
    return found


def _columns(histories: Histories, gaps: Rows) -> tuple[Rows, Rows, Rows]:
    return histories.items, histories.kinds, gaps


def _batches(begins: Rows, wanted: Rows) -> Iterator[Rows]:
    """Rows of `wanted` for one pass each: those of stretches that are about equally long."""
    chunks, chunk = np.unique(begins, return_inverse=True)
    lengths = np.zeros(len(chunks), np.int64)
    np.maximum.at(lengths, chunk, wanted - begins)
    place = np.empty(len(chunks), np.int64)
    place[np.argsort(lengths, kind="stable")] = np.arange(len(chunks))
    passes = place[chunk] // _CHUNKS
    order = np.argsort(passes, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(passes[order])) + 1) if len(order) else ()


@torch.inference_mode()
def net_scores(net: UserSequence, items: torch.Tensor, histories: Histories, events: Rows) -> Scores:
    """What the net says of `items` (contents, width) before each of `events`, from the state that was known then."""
    pasts, row = np.unique(histories.pasts()[events], return_inverse=True)
    states = torch.from_numpy(encode_states(net, items, histories, pasts)).to(items.device)
    state_of = dict(zip(events.tolist(), row.tolist(), strict=True))

    def scores(asked: Rows) -> Matrix:
        return (states[[state_of[event] for event in asked.tolist()]] @ items.T).cpu().numpy()

    return scores


def build(config: SequenceConfig, weights: Weights) -> UserSequence:
    """The net with these weights, for inference. Raises RuntimeError where they are another net's."""
    net = UserSequence(config)
    net.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
    return net.eval()
