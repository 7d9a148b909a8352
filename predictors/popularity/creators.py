"""How popular a creator's earlier contents were, as stacked features of the trees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Texts = npt.NDArray[Any]
Matrix = npt.NDArray[np.float32]

NAMES = ("mean", "posts")  # columns that come out: mean score, and of how many posts
PRIOR = 3.0  # posts that the mean of all creators counts as: a creator of one post is hardly known

_DAY_US = 86_400 * 1e6
_SPAN = 2**32  # days of one creator, so that a day and a creator are one sorted number


@dataclass(frozen=True, slots=True)
class Creators:
    """Scores of the training contents by creator and day.

    `names` (c,) sorted creators, `keys` (m,) int64 of creator and day, ascending, `sums` (m + 1,) scores before each;
    `ids` (m,) sorted contents with their `own` (m,) keys and `scores` (m,); `level` the mean of all scores.
    """

    names: Texts
    keys: npt.NDArray[np.int64]
    sums: Floats
    ids: Texts
    own: npt.NDArray[np.int64]
    scores: Floats
    level: float

    @classmethod
    def fit(cls, creators: npt.NDArray[np.object_], ids: Texts, published: Floats, scores: Floats) -> Creators:
        """From creators (n,) with None or "" for none, content ids, times of publication (µs) and scores, all (n,)."""
        rows = np.flatnonzero([bool(name) for name in creators])
        named = creators[rows].astype(str)
        names = np.unique(named) if len(rows) else np.empty(0, "<U1")
        keys = np.searchsorted(names, named) * _SPAN + _days(published[rows])
        order, by_id = np.argsort(keys, kind="stable"), np.argsort(ids[rows].astype(str), kind="stable")
        sums = np.concatenate([[0.0], np.cumsum(scores[rows][order])])
        return cls(
            names,
            keys[order],
            sums,
            ids[rows].astype(str)[by_id],
            keys[by_id],
            scores[rows][by_id],
            float(scores.mean()),
        )

    def __call__(self, creators: npt.NDArray[np.object_], ids: Texts, as_of: Floats) -> Matrix:
        """(n, 2) float32 from contents posted on days before `as_of` (n,), none of which is the content itself; NaN
        where there is no creator.
        """
        out = np.full((len(creators), len(NAMES)), np.nan, np.float32)
        rows = np.flatnonzero([bool(name) for name in creators])
        said, asked = creators[rows].astype(str), ids[rows].astype(str)
        # The place of an unknown creator is another's, of whom there is nothing from day 0 to day 0
        place = np.searchsorted(self.names, said)
        known = np.append(self.names, "")[place] == said
        first = place * _SPAN
        until = first + np.where(known, np.minimum(_days(as_of[rows]), _SPAN - 1), 0)
        start, stop = np.searchsorted(self.keys, first), np.searchsorted(self.keys, until)
        at = np.searchsorted(self.ids, asked)
        own = np.append(self.own, -1)[at]
        itself = (np.append(self.ids, "")[at] == asked) & (own >= first) & (own < until)
        total = self.sums[stop] - self.sums[start] - np.where(itself, np.append(self.scores, 0.0)[at], 0.0)
        posts = (stop - start) - itself.astype(np.float64)
        out[rows, 0] = (total + PRIOR * self.level) / (posts + PRIOR)
        out[rows, 1] = posts
        return out

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All of it, by name."""
        return {name: np.asarray(getattr(self, name)) for name in self.__slots__}

    @classmethod
    def from_arrays(cls, arrays: dict[str, npt.NDArray[Any]]) -> Creators:
        """From what `arrays` gave. Raises KeyError where one is missing."""
        names, keys, sums, ids, own, scores = (arrays[name] for name in cls.__slots__[:-1])
        return cls(names, keys, sums, ids, own, scores, float(arrays["level"]))


def _days(times: Floats) -> npt.NDArray[np.int64]:
    """Days since the year 1 of times in µs since 1970, so that none is negative; what is endless is the last day."""
    finite = np.where(np.isfinite(times), times, 0) / _DAY_US + 719_162
    return np.where(np.isfinite(times), finite, _SPAN - 1).astype(np.int64)
