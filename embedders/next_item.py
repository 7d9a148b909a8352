"""How well a user's next item is foretold: its rank among all items that the user has not met yet.

Every item is ranked, none is sampled away (Krichene and Rendle, KDD 2020), and an equal score counts against.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedders.user_histories import Histories, Rows

K = 10

_EVENTS = 256  # ranked at once

Matrix = npt.NDArray[np.float32]
Scores = Callable[[Rows], Matrix]  # events to foretell -> (events, items)


@dataclass(frozen=True, slots=True)
class NextItem:
    """HR@10: how often the next item is among the first ten. NDCG@10: the mean of 1 / log2(1 + rank), 0 beyond ten."""

    hit_rate: float
    ndcg: float
    events: int


def to_foretell(histories: Histories, since: int, most: int) -> Rows:
    """Events from `since` (µs) on with an item that is new to a user with a past; `most` at most, evenly chosen."""
    fit = histories.first_meetings() & (histories.pasts() >= 0) & (histories.times >= since)
    events = np.flatnonzero(fit)
    return events[np.linspace(0, len(events) - 1, most).astype(np.int64)] if len(events) > most else events


def measure(histories: Histories, events: Rows, scores: Scores) -> NextItem:
    """Rank the item of each of `events` by `scores`, which may know of each what came before it, and no more."""
    ranks = np.concatenate([np.empty(0, np.int64), *_ranks(histories, events, scores)])
    near = ranks <= K
    gains = np.where(near, 1 / np.log2(1 + ranks), 0.0)
    return NextItem(float(near.mean()), float(gains.mean()), len(ranks)) if len(ranks) else NextItem(0.0, 0.0, 0)


def _ranks(histories: Histories, events: Rows, scores: Scores) -> list[Rows]:
    first, pasts = histories.starts[histories.owners()], histories.pasts()
    found = []
    for start in range(0, len(events), _EVENTS):
        batch = events[start : start + _EVENTS]
        said = np.array(scores(batch), np.float32)
        right = said[np.arange(len(batch)), histories.items[batch]]
        for row, event in enumerate(batch):
            said[row, histories.items[first[event] : pasts[event] + 1]] = -np.inf
        found.append((said >= right[:, None]).sum(1))
    return found


def popularity(histories: Histories, before: int, items: int) -> Scores:
    """How often each item was met before that time (µs), whoever asks."""
    counts = np.bincount(histories.items[histories.times < before], minlength=items).astype(np.float32)
    return lambda events: np.broadcast_to(counts, (len(events), items))


def nearest_content(histories: Histories, vectors: Matrix) -> Scores:
    """Cosine between each item's vectors (items, dim) and those of the item that the user met last."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    last = histories.items[histories.pasts()]
    return lambda events: unit[last[events]] @ unit.T
