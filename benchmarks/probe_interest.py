"""How well predictors of interest tell what users engage with, and list it, on the very rows of a split.

Each predictor is trained as `larder train` does it, on the training rows of the split alone; the test rows are scored
once at the end. With --out, two files a predictor and seed are written: `user_id,item_id,p` of every test encounter and
`user_id,item_id,rank` of each user's first hundred contents, among all that the user has not met before, or with
--unseen among those that the test rows name.

Usage: python -m benchmarks.probe_interest --home <workspace with events and vectors> --splits <folder with train.csv…>
       [--predictor interest_blend …] [--seeds 5] [--unseen] [--out <folder>]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from rich.console import Console
from rich.table import Table

from benchmarks.harness import RESULTS, machine
from feature_repo.catalog import Catalog
from feature_repo.files import write_json
from feature_repo.settings import load_settings
from feature_repo.store import Store
from predictors.evaluation.ranking import list_measures
from predictors.interest.baselines import NAIVE, ranking_baselines
from predictors.interest.data import EventData, read_interest
from predictors.interest.examples import EventExamples
from predictors.interest.labels import ExampleConfig
from predictors.interest.metrics import Outcome
from predictors.interest.rank import request
from predictors.recipes import recipe_of
from predictors.tracking import LocalRun

LISTED = 100
_LEAST_PAST = 5  # training encounters of a user who is measured

Items = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figure:
    """What one predictor measured on the test rows, means over seeds; `spread` is the deviation between them."""

    by: str
    measures: Mapping[str, float]
    spread: Mapping[str, float]
    seeds: int
    fit_seconds: float


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be answered: the test rows of users with a past, and of each such user who engaged with any, a test
    row, the contents to order, and those that were engaged with.
    """

    rows: npt.NDArray[np.intp]
    asked: Mapping[str, tuple[int, Items, set[int]]]

    @classmethod
    def of(cls, examples: EventExamples, unseen: bool) -> Task:
        """With `unseen` the contents of the test rows are to be ordered, else all that the user has not met."""
        users, items, splits = examples.columns.objects("user_id"), examples.items, examples.splits
        past = Counter(users[splits.train].tolist())
        warm = np.array([row for row in splits.test if past[users[row]] >= _LEAST_PAST], np.intp)
        met: dict[str, set[int]] = {}
        for row in np.concatenate([splits.train, splits.valid]):
            met.setdefault(users[row], set()).add(int(items[row]))
        pool = np.unique(items[splits.test]) if unseen else np.arange(examples.contents.rows)
        asked: dict[str, tuple[int, Items, set[int]]] = {}
        for row in warm[examples.labels["engaged"][warm] > 0]:
            user = users[row]
            if user not in asked:
                asked[user] = (int(row), np.setdiff1d(pool, list(met[user])), set())
            asked[user][2].add(int(items[row]))
        return cls(warm, asked)


def answers(examples: EventExamples, task: Task, predictor: Any) -> tuple[Floats, dict[str, Items]]:
    """P(engaged) of the task's rows, and each user's list."""
    p = np.concatenate([predictor.score(batch).score for batch in examples.batches(task.rows)])
    lists = {}
    for user, (row, items, _) in task.asked.items():
        rank = predictor.score(request(examples, row, items, vectors=True)).details["rank"]
        lists[user] = items[np.argsort(-rank, kind="stable")[:LISTED]]
    return p, lists


def measured(examples: EventExamples, task: Task, p: Floats | None, lists: Mapping[str, Items]) -> dict[str, float]:
    """Measures of events where there are probabilities, and of lists where there are any."""
    found: dict[str, float] = {}
    if p is not None:
        users = examples.columns.objects("user_id")[task.rows]
        found |= Outcome(examples.labels["engaged"][task.rows], p, users).measure()
    if lists:
        wanted = {user: {str(item) for item in items} for user, (_, _, items) in task.asked.items()}
        named = {user: [str(item) for item in items] for user, items in lists.items()}
        hits, gains = list_measures(named, wanted)
        found |= {"hr10": float(hits.mean()), "ndcg10": float(gains.mean())}
    return found


