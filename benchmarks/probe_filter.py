"""What each thing that the filter of the made world knows is worth, so that what predictors miss can be told apart.

The filter (`feature_repo.datasets.synthetic.oracle.taught`) is given everything but the users' tastes. Here it is given
less, one thing at a time: what a predictor has to find out for itself. Contents' topics and appeal are read from the
bundled embedders' vectors, and who made them, by ridges that are told the truth of other contents (ten folds).

Usage: python -m benchmarks.probe_filter --home DIR [--contents 300] [--users 200] [--days 60] [--events 500]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict

from benchmarks.harness import RESULTS, machine
from benchmarks.probe_world import EMBEDDINGS, EVENTS, Feed
from feature_repo.catalog import Catalog
from feature_repo.datasets.synthetic import Coefficients
from feature_repo.datasets.synthetic.oracle import Impressions, known, taught
from feature_repo.datasets.synthetic.world import World
from feature_repo.files import write_json
from feature_repo.settings import Settings
from feature_repo.vectors import read_vectors
from predictors.evaluation.ranking import auc
from predictors.splits import Splits, cut

COMPONENTS = 32  # of each embedding, as `interest_factors` reads them
PENALTIES = np.logspace(-2, 4, 13)
HALF_LIFE = Coefficients().taste_half_life_days
PULL = 20.0  # encounters after which a content is known as much by reactions as by what is read of it

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figure:
    """How far the filter's AUC is short of the oracle's, once it is given less."""

    given: str
    auc: float
    short: float


def split(shown: Impressions) -> Splits:
    """As predictors are split: each user's first 80 % train, the next 10 % validate."""
    order = np.lexsort((shown.time, shown.user))
    counts = np.bincount(shown.user)
    nth = np.empty(len(order), np.int64)
    nth[order] = np.arange(len(order)) - (np.cumsum(counts) - counts)[shown.user[order]]
    return cut(nth / counts[shown.user])


def told(feed: Feed, world: World) -> Floats:
    """What is known of contents, (n, k): principal components of their vectors, and who made them."""
    settings = Settings(home=feed.base)
    with Catalog(settings.catalog) as catalog:
        matrices = [read_vectors(settings, catalog, name).matrix.astype(np.float64) for name in EMBEDDINGS]
    blocks = [np.eye(world.creators)[world.creator]]
    for centred in (matrix - matrix.mean(axis=0) for matrix in matrices):
        left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
        blocks.append(left[:, :COMPONENTS] * sizes[:COMPONENTS] / sizes[0] * np.sqrt(len(centred)))
    return np.hstack(blocks)


def read(features: Floats, cause: Floats) -> Floats:
    """The cause of each content as a ridge reads it that was told those of other contents."""
    folds = KFold(10, shuffle=True, random_state=0)
    return np.asarray(cross_val_predict(RidgeCV(PENALTIES), features, cause, cv=folds), np.float64)


def figures(feed: Feed, per_user: float) -> Iterator[Figure]:
    """The filter with everything, and without one thing after the other."""
    world = World(feed.contents, feed.users, feed.seed, feed.days, Coefficients(impressions_per_user=per_user))
    shown = Impressions.of(world)
    engaged = ((shown.watched >= 0.5) | shown.acts[1:].any(axis=0)).astype(np.float64)
    splits = split(shown)
    best = auc(engaged[splits.test], known(world, shown)[splits.test])
    both = np.concatenate([splits.train, splits.valid])

    def figure(given: str, rows: npt.NDArray[np.intp] = both, half_life: float = HALF_LIFE, **causes: Floats) -> Figure:
        changed = replace(world, coefficients=replace(world.coefficients, taste_half_life_days=half_life))
        changed.__dict__["truth"] = replace(world.truth, **causes)  # in the place of the property's own
        learnt = np.zeros(len(engaged), np.bool_)
        learnt[rows] = True
        found = auc(engaged[splits.test], taught(changed, shown, learnt)[splits.test])
        return Figure(given, found, best - found)

    yield figure("everything but tastes")
    yield figure("without validation rows", splits.train)
    yield figure("as if tastes stayed", half_life=1e6)
    features, truth = told(feed, world), world.truth
    topics, appeal = read(features, truth.topic_mixture), read(features, truth.appeal)
    yield figure("topics as read", topic_mixture=topics)
    yield figure("appeal as read", appeal=appeal)
    appeal = read(beside(appeal, shown, engaged, both), truth.appeal)
    yield figure("appeal as read and as others reacted", appeal=appeal)
    yield figure("topics and appeal so", topic_mixture=topics, appeal=appeal)


def beside(appeal: Floats, shown: Impressions, engaged: Floats, rows: npt.NDArray[np.intp]) -> Floats:
    """(n, 3): what is read of contents' appeal, how those who met them engaged, and the former where few did."""
    met = np.bincount(shown.content[rows], minlength=len(appeal))
    sure = met / (met + PULL)
    more = np.bincount(shown.content[rows], engaged[rows] - engaged[rows].mean(), len(appeal)) / np.maximum(met, 1)
    return np.column_stack([appeal, sure * more, (1 - sure) * appeal])


def main() -> None:
    """Measure, print the table and write `results/probe_filter-<events>.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="for the world; contents and vectors are kept")
    parser.add_argument("--contents", type=int, default=300)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--events", type=float, nargs="*", default=EVENTS, help="impressions a user")
    given = parser.parse_args()
    feed = Feed(given.home / "base", given.contents, given.users, given.days)
    feed.embed()
    for events in given.events:
        table = Table("the filter is given", "AUC", "short of the oracle", title=f"{events:g} impressions a user")
        found = list(figures(feed, events))
        for one in found:
            table.add_row(one.given, f"{one.auc:.4f}", f"{one.short:.4f}")
        Console().print(table)
        said = {"machine": machine(), "contents": given.contents, "users": given.users, "days": given.days}
        write_json(RESULTS / f"probe_filter-{events:g}.json", {**said, "figures": [asdict(one) for one in found]})


if __name__ == "__main__":
    main()
