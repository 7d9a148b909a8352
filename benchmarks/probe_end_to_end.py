"""`engagement_end_to_end` on real films: posters and texts, fine-tuned, beside simpler readings of the same nets.

Reads splits from folders with `train.csv`, `valid.csv` and `test.csv`, column `id`; the product's own fit trains on the
first, chooses on the second and scores the third. Beside it, on the same rows, the rivals that every training of it
measures: a ridge regression over the nets' vectors as published, and a plain concatenation of them.

Usage: LARDER_REAL_DATA=<folder with movielens100k> python -m benchmarks.probe_end_to_end --home HOME --out OUT SPLIT…
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from benchmarks.harness import RESULTS, machine
from feature_repo.catalog import Catalog
from feature_repo.datasets.movielens import MovieLens
from feature_repo.files import write_json
from feature_repo.settings import Settings
from feature_repo.store import Store
from predictors.base import Scores
from predictors.end_to_end.config import EndToEndConfig
from predictors.end_to_end.data import MediaExamples, read_media
from predictors.end_to_end.train import fit_end_to_end
from predictors.evaluation.engagement_metrics import evaluate
from predictors.labels import Quintiles
from predictors.tracking import LocalRun

REAL = Path(os.environ.get("LARDER_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
SHOWN = ("r2", "spearman", "accuracy", "macro_f1", "weighted_kappa")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One model on one split: its measures on the test rows, how many classes it predicts, and the fit's seconds."""

    split: str
    model: str
    measures: dict[str, float]
    classes: int
    seconds: float


def outcomes(settings: Settings, config: EndToEndConfig, split: Path, out: Path) -> Iterator[Outcome]:
    """Fit on one split, write each model's predictions to `out`, yield what they are worth."""
    config = EndToEndConfig(**{**config.to_json(), "split": str(split)})
    with Catalog(settings.catalog) as catalog:
        examples = read_media(settings, catalog, Store(settings), "end_to_end", config).examples
    folder = settings.home / "probe"
    for left in folder.glob("*.safetensors"):  # of another split; what the nets read is kept
        left.unlink()
    start = time.perf_counter()
    fitted = fit_end_to_end(examples, config, LocalRun(split.name, folder))
    seconds = time.perf_counter() - start
    test = examples.splits.test
    columns = fitted.beside(examples.columns).take(test)
    for name, model in {"engagement_end_to_end": fitted.predictor, **fitted.rivals}.items():
        said = model.score(columns)
        write_predictions(out / f"{name}-{split.name}.csv", examples, said)
        quintiles = Quintiles.fit(examples.scores[examples.splits.train])
        truth = examples.scores[test]
        measures = evaluate(truth, said.score, quintiles.classes(truth), said.classes)
        yield Outcome(split.name, name, measures, len(np.unique(said.classes)), seconds)


def write_predictions(path: Path, examples: MediaExamples, said: Scores) -> None:
    """Predicted score and class of the test rows, as `id,pred,cls`."""
    ids = [examples.content_ids[row] for row in examples.splits.test]
    pl.DataFrame({"id": ids, "pred": said.score, "cls": said.classes}).write_csv(path)


def show(found: list[Outcome]) -> None:
    """Means over the splits, and how often the fine-tuned model is ahead."""
    splits = sorted({outcome.split for outcome in found})
    table = Table("model", *SHOWN, title=f"Films, posters and texts alone, {len(splits)} splits: mean (sd)")
    for model in dict.fromkeys(outcome.model for outcome in found):
        rows = [[outcome.measures[name] for name in SHOWN] for outcome in found if outcome.model == model]
        means, spreads = np.mean(rows, 0), np.std(rows, 0)
        table.add_row(model, *(f"{mean:.3f} ({spread:.3f})" for mean, spread in zip(means, spreads, strict=True)))
    Console(width=120).print(table)


def main() -> None:
    """Ingest once, fit on every split, print the table and write `results/probe_end_to_end.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("splits", nargs="+", type=Path, help="folders with train.csv, valid.csv and test.csv")
    parser.add_argument("--home", type=Path, required=True, help="a workspace, reused")
    parser.add_argument("--out", type=Path, required=True, help="where id,pred,cls files go")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=JSON", help="fields of the configuration")
    parser.add_argument("--json", type=Path, default=RESULTS / "probe_end_to_end.json")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    given = {name: json.loads(value) for name, _, value in (pair.partition("=") for pair in asked.set)}
    config = EndToEndConfig(**given)
    settings = Settings(home=asked.home)
    with Catalog(settings.catalog) as catalog:
        catalog.upsert_contents(list(MovieLens(REAL / "movielens100k").contents()), "movielens")
    found = [one for split in asked.splits for one in outcomes(settings, config, split, asked.out)]
    show(found)
    write_json(
        asked.json, {"machine": machine(), "config": config.to_json(), "outcomes": [asdict(one) for one in found]}
    )


if __name__ == "__main__":
    main()
