"""The matrices that `interest_catboost` is fitted on: no training row sees what its own label has gone into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Columns
from feature_repo.schema import CONTENT_STATS
from predictors.interest.company import Company, counted
from predictors.interest.crowd import Crowd, Ints, fit_biases
from predictors.interest.examples import EventExamples
from predictors.interest.features import (
    CONTENT_NUMBERS,
    TASTE,
    Described,
    InterestAssembler,
    Matrix,
    TasteConfig,
    numbered,
)
from predictors.interest.space import Space
from predictors.interest.trees_config import InterestTreesConfig
from predictors.labels import Floats
from predictors.popularity.reduction import Reduction, fit_reduction, fold_of
from predictors.splits import Rows

_AT_ONCE = 8_000  # rows whose histories are assembled together
_LEAST_MET = 5  # encounters of a content that the priors learn from


@dataclass(frozen=True, slots=True)
class Opinion:
    """What some users say: their crowd, and what it makes of each content by its nature, (m, 2 + company), told
    without it; see `Described.priors`.
    """

    crowd: Crowd
    priors: Matrix


@dataclass(frozen=True, slots=True)
class Interest:
    """The assembler and the described contents; what `everybody` says, and for each fold of users the `others`.

    `fold` (n,) is that of each row's user.
    """

    assembler: InterestAssembler
    contents: Described
    everybody: Opinion
    others: tuple[Opinion, ...]
    fold: npt.NDArray[np.intp]
    config: InterestTreesConfig

    def matrix(self, examples: EventExamples, rows: Rows, training: bool) -> Matrix:
        """(rows, columns) of these encounters. Training rows are told what users of other folds say, and a share of
        them nothing of what anybody says of the content, as it will be with new ones.
        """
        columns, items = examples.columns, examples.items[rows]
        if not training:
            return self._of(columns, rows, items, self.everybody)
        matrix = np.empty((len(rows), len(self.assembler.names)), np.float32, order="F")
        unmet = np.random.default_rng(self.config.seed).random(len(rows)) < self.config.unmet
        for number, opinion in enumerate(self.others):
            for hidden in (False, True):
                mine = np.flatnonzero((self.fold[rows] == number) & (unmet == hidden))
                matrix[mine] = self._of(columns, rows[mine], items[mine], opinion, hidden)
        return matrix

    def ranking(self, examples: EventExamples, rows: Rows) -> tuple[Matrix, Floats]:
        """A matrix to learn lists from, and its labels: engaged rows among `rows` 1, and contents 0 that their users
        had not met in training, drawn evenly. All contents are seen as of one time, so that age tells nothing.
        """
        config, m = self.config, examples.contents.rows
        rng = np.random.default_rng(config.seed)
        engaged = rows[examples.labels["engaged"][rows] > 0]
        if len(engaged) > config.ranked:
            engaged = np.sort(rng.choice(engaged, config.ranked, replace=False))
        drawn = rng.integers(0, m, (len(engaged), config.negatives))
        users = np.unique(examples.columns.objects("user_id").astype(str), return_inverse=True)[1]
        met = np.unique(users[examples.splits.train] * m + examples.items[examples.splits.train])
        free = ~np.isin(users[engaged][:, None] * m + drawn, met)
        pairs = np.concatenate([engaged, np.repeat(engaged, config.negatives)[free.ravel()]])
        items = np.concatenate([examples.items[engaged], drawn[free]])
        labels = np.zeros(len(pairs))
        labels[: len(engaged)] = 1.0
        return self.pairs(examples, pairs, items), labels

    def pairs(self, examples: EventExamples, rows: Rows, items: Ints) -> Matrix:
        """The matrix of the users of these rows, as they were then, with other contents as they are known now."""
        matrix = np.empty((len(rows), len(self.assembler.names)), np.float32, order="F")
        trains = np.zeros(examples.columns.rows, np.bool_)
        trains[examples.splits.train] = True
        for number, opinion in enumerate((self.everybody, *self.others), start=-1):
            mine = np.flatnonzero(~trains[rows] if number < 0 else trains[rows] & (self.fold[rows] == number))
            matrix[mine] = self._of(examples.columns, rows[mine], items[mine], opinion, now=examples.contents)
        return matrix

    def _of(
        self,
        columns: Columns,
        rows: Rows,
        items: Ints,
        opinion: Opinion,
        hidden: bool = False,
        now: Columns | None = None,
    ) -> Matrix:
        """A part of the rows at a time. `hidden`: nobody has met the content; `now` are contents as known now."""
        matrix = np.empty((len(rows), len(self.assembler.names)), np.float32, order="F")
        contents = replace(self.contents, priors=opinion.priors)
        order = np.argsort(rows, kind="stable")
        for start in range(0, len(rows), _AT_ONCE):
            part = order[start : start + _AT_ONCE]
            some, candidates = columns.take(rows[part]), contents.take(items[part])
            if now is not None:
                some = _with_contents(some, now, items[part])
            if hidden:
                some = _forgotten(some)
                unknown = np.full(len(part), len(self.assembler.content_ids))
                candidates = replace(candidates, rows=unknown)
            matrix[part] = self.assembler.matrix(some, candidates, contents, opinion.crowd)
        return matrix


def fit_interest(examples: EventExamples, config: InterestTreesConfig) -> Interest:
    """Everything that the features need, from the training rows alone."""
    train, contents = examples.splits.train, examples.contents
    names, users = np.unique(examples.columns.objects("user_id").astype(str), return_inverse=True)
    fold = fold_of(names.tolist(), config.folds, config.seed)[users]
    met = np.unique(examples.items[train])
    embeddings = tuple(name for name in sorted(examples.digests) if np.isfinite(contents.vectors(name)[met]).any())
    space = Space.fit(contents.take(met), embeddings, config.components, config.top_tags)
    blocks = space(contents)
    rows, ids = np.hstack(list(blocks.values())), contents.objects("content_id").tolist()

    def opinion(chosen: npt.NDArray[np.bool_]) -> tuple[Reduction, Opinion]:
        some = train[chosen]
        return _opinion(users[some], examples.items[some], examples.labels["reaction"][some], rows, ids, config)

    priors, everybody = opinion(np.ones(len(train), np.bool_))
    weights = dict.fromkeys(embeddings, config.embedding_weight)
    weights |= {"tags": config.tags_weight, "year": config.year_weight, TASTE: config.taste_weight}
    taste = TasteConfig(dict(sorted(weights.items())), config.leniency)  # as JSON orders them: sums round by order
    assembler = InterestAssembler(space, everybody.crowd, priors, numbered(ids), taste, embeddings)
    described = Described(blocks, everybody.priors, np.arange(contents.rows))
    others = tuple(opinion(fold[train] != number)[1] for number in range(config.folds))
    return Interest(assembler, described, everybody, others, fold, config)


def _opinion(
    users: Ints, items: Ints, reactions: Floats, rows: Matrix, ids: Sequence[str], config: InterestTreesConfig
) -> tuple[Reduction, Opinion]:
    """What these encounters say. The map tells the bias of a new content, the logarithm of its encounters and its
    factors of company from its `rows` of the space; the priors of each content are by a map that was fitted without it.
    """
    counts = np.bincount(items, minlength=len(rows))
    often = np.flatnonzero(counts >= min(_LEAST_MET, counts.max()))
    folds = fold_of([ids[row] for row in often.tolist()], config.folds, config.seed)
    bias, _ = fit_biases(users, items, reactions, np.zeros(len(rows)), config.pull)
    company = Company.fit(users, items, counted(reactions), len(rows), config.factors)
    targets = np.column_stack([bias, np.log1p(counts), company.factors[:-1]])
    maps, priors = [], np.empty(targets.shape, np.float32)
    for place, target in enumerate(targets.T):
        made, held_out = fit_reduction(rows[often], target[often], folds, 0)
        priors[:, place] = made(rows)[:, 0]
        priors[often, place] = held_out[:, 0]
        maps.append(made)
    weights, offset = (np.concatenate([getattr(one, part) for one in maps]) for part in ("weights", "offset"))
    crowd = Crowd.fit(users, items, reactions, priors[:, 0].astype(np.float64), company, config.factors, config.pull)
    return Reduction(weights, offset, maps[0].alpha), Opinion(crowd, priors)


def _with_contents(columns: Columns, contents: Columns, items: Ints) -> Columns:
    values = {name: contents.values[name][items] for name in CONTENT_NUMBERS}
    present = {name: contents.present[name][items] for name in CONTENT_NUMBERS}
    return columns.beside(Columns(columns.rows, values, present))


def _forgotten(columns: Columns) -> Columns:
    nothing = np.full(columns.rows, np.nan)
    absent = np.zeros(columns.rows, np.bool_)
    return columns.beside(
        Columns(columns.rows, dict.fromkeys(CONTENT_STATS, nothing), dict.fromkeys(CONTENT_STATS, absent))
    )
