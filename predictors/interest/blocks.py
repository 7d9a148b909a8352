"""Training rows of `interest` in blocks, so that a history is told to the net once for several rows of its user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.errors import StateError
from predictors.interest.content_inputs import Ids, Matrix, Rows
from predictors.interest.examples import EventExamples
from predictors.interest.inputs import Context, Histories
from predictors.interest.labels import HEADS

ENGAGED, REACTION = "engaged", "reaction"  # labels
RANK, MEETING = "rank", "meeting"  # details of scores: what to sort all contents by, and how likely it is met
LEAST_ROWS = 100  # training rows; and of each class, in training and in validation, LEAST_CLASS
LEAST_CLASS = 5

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Blocks:
    """Neighbouring training rows of one user each, b of them: `rows` (b, size), of which `filled` are real. `past` is
    what was known before the first of a block, so it holds nothing that is later than any. `users` (b,) are rows of
    the users' table.
    """

    rows: Rows
    filled: Mask
    past: Histories
    users: Rows

    @classmethod
    def of(cls, examples: EventExamples, context: Context, users: Ids, size: int) -> Blocks:
        """The training rows by user and time, at most `size` together."""
        train, columns = examples.splits.train, examples.columns
        names = columns.objects("user_id")[train]
        _, owner = np.unique([name or "" for name in names], return_inverse=True)
        order = np.lexsort((columns.numbers("event_timestamp")[train], owner))
        owner = owner[order]
        number = np.arange(len(order)) - np.searchsorted(owner, owner)
        starts = np.flatnonzero(number % size == 0)
        index = starts[:, None] + np.arange(size)
        filled = index < np.append(starts[1:], len(order))[:, None]
        rows = train[order][np.where(filled, index, starts[:, None])]
        places = {content_id: row for row, content_id in enumerate(examples.contents.objects("content_id"))}
        past = context.histories(columns, rows[:, 0].tolist(), places)
        ids = users.rows([name or "" for name in columns.objects("user_id")[rows[:, 0]]])
        return cls(rows, filled, past, ids)

    def take(self, blocks: Rows) -> Blocks:
        """Those blocks."""
        return Blocks(self.rows[blocks], self.filled[blocks], self.past.take(blocks), self.users[blocks])


def outputs_of(examples: EventExamples) -> tuple[str, ...]:
    """What the net is to say: `engaged`, the reaction and heads of which the training rows hold more than one value."""
    train = examples.splits.train

    def varies(name: str) -> bool:
        values = examples.labels.get(name, np.empty(0))
        return len(np.unique(values[train][np.isfinite(values[train])])) > 1 if len(values) else False

    return (ENGAGED, *(name for name in (REACTION, *HEADS) if varies(name)))


def targets_of(examples: EventExamples, outputs: Sequence[str]) -> Mapping[str, Matrix]:
    """The labels of every row, (n,) float32; reactions in deviations from the mean of the training rows."""
    targets = {name: examples.labels[name] for name in outputs}
    if REACTION in targets:
        known = targets[REACTION][examples.splits.train]
        targets[REACTION] = (targets[REACTION] - np.nanmean(known)) / np.nanstd(known)
    return {name: values.astype(np.float32) for name, values in targets.items()}


def chances(items: Rows, contents: int) -> Matrix:
    """How likely each content is drawn as a negative, (contents,): half as often as it is met, half evenly."""
    counts = np.bincount(items, minlength=contents).astype(np.float64)
    drawn: Matrix = (0.5 * counts / counts.sum() + 0.5 * (counts > 0) / (counts > 0).sum()).astype(np.float32)
    return drawn


def require_learnable(examples: EventExamples) -> None:
    """Raise StateError where the training or the validation rows are too few to learn anything from."""
    splits, engaged = examples.splits, examples.labels[ENGAGED]
    if len(splits.train) < LEAST_ROWS:
        raise StateError(f"{len(splits.train)} encounters to train on, {LEAST_ROWS} are needed: ingest more events")
    for name, rows in (("training", splits.train), ("validation", splits.valid)):
        counts = np.bincount(engaged[rows].astype(np.int64), minlength=2)
        if counts.min() < LEAST_CLASS:
            raise StateError(
                f"{counts[1]} of {len(rows)} {name} encounters are engaged, {LEAST_CLASS} that are and as many that "
                "are not are needed: ingest more events"
            )
