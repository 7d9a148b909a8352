"""`engagement_end_to_end` on real films: posters and texts, fine-tuned, beside simpler readings of the same nets.

Reads splits from folders with `train.csv`, `valid.csv` and `test.csv`, column `id`; the product's own fit trains on the
first, chooses on the second and says of the third (of the second with `--part valid`) what it foretells. Beside it, on
the same rows, the rivals that every training of it measures: a ridge regression over the nets' vectors as published,
and a plain concatenation of them. All go to `<out>/<split>/<seed>/<model>.csv` (`id,pred,cls`); what lies there already
is not fitted again.

Usage: LARDER_REAL_DATA=<folder with movielens100k> python -m benchmarks.probe_end_to_end --home HOME --out OUT SPLIT…
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks.harness import RESULTS, machine
from benchmarks.held_films import Trial, compare, held_out
from feature_repo.catalog import Catalog
from feature_repo.datasets.movielens import MovieLens
from feature_repo.files import write_json
from feature_repo.settings import Settings
from feature_repo.store import Store
from predictors.base import Scores
from predictors.end_to_end.config import EndToEndConfig
from predictors.end_to_end.data import MediaExamples, read_media
from predictors.end_to_end.train import fit_end_to_end
from predictors.tracking import LocalRun

REAL = Path(os.environ.get("LARDER_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
OURS = "end_to_end"


def read_films(settings: Settings, config: EndToEndConfig) -> MediaExamples:
    """Every film with its poster and its text."""
    with Catalog(settings.catalog) as catalog:
        catalog.upsert_contents(list(MovieLens(REAL / "movielens100k").contents()), "movielens")
        return read_media(settings, catalog, Store(settings), "end_to_end", config).examples


def say(examples: MediaExamples, config: EndToEndConfig, part: str) -> dict[str, Scores]:
    """What every model, fitted once, says of the rows of that part."""
    folder = examples.settings.home / "probe"
    for left in folder.glob("*.safetensors"):  # of another fit; what the nets read is kept
        left.unlink()
    fitted = fit_end_to_end(examples, config, LocalRun("probe", folder))
    Console().print(dict(fitted.facts))
    columns = fitted.beside(examples.columns).take(getattr(examples.splits, part))
    return {name: model.score(columns) for name, model in {OURS: fitted.predictor, **fitted.rivals}.items()}


def main() -> None:
    """Fit on every split, print the table and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("splits", nargs="+", type=Path, help="folders with train.csv, valid.csv and test.csv")
    parser.add_argument("--home", type=Path, required=True, help="a workspace, reused")
    parser.add_argument("--out", type=Path, required=True, help="where id,pred,cls files go")
    parser.add_argument("--part", choices=("valid", "test"), default="test")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=JSON", help="fields of the configuration")
    parser.add_argument("--json", type=Path, default=RESULTS / "probe_end_to_end.json")
    asked = parser.parse_args()
    given = {name: json.loads(value) for name, _, value in (pair.partition("=") for pair in asked.set)}
    settings = Settings(home=asked.home)
    trials: list[Trial] = []
    for split in asked.splits:
        config = EndToEndConfig(**{**given, "split": str(split)})
        examples = read_films(settings, config)
        for seed in range(asked.seeds):
            fit = partial(say, examples, replace(config, seed=seed), asked.part)
            trials += held_out(asked.out / split.name, seed, examples, getattr(examples.splits, asked.part), fit)
    result = {
        "machine": machine(),
        "part": asked.part,
        **compare(trials, OURS, len(examples.contents)),
        "config": {name: value for name, value in config.to_json().items() if name not in ("split", "seed")},
    }
    write_json(asked.json, result)


if __name__ == "__main__":
    main()
