"""Encounters as the net of `interest` reads them: users' histories, told once each, and what is known of the moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import is_, itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from embedders.user_histories import GAPS
from feature_repo.columns import Columns
from feature_repo.contracts import EventType
from feature_repo.schema import CONTENT_STATS, CREATOR_STATS, NUMBER, RECENT, USER_STATS
from predictors.interest.content_inputs import Matrix, Rows, standard
from predictors.interest.examples import RELATED
from predictors.interest.passes import standardise

LISTS = (RELATED, "recent_events", "recent_times", "recent_values")
STATISTICS = tuple(
    name for schema in (CONTENT_STATS, CREATOR_STATS, USER_STATS) for name, dtype in schema.items() if dtype == NUMBER
)

_KINDS = {event.value: code for code, event in enumerate(EventType)}
# A mean over few says little: it is drawn towards the mean of all by so many ratings
_MEANS = {"content_rating_mean": ("content_ratings", 10.0), "user_rating_mean": ("user_ratings", 5.0)}
_COUNT_ROWS = [
    row for row, name in enumerate(STATISTICS) if not name.endswith(("_mean", "_rate", "_engagement", "_days"))
]
_SPREAD = 5.0  # deviations at which a statistic is cut


@dataclass(frozen=True, slots=True)
class Histories:
    """The last events of g users, oldest first and at the right end; each (g, RECENT).

    `contents` are rows of a table of contents, `kinds` event types, `values` standardised within their type, `gaps`
    codes of the time to the newest of them, `known` where there is an event at all.
    """

    contents: Rows
    kinds: Rows
    values: Matrix
    gaps: Rows
    known: npt.NDArray[np.bool_]

    def take(self, users: Rows) -> Histories:
        """Those users."""
        return Histories(
            self.contents[users], self.kinds[users], self.values[users], self.gaps[users], self.known[users]
        )


@dataclass(frozen=True, slots=True)
class Context:
    """The fitted map from statistics to standardised numbers, and from events' values to deviations of their type.

    `level` (means,) are what ratings' means are drawn to; `mean` and `scale` standardise; `values` is (types, 2): mean
    and one over the deviation of each event type's values.
    """

    level: Matrix
    mean: Matrix
    scale: Matrix
    values: Matrix

    @classmethod
    def fit(cls, training: Columns) -> Context:
        """Fit on the training rows."""
        level = [np.nanmean(np.append(training.numbers(name), [np.nan, 0.0][_any(training, name)])) for name in _MEANS]
        raw = _shrunken(training, np.array(level, np.float32))
        mean, scale = standard(raw.T)
        met: list[list[float]] = [[] for _ in EventType]
        lists = zip(training.objects("recent_events"), training.objects("recent_values"), strict=True)
        for kinds, values in lists:
            if kinds:  # each event is the newest of some row, more or less: the others would be counted many times
                met[_KINDS[kinds[-1]]].append(values[-1])
        values = [standard(np.array(each or [0.0])[:, None]) for each in met]
        return cls(np.array(level, np.float32), mean, scale, np.hstack([np.vstack([m, s]) for m, s in values]).T)

    def __call__(self, columns: Columns) -> Matrix:
        """(n, len(STATISTICS)) float32: a statistic that is not known is the mean of those that are."""
        raw = _shrunken(columns, self.level)
        told = np.empty(raw.shape, np.float32)
        standardise(raw, self.mean, self.scale, _SPREAD, told)
        return told.T

    def histories(self, columns: Columns, rows: Sequence[int], places: Mapping[str, int]) -> Histories:
        """The histories of these rows; `places` is the row of each content, those that it lacks are left out."""
        shape = (len(rows), RECENT)
        contents, kinds, gaps = (np.zeros(shape, np.int64) for _ in range(3))
        values, known = np.zeros(shape, np.float32), np.zeros(shape, bool)
        for at, row in enumerate(rows):
            told = self.history(columns, row, places)
            part = slice(RECENT - len(told[0]), RECENT)
            contents[at, part], kinds[at, part], values[at, part], gaps[at, part] = told
            known[at, part] = True
        return Histories(contents, kinds, values, gaps, known)

    def history(self, columns: Columns, row: int, places: Mapping[str, int]) -> tuple[Rows, Rows, Matrix, Rows]:
        """Contents, kinds, values and gaps of the last events of one row, (n,) each, as `Histories` has them."""
        met = [columns.objects(name)[row] or () for name in LISTS]
        events = [event for event in zip(*met, strict=True) if event[0] in places][-RECENT:]
        ids, names, times, said = zip(*events, strict=True) if events else ((), (), (), ())
        kinds = np.array([_KINDS[name] for name in names], np.int64)
        mean, scale = self.values[kinds].T
        values = np.clip((np.array(said) - mean) * scale, -_SPREAD, _SPREAD).astype(np.float32)
        gaps = _gap_codes(np.array(times, np.int64))
        return np.array([places[content_id] for content_id in ids], np.int64), kinds, values, gaps

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Everything that is fitted, by name."""
        return {f"context.{name}": getattr(self, name) for name in ("level", "mean", "scale", "values")}

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Context:
        """From what `arrays` gave. Raises KeyError where something is missing."""
        return cls(*(arrays[f"context.{name}"] for name in ("level", "mean", "scale", "values")))


