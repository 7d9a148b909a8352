"""What users did last, as arrays: each distinct history once, however many rows share it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Columns
from predictors.interest.examples import RELATED
from predictors.interest.labels import reactions
from predictors.labels import Floats

Ints = npt.NDArray[np.int64]

_LISTS = {"content": RELATED, "event": "recent_events", "value": "recent_values"}


@dataclass(frozen=True, slots=True)
class Histories:
    """h histories of at most L events, oldest first, behind n rows.

    `of_row` (n,) is the history of each row. `items` (h, L) are rows of the related contents and -1 past the end,
    `reactions` (h, L) how well the user liked each, in [0, 1], and `last` (h,) the time of the newest event in µs
    since 1970, NaN where there is none.
    """

    of_row: Ints
    items: Ints
    reactions: Floats
    last: Floats

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """(h, L): where there is an event."""
        return self.items >= 0


def read_histories(columns: Columns) -> Histories:
    """The histories of a batch: rows whose list is the same object share one."""
    lists = columns.objects(RELATED)
    keys = np.fromiter(map(id, lists), np.int64, len(lists))
    _, first, of_row = np.unique(keys, return_index=True, return_inverse=True)
    named = {name: _picked(columns, column, first) for name, column in _LISTS.items()}
    lengths = np.array([len(met) for met in named["content"]], np.int64)
    related = columns.related[RELATED]
    rows, said = _events(named, related, lengths)
    inside = np.arange(max(lengths.max(initial=0), 1)) < lengths[:, None]
    items, liked = np.full(inside.shape, -1, np.int64), np.zeros(inside.shape)
    items[inside], liked[inside] = rows, said
    newest = [times[-1] * 1e6 if times else np.nan for times in _picked(columns, "recent_times", first)]
    return Histories(of_row.astype(np.int64), items, liked, np.array(newest))


def _events(named: dict[str, list[Sequence[Any]]], related: Columns, lengths: Ints) -> tuple[Ints, Floats]:
    """The events of all histories one after the other: the row of each one's content and the reaction to it."""
    place = {content_id: row for row, content_id in enumerate(related.objects("content_id"))}
    rows = np.fromiter((place[content] for met in named["content"] for content in met), np.int64, lengths.sum())
    duration = related.numbers("duration_s")[rows] if related.rows else np.empty(0)
    kinds = np.array([kind for kinds in named["event"] for kind in kinds], np.str_)
    values = np.array([value for values in named["value"] for value in values], np.float64)
    return rows, reactions(kinds, values, duration)


def _picked(columns: Columns, name: str, rows: npt.NDArray[np.intp]) -> list[Sequence[Any]]:
    return [met or () for met in columns.objects(name)[rows]]
