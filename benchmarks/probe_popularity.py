"""How well `popularity` foretells the votes of films, on splits that are given, beside plainer recipes.

Each folder in SPLITS holds `train.csv`, `valid.csv` and `test.csv`, whose column `id` names films of MovieLens 100K.
The product's own fit runs on each, on what the store serves; the test rows are scored once. Beside it, trees with
early stopping on facts alone, with 64 principal components of each embedding, and with its ridge score; none of them
looks creators' earlier films up.

Usage: LARDER_REAL_DATA=<folder with movielens100k> python -m benchmarks.probe_popularity SPLITS --home DIR --out DIR
DIR/<split>/<recipe>.csv gets the test predictions, as `id,pred,cls`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table
from scipy.stats import ttest_1samp

from benchmarks.harness import RESULTS, machine
from embedders.runner import run
from feature_repo.catalog import Catalog
from feature_repo.contracts import ENGAGEMENT_WEIGHTS
from feature_repo.datasets.movielens import MovieLens
from feature_repo.files import write_json
from feature_repo.ingest import ingest
from feature_repo.settings import Settings
from feature_repo.store import Store
from predictors.calibration import calibration_error, log_loss
from predictors.config import TrainConfig
from predictors.engagement import Examples, read_engagement
from predictors.evaluation.engagement_metrics import evaluate
from predictors.labels import Quintiles
from predictors.popularity.features import FeatureSet, popularity_features
from predictors.popularity.predictor import Popularity
from predictors.splits import Splits
from predictors.tracking import LocalRun

REAL = Path(os.environ.get("LARDER_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
EMBEDDINGS = ("efficientnet_lite0", "minilm")
OURS = "popularity"
PLAIN = {"bags": 1, "refit": False, "kernel_centres": 0, "learning_rate": 0.03, "iterations": 1000, "depth": 6}
RECIPES: Mapping[str, Mapping[str, object]] = {
    OURS: {},
    "facts": PLAIN,
    "facts + PCA-64": PLAIN | {"pca_components": 64},
    "facts + ridge scores": PLAIN,
}
REPEATS = 200  # timed calls

Figures = dict[str, list[float]]


def prepare(home: Path) -> Examples:
    """Every labelled film with the service's features, ingested and embedded into `home` where it is not yet."""
    settings = Settings(home=home)
    with Catalog(settings.catalog) as catalog:
        ingest(settings, catalog, MovieLens(REAL / "movielens100k"))
        for name in EMBEDDINGS:
            run(name, settings, catalog)
        store = Store(settings)
        store.apply()
        return read_engagement(settings, catalog, store, OURS, TrainConfig(weights=ENGAGEMENT_WEIGHTS)).examples


def splits_of(folder: Path, content_ids: list[str]) -> Splits:
    """Row numbers of the films that the three files name."""
    place = {content_id: row for row, content_id in enumerate(content_ids)}
    parts = [pl.read_csv(folder / f"{part}.csv", schema_overrides={"id": pl.String}) for part in ("train", "valid")]
    parts.append(pl.read_csv(folder / "test.csv", schema_overrides={"id": pl.String}))
    return Splits(*(np.array([place[i] for i in part["id"]], np.intp) for part in parts))


def fit(recipe: str, examples: Examples, threads: int) -> Popularity:
    """The predictor of that recipe."""
    features = popularity_features(examples.digests)
    if recipe != OURS:
        embeddings = () if recipe == "facts" else features.embeddings
        features = FeatureSet(features.numbers, features.words, embeddings)
    config = TrainConfig(**{**RECIPES[recipe], "threads": threads})  # type: ignore[arg-type]
    return Popularity.fit(examples, features, config, LocalRun(recipe, Path()))[0]


def measure(predictor: Popularity, examples: Examples, out: Path) -> dict[str, float]:
    """Its measures on the test rows, whose predictions go to `out`."""
    splits = examples.splits
    quintiles = Quintiles.fit(examples.scores[splits.train])
    truth = examples.scores[splits.test]
    classes = quintiles.classes(truth)
    said = predictor.score(examples.columns.take(splits.test))
    out.parent.mkdir(parents=True, exist_ok=True)
    ids = [examples.content_ids[row] for row in splits.test]
    pl.DataFrame({"id": ids, "pred": said.score, "cls": said.classes}).write_csv(out)
    sureness = {
        "calibration_error": calibration_error(classes, said.probabilities),
        "log_loss": log_loss(classes, said.probabilities),
    }
    return evaluate(truth, said.score, classes, said.classes) | sureness


def cost(predictor: Popularity, examples: Examples) -> dict[str, float]:
    """Median ms for 500 candidates: of both models on a matrix, one thread, and of the whole call."""
    columns = examples.columns.take(np.arange(500) % examples.columns.rows)
    matrix = predictor.assembler(columns)

    def trees() -> None:
        for model in predictor.models.values():
            model.predict(matrix, thread_count=1)

    calls: dict[str, Callable[[], object]] = {"trees_ms": trees, "score_ms": partial(predictor.score, columns)}
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(REPEATS):
        for name, call in calls.items():
            start = perf_counter()
            call()
            spent[name].append(1e3 * (perf_counter() - start))
    return {name: float(np.median(times)) for name, times in spent.items()}


def show(figures: Mapping[str, Figures]) -> list[dict[str, object]]:
    """Print mean and deviation over the splits, and our gain over each rival with its paired t-test."""
    names = list(figures[OURS])
    table, gains = (Table("recipe", *names, title=title) for title in ("test rows, mean ± sd", "gain (p)"))
    rows: list[dict[str, object]] = []
    for recipe, found in figures.items():
        table.add_row(recipe, *(f"{np.mean(found[n]):.3f} ± {np.std(found[n]):.3f}" for n in names))
        rows.append({"recipe": recipe, "splits": found, "mean": {n: float(np.mean(found[n])) for n in names}})
        if recipe != OURS:
            gaps = [np.array(figures[OURS][n]) - found[n] for n in names]
            gains.add_row(recipe, *(f"{g.mean():+.3f} ({ttest_1samp(g, 0).pvalue:.3f})" for g in gaps))
    console = Console(width=180)
    console.print(table)
    console.print(gains)
    return rows


def main() -> None:
    """Fit and measure every recipe on every split."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("splits", type=Path, help="a folder with a folder of three files for each split")
    parser.add_argument("--home", type=Path, required=True, help="the workspace")
    parser.add_argument("--out", type=Path, required=True, help="for the predictions")
    parser.add_argument("--threads", type=int, default=-1)
    asked = parser.parse_args()
    examples = prepare(asked.home)
    figures: dict[str, Figures] = {recipe: {} for recipe in RECIPES}
    for folder in sorted(asked.splits.iterdir()):
        given = replace(examples, splits=splits_of(folder, examples.content_ids))
        for recipe, kept in figures.items():
            predictor = fit(recipe, given, asked.threads)
            found = measure(predictor, given, asked.out / folder.name / f"{recipe}.csv")
            for name, value in found.items():
                kept.setdefault(name, []).append(value)
            Console().print(folder.name, recipe, {name: round(value, 3) for name, value in found.items()})
            if recipe == OURS:
                ours = predictor
    result = {"machine": machine(), "recipes": show(figures), "cost_of_500": cost(ours, examples)}
    Console().print(result["cost_of_500"])
    write_json(RESULTS / "probe_popularity.json", result)


if __name__ == "__main__":
    main()