def same_pasts(columns: Columns) -> tuple[Rows, Rows]:
    """The rows that stand for a distinct user and history each, (g,), and of every row the number of its own, (n,).

    A request's rows share one list, so lists are compared by identity first.
    """
    users, lists = columns.objects("user_id"), [columns.objects(name) for name in LISTS]
    shared = columns.rows and all(map(is_, lists[0].tolist(), repeat(lists[0][0])))
    if shared and users.tolist().count(users[0]) == columns.rows:
        return np.zeros(1, np.int64), np.zeros(columns.rows, np.int64)
    identities = list(zip(users.tolist(), map(id, lists[0]), strict=True))
    number_of: dict[tuple[object, int], int] = {}
    by_value: dict[tuple[object, ...], int] = {}
    firsts: list[int] = []
    # The first row of each identity: of a repeated key a dictionary keeps the last value
    distinct = dict(zip(reversed(identities), range(columns.rows - 1, -1, -1), strict=True))
    for identity, row in sorted(distinct.items(), key=itemgetter(1)):
        value = (users[row], *(tuple(each[row] or ()) for each in lists))
        number_of[identity] = by_value.setdefault(value, len(firsts))
        if number_of[identity] == len(firsts):
            firsts.append(row)
    owners = np.fromiter(map(number_of.__getitem__, identities), np.int64, columns.rows)
    return np.array(firsts, np.int64), owners


def _gap_codes(times: Rows) -> Rows:
    """By powers of two of the seconds to the newest event, from 0."""
    codes: Rows = np.minimum(np.log2(1 + np.maximum(times.max(initial=0) - times, 0)).astype(np.int64), GAPS - 1)
    return codes


def _any(columns: Columns, name: str) -> int:
    """0 where the column has a number, 1 where all are absent."""
    return int(not np.isfinite(columns.numbers(name)).any())


def _shrunken(columns: Columns, level: Matrix) -> npt.NDArray[np.float64]:
    """(len(STATISTICS), n): counts on a log scale, means less their level and drawn towards it, others as they are."""
    raw = np.stack([columns.numbers(name) for name in STATISTICS])
    for (name, (count, prior)), middle in zip(_MEANS.items(), level, strict=True):
        n, row = _filled(columns.numbers(count)), STATISTICS.index(name)
        raw[row] = _filled(raw[row] - middle) * n / (n + prior)
    raw[_COUNT_ROWS] = np.log1p(np.fmax(raw[_COUNT_ROWS], 0))  # of a NaN and 0 the greater is 0
    return raw


def _filled(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """0 where one is not known."""
    return np.where(np.isnan(numbers), 0.0, numbers)
