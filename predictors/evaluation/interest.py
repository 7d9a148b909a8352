"""Predictors of interest on held-out encounters: `user_id,item_id,p` of each, what to show, and how good both are.

Only warm users count: of others nothing is known but what everybody likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from feature_repo.errors import InputError, StateError
from predictors.base import Predictor
from predictors.evaluation.outcomes import Predictions
from predictors.evaluation.paired import Draw, Measures
from predictors.evaluation.ranking import auc, list_measures, mean_of_known
from predictors.interest.baselines import NAIVE, ranking_baselines
from predictors.interest.data import EventData
from predictors.interest.examples import EventExamples
from predictors.interest.metrics import Outcome
from predictors.interest.rank import request
from predictors.labels import Floats
from predictors.recipes import Fitted
from predictors.splits import Rows

EVENTS, LISTS = "events", "rankings"
WARM = 5  # training encounters of a user from which on predictions are measured
LENGTH = 100  # of a list

Rank = Callable[[int, Rows], Floats]
"""Of the user of a row, and of contents: what to sort them by, (n,)."""


@dataclass(frozen=True)
class InterestOutcome:
    """Of warm users: their encounters as predicted, and hit rate and NDCG of their lists, (users,) each, NaN for those
    who engaged with nothing. Either may be missing; a bootstrap draws users.
    """

    users: int
    events: Outcome | None
    lists: tuple[Floats, Floats] | None

    @property
    def units(self) -> int:
        """How many users there are."""
        return self.users

    def measure(self, drawn: Draw | None = None, /) -> Measures:
        """Those of `interest_metrics` of the encounters, HR@10 and NDCG@10 of the lists."""
        times = np.ones(self.users) if drawn is None else np.bincount(drawn, minlength=self.users).astype(np.float64)
        measured = {} if self.events is None else self.events.measure(drawn)
        for name, values in zip(("hr10", "ndcg10"), self.lists or (), strict=False):
            measured[name] = mean_of_known(values, 0.0, times)
        return measured


class InterestExamination:
    """See `Examination`."""

    name = "interest"
    units = "users"

    def __init__(self, data: EventData) -> None:
        self._examples: EventExamples = data.examples
        splits, users = self._examples.splits, self._examples.columns.objects("user_id")
        names, past = np.unique(users[splits.train].astype(str), return_counts=True)
        warm = set(names[past >= WARM].tolist())
        self._rows = splits.test[[user in warm for user in users[splits.test]]]
        if not len(self._rows):
            raise StateError(
                f"no user of the {len(splits.test)} test encounters has {WARM} that train: take another split, or "
                "ingest more events"
            )
        self._users = users[self._rows].astype(str)
        self._ids = self._examples.contents.objects("content_id")

    def objective(self, fitted: Fitted, /) -> float:
        """AUC of the validation encounters."""
        rows = self._examples.splits.valid
        return auc(self._examples.labels["engaged"][rows], self._scores(fitted.predictor, rows))

    def truth(self) -> pl.DataFrame:
        """`user_id,item_id,engaged` of each warm test encounter."""
        return self._events().with_columns(engaged=self._examples.labels["engaged"][self._rows].astype(np.int64))

    def predict(self, fitted: Fitted, predictor: Predictor, /) -> Predictions:
        """`user_id,item_id,p` of each warm test encounter; `user_id,item_id,rank` of each list's contents."""
        del fitted

        def rank(row: int, candidates: Rows) -> Floats:
            said = predictor.score(request(self._examples, row, candidates, vectors=True))
            return said.details.get("rank", said.score)

        events = self._events().with_columns(p=self._scores(predictor, self._rows))
        return {EVENTS: events, LISTS: self._lists(rank)}

    def naive(self) -> Mapping[str, Predictions]:
        """Encounters by a constant and by biases; lists by popularity, factorisation and likeness."""
        examples, items = self._examples, self._examples.items[self._rows]
        said: dict[str, Predictions] = {}
        for name, fit in NAIVE.items():
            said[name] = {EVENTS: self._events().with_columns(p=fit(examples).score(self._users, items))}
        for name, fit in ranking_baselines(examples).items():
            order = fit(examples).score
            users = examples.columns.objects("user_id")
            lists = self._lists(lambda row, some, of=order, who=users: of(np.full(len(some), who[row]), some))  # type: ignore[misc]
            said[name] = {LISTS: lists}
        return said

    def outcome(self, predictions: Predictions, /) -> InterestOutcome:
        """Predictions beside the truth."""
        events = self._judged_events(predictions[EVENTS]) if EVENTS in predictions else None
        lists = self._judged_lists(predictions[LISTS]) if LISTS in predictions else None
        return InterestOutcome(len(set(self._users)), events, lists)

    def _judged_events(self, table: pl.DataFrame) -> Outcome:
        if not table.drop("p").equals(self._events()):
            raise InputError(f"the predictions of {table.height} encounters are not of the {len(self._rows)} held out")
        return Outcome(self._examples.labels["engaged"][self._rows], table["p"].to_numpy(), self._users)

    def _judged_lists(self, table: pl.DataFrame) -> tuple[Floats, Floats]:
        ordered = table.sort("user_id", "rank")
        lists = {user: rows["item_id"].to_list() for (user,), rows in ordered.group_by("user_id", maintain_order=True)}
        measured = list_measures({str(user): items for user, items in lists.items()}, self._wanted)
        places = np.searchsorted(np.unique(self._users), list(self._wanted))
        spread = np.full((2, len(set(self._users))), np.nan)
        spread[:, places] = measured
        return spread[0], spread[1]

    @cached_property
    def _wanted(self) -> dict[str, set[str]]:
        """What each warm user engaged with among the test encounters, by user."""
        engaged = self.truth().filter(pl.col("engaged") == 1)
        wanted: dict[str, set[str]] = {user: set() for user in sorted(engaged["user_id"].unique())}
        for user, item in engaged.select("user_id", "item_id").iter_rows():
            wanted[user].add(item)
        return wanted

    def _events(self) -> pl.DataFrame:
        items = self._ids[self._examples.items[self._rows]]
        return pl.DataFrame({"user_id": self._users.tolist(), "item_id": items.tolist()})

    def _scores(self, predictor: Predictor, rows: Rows) -> Floats:
        return np.concatenate([predictor.score(batch).score for batch in self._examples.batches(rows)])

    def _lists(self, rank: Rank) -> pl.DataFrame:
        parts = []
        for user, row, candidates in self._requests():
            order = np.argsort(-rank(row, candidates), kind="stable")[:LENGTH]
            items = self._ids[candidates[order]].tolist()
            parts.append(pl.DataFrame({"user_id": user, "item_id": items, "rank": np.arange(1, len(items) + 1)}))
        schema = {"user_id": pl.String, "item_id": pl.String, "rank": pl.Int64}
        return pl.concat(parts) if parts else pl.DataFrame(schema=schema)

    def _requests(self) -> Iterator[tuple[str, int, Rows]]:
        """Each user who engaged with something, a test row of the user, and the contents to choose from: those not
        met before. Where all test contents are new, those alone that nobody met.
        """
        examples, splits = self._examples, self._examples.splits
        earlier = np.concatenate([splits.train, splits.valid])
        users = examples.columns.objects("user_id")[earlier]
        met = np.zeros(examples.contents.rows, np.bool_)
        met[examples.items[earlier]] = True
        new = not met[examples.items[splits.test]].any()
        first = {user: int(row) for user, row in zip(self._users[::-1], self._rows[::-1], strict=True)}
        for user in self._wanted:
            mine = np.zeros(len(met), np.bool_)
            mine[examples.items[earlier[users == user]]] = True
            yield user, first[user], np.flatnonzero(~(met if new else mine))
