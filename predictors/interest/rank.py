"""How all contents are sorted for a user, chosen on the validation rows: what P(engaged) counts beside P(meets), and
what each member of a blend does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from feature_repo.columns import Columns
from feature_repo.schema import USER_RECENT, USER_STATS
from predictors.base import Predictor
from predictors.interest.blocks import ENGAGED, MEETING, RANK
from predictors.interest.examples import RELATED, EventExamples
from predictors.labels import Floats
from predictors.splits import Rows

if TYPE_CHECKING:
    from predictors.interest.predictor import Interest

WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
USERS = 300  # asked, at most: evenly chosen among those who engaged
K = 10
STEPS = 6  # from one member to another

_USERS = {*USER_STATS, *USER_RECENT}

Asked = Callable[[int, Rows], tuple[Floats, Floats]]
"""Of the user of a row and of contents: logits of meeting each and probabilities of engaging."""


def rank_weight(examples: EventExamples, asked: Asked) -> float:
    """The weight of log P(engaged) with the best NDCG@10 of what validation users engaged with, the first of equals."""
    gains = np.zeros(len(WEIGHTS))
    for row, candidates, wanted in _requests(examples):
        meeting, p = asked(row, candidates)
        gains += [ndcg(meeting + weight * np.log(p), wanted) for weight in WEIGHTS]
    return WEIGHTS[int(gains.argmax())]


def rank_weights(examples: EventExamples, members: Sequence[Predictor]) -> list[float]:
    """What each member's `rank` counts, of steps on a simplex the mix with the best NDCG@10 of validation users.

    The weights hold the members' scales: each is over the member's mean deviation within a list.
    """
    asked = [
        (np.stack([member.score(columns).details[RANK] for member in members]), wanted)
        for row, candidates, wanted in _requests(examples)
        for columns in [request(examples, row, candidates, vectors=True)]
    ]
    if not asked:
        return [1.0 / len(members)] * len(members)
    scales = np.mean([ranks.std(axis=1) for ranks, _ in asked], axis=0)
    steps = [np.array(mix) / STEPS for mix in product(range(STEPS + 1), repeat=len(members)) if sum(mix) == STEPS]
    mixes = [mix / np.maximum(scales, 1e-12) for mix in steps]
    gains = [sum(ndcg(mix @ ranks, wanted) for ranks, wanted in asked) for mix in mixes]
    return [float(weight) for weight in mixes[int(np.argmax(gains))]]


def ndcg(scores: Floats, wanted: Floats) -> float:
    """NDCG@10 of one user, whose `wanted` contents (m,) are 1 and others 0; at least one is."""
    discounts = 1 / np.log2(np.arange(min(K, len(scores))) + 2)
    top = np.argsort(-scores, kind="stable")[:K]
    return float(wanted[top] @ discounts / discounts[: int(min(wanted.sum(), K))].sum())


def asked_of(net: Interest, examples: EventExamples) -> Asked:
    """Asks the net, which represents the contents once."""
    contents = net.represent(examples.contents)

    def asked(row: int, candidates: Rows) -> tuple[Floats, Floats]:
        columns = request(examples, row, candidates)
        logits, meeting = net.logits_of(columns, contents[candidates])
        return meeting, net.probabilities(logits)

    return asked


def asked_in_full(predictor: Predictor, examples: EventExamples) -> Asked:
    """Asks a predictor that says `meeting` among its details."""

    def asked(row: int, candidates: Rows) -> tuple[Floats, Floats]:
        said = predictor.score(request(examples, row, candidates, vectors=True))
        return said.details[MEETING], said.score

    return asked


def _requests(examples: EventExamples) -> Iterator[tuple[int, Rows, Floats]]:
    """A row of each user that is asked about, the candidates' rows of the contents, and which are wanted.

    Candidates are all contents that the user did not meet in training; where validation holds contents that nobody met
    in training, those alone.
    """
    train, valid = examples.splits.train, examples.splits.valid
    users, items = examples.columns.objects("user_id"), examples.items
    met = _marks(items[train], examples.contents.rows)
    fresh = not met[items[valid]].any()
    held = _marks(items[valid], len(met))
    liked = valid[examples.labels[ENGAGED][valid] > 0]
    names, firsts = np.unique(users[liked].astype(str), return_index=True)
    for at in np.unique(np.linspace(0, len(names) - 1, min(USERS, len(names))).astype(np.intp)):
        mine = users == names[at]
        open_ = held if fresh else ~_marks(items[train[mine[train]]], len(met))
        candidates = np.flatnonzero(open_)
        wanted = _marks(items[liked[mine[liked]]], len(met))[candidates].astype(np.float64)
        if wanted.any():
            yield int(liked[firsts[at]]), candidates, wanted


def request(examples: EventExamples, row: int, candidates: Rows, vectors: bool = False) -> Columns:
    """The user of that row with these contents, as of that row."""
    mine = examples.columns.take(np.full(len(candidates), row))
    theirs = examples.found_by(row).take(candidates)
    own = [name for name in theirs.values if name not in _USERS]
    kept = own if vectors else [name for name in own if name not in examples.digests]
    values = mine.values | {name: theirs.values[name] for name in kept}
    present = mine.present | {name: theirs.present[name] for name in kept}
    return Columns(len(candidates), values, present, {RELATED: examples.contents})


def _marks(rows: Rows, size: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    marked = np.zeros(size, np.bool_)
    marked[rows] = True
    return marked