def naive(examples: EventExamples, task: Task) -> Iterator[Figure]:
    """The baselines: probabilities of some, lists of others."""
    users = examples.columns.objects("user_id")
    for name, fit in NAIVE.items():
        p = fit(examples).score(users[task.rows], examples.items[task.rows])
        yield Figure(name, measured(examples, task, p, {}), {}, 1, 0.0)
    for name, fit in ranking_baselines(examples).items():
        began = time.perf_counter()
        fitted = fit(examples)
        seconds = time.perf_counter() - began
        lists = {
            user: items[np.argsort(-fitted.score(np.full(len(items), user, object), items), kind="stable")[:LISTED]]
            for user, (_, items, _) in task.asked.items()
        }
        yield Figure(name, measured(examples, task, None, lists), {}, 1, seconds)


def trained(data: EventData, task: Task, name: str, split: str, seeds: int, out: Path | None) -> Iterator[Figure]:
    """The predictor, fitted once for each seed, and the members of a blend."""
    found: dict[str, list[dict[str, float]]] = {}
    seconds = 0.0
    for seed in range(seeds):
        recipe = recipe_of(name)
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            run = LocalRun(f"seed-{seed}", Path(folder))
            fitted = recipe.run(data.examples, recipe.configure({"split": split, "seed": seed}), run)
        seconds += time.perf_counter() - began
        for each, predictor in {name: fitted.predictor, **fitted.rivals}.items():
            p, lists = answers(data.examples, task, predictor)
            found.setdefault(each, []).append(measured(data.examples, task, p, lists))
            Console().print(seed, each, found[each][-1])
            if out is not None:
                write_answers(data.examples, task, p, lists, out, f"{each}-{seed}")
    for each, runs in found.items():
        means, spread = ({key: float(of([one[key] for one in runs])) for key in runs[0]} for of in (np.mean, np.std))
        yield Figure(each, means, spread, seeds, seconds / seeds if each == name else 0.0)


def write_answers(
    examples: EventExamples, task: Task, p: Floats, lists: Mapping[str, Items], out: Path, name: str
) -> None:
    """`<name>.p.csv` and `<name>.rank.csv`."""
    out.mkdir(parents=True, exist_ok=True)
    ids = examples.contents.objects("content_id")
    users = examples.columns.objects("user_id")[task.rows].tolist()
    events = pl.DataFrame({"user_id": users, "item_id": ids[examples.items[task.rows]].tolist(), "p": p})
    events.write_csv(out / f"{name}.p.csv")
    rows = [(user, ids[item], place) for user, items in lists.items() for place, item in enumerate(items, start=1)]
    pl.DataFrame(rows, ["user_id", "item_id", "rank"], orient="row").write_csv(out / f"{name}.rank.csv")


def main() -> None:
    """Measure, print the table and write `results/probe_interest_<split>.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="a workspace with contents, events and vectors")
    parser.add_argument("--splits", required=True, help="a folder with train.csv, valid.csv, test.csv, or a name")
    parser.add_argument("--predictor", nargs="*", default=["interest_blend"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--unseen", action="store_true", help="order the contents of the test rows alone")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    settings = load_settings(home=given.home)
    with Catalog(settings.catalog) as catalog:
        data = read_interest(settings, catalog, Store(settings), "interest", ExampleConfig(split=given.splits))
    task = Task.of(data.examples, given.unseen)
    figures = list(naive(data.examples, task))
    for name in given.predictor:
        figures += trained(data, task, name, given.splits, given.seeds, given.out)
    columns = ("auc", "gauc", "log_loss", "calibration_error", "hr10", "ndcg10")
    split = Path(given.splits).name
    table = Table("by", *columns, "seconds a fit", title=f"Interest, {split}: {len(task.rows)} test encounters")
    for one in figures:
        cells = (f"{one.measures[name]:.4f}" if name in one.measures else "" for name in columns)
        table.add_row(one.by, *cells, f"{one.fit_seconds:.0f}")
    Console(width=140).print(table)
    said = {"machine": machine(), "rows": data.facts, "figures": [asdict(one) for one in figures]}
    write_json(RESULTS / f"probe_interest_{split}.json", said)


if __name__ == "__main__":
    main()
