"""How well fusion foretells the popularity of films, beside a ridge and a plain concatenation of the same inputs.

Films of MovieLens 100K, their posters and texts through the bundled embedders with 16 tokens each, one fit for each
split. A split is a folder with `train.csv`, `valid.csv` and `test.csv` (column `id`); `--splits` holds one or more of
them. What each model says of the test rows is written to `<out>/<split>/<model>.csv` (`id,pred,cls`). The table, of the
validation rows or with `--part test` of the test rows, has the mean over splits and, paired by split, how far fusion is
ahead, with the standard error of that.

Usage: LARDER_REAL_DATA=<folder with movielens100k> python -m benchmarks.probe_fusion --splits DIR --out DIR --home DIR
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from benchmarks.harness import RESULTS, machine
from embedders.runner import run
from feature_repo.catalog import Catalog
from feature_repo.datasets.movielens import MovieLens
from feature_repo.files import write_json
from feature_repo.ingest import ingest
from feature_repo.settings import Settings
from feature_repo.store import Store
from predictors.base import Predictor
from predictors.engagement import Examples, read_engagement
from predictors.evaluation.engagement_metrics import evaluate
from predictors.fusion.config import FusionConfig
from predictors.fusion.fit import fit_fusion
from predictors.fusion.predictor import Fusion
from predictors.labels import Quintiles
from predictors.splits import Rows, folder_split
from predictors.tracking import LocalRun

REAL = Path(os.environ.get("LARDER_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
TOKENS = {"efficientnet_lite0": 16, "minilm": 16}
MEASURES = ("r2", "spearman", "accuracy", "macro_f1", "weighted_kappa")

Figures = dict[str, dict[str, list[float]]]  # model -> measure -> a value a split


def read_films(settings: Settings) -> Examples:
    """Every film as the store serves it to fusion; ingested and embedded where that was not done yet."""
    with Catalog(settings.catalog) as catalog:
        ingest(settings, catalog, MovieLens(REAL / "movielens100k"))
        for name in TOKENS:
            run(name, settings, catalog)
        store = Store(settings)
        store.apply()
        return read_engagement(settings, catalog, store, Fusion.service, FusionConfig()).examples


def foretell(examples: Examples, predictors: Mapping[str, Predictor], out: Path) -> None:
    """Write what each says of the test rows."""
    test = examples.splits.test
    ids = [examples.content_ids[row] for row in test]
    out.mkdir(parents=True, exist_ok=True)
    for name, predictor in predictors.items():
        said = predictor.score(examples.columns.take(test))
        pl.DataFrame({"id": ids, "pred": said.score, "cls": said.classes}).write_csv(out / f"{name}.csv")


def judge(examples: Examples, predictors: Mapping[str, Predictor], rows: Rows, figures: Figures) -> None:
    """Add how good each is on these rows."""
    quintiles = Quintiles.fit(examples.scores[examples.splits.train])
    truth, columns = examples.scores[rows], examples.columns.take(rows)
    for name, predictor in predictors.items():
        said = predictor.score(columns)
        found = evaluate(truth, said.score, quintiles.classes(truth), said.classes)
        for measure in MEASURES:
            figures.setdefault(name, {}).setdefault(measure, []).append(found[measure])


def lead(figures: Figures, rival: str, measure: str) -> tuple[float, float]:
    """How far fusion is ahead on the mean split, and the standard error of that."""
    ahead = np.subtract(figures["fusion"][measure], figures[rival][measure])
    return float(ahead.mean()), float(ahead.std(ddof=1) / np.sqrt(len(ahead))) if len(ahead) > 1 else float("nan")


def show(figures: Figures, title: str) -> None:
    """The table."""
    table = Table("model", *MEASURES, title=title)
    for name, measured in figures.items():
        table.add_row(name, *(f"{np.mean(values):.3f} ± {np.std(values):.3f}" for values in measured.values()))
    for rival in [name for name in figures if name != "fusion"]:
        table.add_row(
            f"fusion - {rival}", *("{:+.3f} ± {:.3f}".format(*lead(figures, rival, name)) for name in MEASURES)
        )
    Console(width=120).print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit on every split, print the table and write `results/probe_fusion.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--part", choices=("valid", "test"), default="valid")
    parser.add_argument("--only", nargs="*", default=[], help="names of splits; all by default")
    options = parser.parse_args(arguments)
    folders = sorted(path for path in options.splits.iterdir() if not options.only or path.name in options.only)
    films = read_films(Settings(home=options.home, tokens=TOKENS))
    figures: Figures = {}
    seconds, gates = [], []
    for folder in folders:
        splits = folder_split(folder, films.content_ids)
        examples = Examples(films.columns, films.contents, films.scores, splits, films.digests, films.tokens)
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as scratch:
            fitted = fit_fusion(examples, FusionConfig(), LocalRun("probe", Path(scratch)))
        seconds.append(time.perf_counter() - start)
        gates.append(fitted.facts["gates"])
        predictors = {"fusion": fitted.predictor, **fitted.rivals}
        foretell(examples, predictors, options.out / folder.name)
        judge(examples, predictors, getattr(splits, options.part), figures)
        show(figures, f"{len(seconds)} splits, {options.part}, {seconds[-1]:.0f} s for the last")
    result = {
        "machine": machine(),
        "part": options.part,
        "splits": [folder.name for folder in folders],
        "figures": figures,
        "lead": {
            rival: {name: lead(figures, rival, name) for name in MEASURES} for rival in figures if rival != "fusion"
        },
        "gates": gates,
        "seconds_per_split": seconds,
        "config": {name: value for name, value in FusionConfig().to_json().items() if name != "split"},
    }
    write_json(RESULTS / "probe_fusion.json", result)


if __name__ == "__main__":
    main()
