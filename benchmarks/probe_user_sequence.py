"""How well a user's state foretells the item that they meet next, on MovieLens 100K.

The log is cut in time for all users at once. The model is fitted on what lies before the cut (and stops early on the
last tenth of that); every later event of a user who has a past is to be foretold from what that user did before it,
among all films that they have not rated yet. The films' vectors are frozen; the model has seen nothing of the
time after the cut, the states have seen each user's events up to the one to foretell, and no more.

Usage: LARDER_REAL_DATA=<folder with movielens100k> python -m benchmarks.probe_user_sequence [--seeds 1]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.harness import RESULTS, machine
from embedders.next_item import NextItem, measure, nearest_content, popularity, to_foretell
from embedders.runner import run
from embedders.train_user_sequence import ENCODER, USUAL, FitConfig, Log, fit_user_sequence, read_log
from embedders.user_histories import Rows
from embedders.user_items import ItemInputs, read_sources
from embedders.user_runner import load_user_model, run_users
from embedders.user_sequence import net_scores
from embedders.user_specs import resolve_user_spec
from feature_repo.catalog import Catalog
from feature_repo.datasets.movielens import MovieLens
from feature_repo.events import EventLog
from feature_repo.files import write_json
from feature_repo.settings import Settings, load_settings
from feature_repo.vectors import read_vectors, vectors_dir

REAL = Path(os.environ.get("LARDER_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
HELD_OUT = 0.1  # of the events, the latest


@dataclass(frozen=True, slots=True)
class Figure:
    """HR@10 and NDCG@10 over the held-out events, means over seeds; `spread` is the deviation of NDCG between them."""

    by: str
    hit_rate: float
    ndcg: float
    events: int
    spread: float = 0.0
    seeds: int = 1
    fit_seconds: float = 0.0


def prepare(settings: Settings, catalog: Catalog) -> None:
    """Ingest and embed what is not there yet."""
    films = MovieLens(REAL / "movielens100k")
    catalog.upsert_contents(list(films.contents()), "movielens")
    list(EventLog(settings.interactions_dir).append(films.interactions()))
    for name in USUAL:
        run(name, settings, catalog)


def foretell(settings: Settings, catalog: Catalog, seeds: int) -> list[Figure]:
    """Every way to foretell the held-out events."""
    sources = read_sources(settings, catalog, dict.fromkeys(USUAL))
    log = read_log(settings, sources, FitConfig())
    times = np.sort(log.histories.times)
    cut = int(times[int(len(times) * (1 - HELD_OUT))])
    events = to_foretell(log.histories, cut, len(times))
    met = [log.content_ids[n] for n in np.unique(log.histories.items[log.histories.times < cut])]
    ways = {"popularity": popularity(log.histories, cut, len(log.content_ids))}
    for some in ([source] for source in sources):
        vectors = ItemInputs.fit(some, met, 1).features(log.content_ids)
        ways[f"last film's nearest by {some[0].embedding}"] = nearest_content(log.histories, vectors)
    figures = [Figure(by, *astuple(measure(log.histories, events, scores))) for by, scores in ways.items()]
    until = datetime.fromtimestamp(cut / 1e6, UTC)
    chosen = (USUAL[:1], USUAL)
    return figures + [fitted(settings, catalog, names, seeds, until, log, events) for names in chosen]


def fitted(
    settings: Settings,
    catalog: Catalog,
    embeddings: Sequence[str],
    seeds: int,
    until: datetime,
    log: Log,
    events: Rows,
) -> Figure:
    """The model with these item vectors, fitted on what lies before `until`, once for each seed."""
    found: list[NextItem] = []
    began = time.perf_counter()
    for seed in range(seeds):
        fit_user_sequence(settings, catalog, FitConfig(seed=seed), embeddings, until)
        model = load_user_model(resolve_user_spec(ENCODER, settings), settings, catalog)
        scores = net_scores(model.net, model.items(log.content_ids), log.histories, events)
        found.append(measure(log.histories, events, scores))
    ndcg = [one.ndcg for one in found]
    return Figure(
        f"user_sequence on {' and '.join(embeddings)}",
        float(np.mean([one.hit_rate for one in found])),
        float(np.mean(ndcg)),
        len(events),
        float(np.std(ndcg)),
        seeds,
        (time.perf_counter() - began) / seeds,
    )


def probe_sex(settings: Settings, catalog: Catalog) -> dict[str, float]:
    """Area under the ROC curve of a logistic probe for a rater's sex, five folds: from the last state in the store,
    and from the mean of the text vectors of all films that they rated.
    """
    run_users(ENCODER, settings, catalog)
    sexes = {user.user_id: user.attributes["sex"] for user in MovieLens(REAL / "movielens100k").users()}
    files = vectors_dir(settings, ENCODER, resolve_user_spec(ENCODER, settings).digest) / "*.parquet"
    last = pl.read_parquet(files).sort("user_id", "event_timestamp").group_by("user_id", maintain_order=True).last()
    texts = read_vectors(settings, catalog, USUAL[0])
    rated = EventLog(settings.interactions_dir).scan().collect().group_by("user_id").agg("content_id").sort("user_id")
    place = {content_id: row for row, content_id in enumerate(texts.content_ids)}
    means = np.stack([texts.matrix[[place[film] for film in films]].mean(0) for films in rated["content_id"]])
    assert last["user_id"].to_list() == rated["user_id"].to_list()
    female = np.array([sexes[user] == "F" for user in rated["user_id"]])
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    vectors = {"user_sequence": last[ENCODER].to_numpy(), f"mean {USUAL[0]} of the films rated": means}
    return {
        name: float(
            roc_auc_score(female, cross_val_predict(probe, rows, female, cv=folds, method="predict_proba")[:, 1])
        )
        for name, rows in vectors.items()
    }


def main() -> None:
    """Measure, print the tables and write `results/probe_user_sequence.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--home", type=Path, help="a workspace to keep; default: one that is thrown away")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(home=given.home or Path(folder))
        with Catalog(settings.catalog) as catalog:
            prepare(settings, catalog)
            figures = foretell(settings, catalog, given.seeds)
            sexes = probe_sex(settings, catalog)
    table = Table("by", "HR@10", "NDCG@10", "+-", "seconds a fit", title=f"Next film, {figures[0].events} events")
    for one in figures:
        row = (f"{one.hit_rate:.3f}", f"{one.ndcg:.3f}", f"{one.spread:.3f}", f"{one.fit_seconds:.0f}")
        table.add_row(one.by, *row)
    Console().print(table)
    for name, area in sexes.items():
        Console().print(f"a rater's sex from {name}: area under the curve {area:.3f}")
    said = {"machine": machine(), "figures": [asdict(one) for one in figures], "sex_auc": sexes}
    write_json(RESULTS / "probe_user_sequence.json", said)


if __name__ == "__main__":
    main()
