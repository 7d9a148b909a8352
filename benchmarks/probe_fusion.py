"""How well `engagement_fusion` foretells the popularity of films, beside plainer readings of the same inputs.

Films of MovieLens 100K, their posters and texts through the bundled embedders with 16 tokens each. A split is a folder
with `train.csv`, `valid.csv` and `test.csv` (column `id`); `--splits` holds one or more of them. Every model is fitted
once a split and seed, chosen on the validation rows, and says of the test rows what it foretells:
`<out>/<split>/<seed>/<model>.csv` (`id,pred,cls`). What lies there already is not fitted again.

Beside fusion stand a ridge and a net of one hidden layer, trained as fusion is, each twice: over fusion's own encoded
inputs side by side (`ridge`, `concatenation`), and over what the store serves, numbers, words and vectors, standardised
and side by side (`raw ridge`, `raw concatenation`). With `--inner` an eighth of the training rows stands in for the
validation rows and these for the test rows: what designs are chosen by.

Usage: LARDER_REAL_DATA=<folder with movielens100k> python -m benchmarks.probe_fusion --splits DIR --out DIR --home DIR
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness import RESULTS, machine
from benchmarks.held_films import Trial, compare, held_out
from embedders.runner import run
from embedders.stock import switch
from feature_repo.catalog import Catalog
from feature_repo.datasets.movielens import MovieLens
from feature_repo.files import write_json
from feature_repo.ingest import ingest
from feature_repo.settings import Settings
from feature_repo.store import Store
from predictors.base import Scores
from predictors.engagement import Examples, read_engagement
from predictors.fusion.config import FusionConfig
from predictors.fusion.encodings import Matrix, Scale
from predictors.fusion.fit import Training, fit_fusion
from predictors.fusion.inputs import Inputs
from predictors.fusion.predictor import Fusion, scores_of
from predictors.popularity.features import frequent_words, one_hot, popularity_features
from predictors.splits import Splits, folder_split
from predictors.tracking import LocalRun

REAL = Path(os.environ.get("LARDER_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
TOKENS = {"efficientnet_lite0": 16, "minilm": 16}
OURS = "fusion"


def read_films(settings: Settings) -> Examples:
    """Every film as the store serves it to fusion; ingested and embedded where that was not done yet."""
    with Catalog(settings.catalog) as catalog:
        ingest(settings, catalog, MovieLens(REAL / "movielens100k"))
        for name in TOKENS:
            run(name, settings, catalog)
        switch(settings, catalog)
        store = Store(settings)
        store.apply()
        return read_engagement(settings, catalog, store, Fusion.service, FusionConfig()).examples


def without_test(splits: Splits) -> Splits:
    """The validation rows held out, and an eighth of the training rows to choose by in their place."""
    order = np.random.default_rng(0).permutation(splits.train)
    kept = len(order) // 8
    return Splits(np.sort(order[kept:]), np.sort(order[:kept]), splits.valid)


def as_served(examples: Examples) -> Inputs:
    """What the store serves of every film, standardised on the training rows and side by side."""
    columns, train = examples.columns, examples.splits.train
    known = popularity_features(())
    blocks: list[Matrix] = [np.column_stack([columns.numbers(name) for name in known.numbers])]
    for name in known.words:
        vocabulary = frequent_words(columns.objects(name)[train], FusionConfig().top_words)
        blocks.append(one_hot(columns.objects(name), vocabulary))
    blocks += [columns.vectors(name) for name in sorted(examples.digests)]
    numbers = np.hstack(blocks).astype(np.float32)
    facts = torch.from_numpy(Scale.fit(numbers[train])(numbers))
    return Inputs(facts, {}, {}, torch.ones(columns.rows, 1, dtype=torch.bool))


def say(examples: Examples, config: FusionConfig) -> dict[str, Scores]:
    """What every model, fitted once, says of the test rows."""
    columns, inputs = examples.columns.take(examples.splits.test), as_served(examples)
    with tempfile.TemporaryDirectory() as scratch:
        fitted = fit_fusion(examples, config, LocalRun("fusion", Path(scratch, "fusion")))
        training = Training.of(examples, inputs, config)
        plain = training.rivals(LocalRun("raw", Path(scratch, "raw")))
    said = {name: one.score(columns) for name, one in {OURS: fitted.predictor, **fitted.rivals}.items()}
    rows = inputs.take(examples.splits.test)
    return said | {f"raw {name}": scores_of(rows, nets, training.link(nets)) for name, nets in plain.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit on every split, print the table and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--inner", action="store_true", help="hold out the validation rows; no test row is looked at")
    parser.add_argument("--only", nargs="*", default=[], help="names of splits; all by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=JSON", help="fields of the configuration")
    parser.add_argument("--json", type=Path, default=RESULTS / "probe_fusion.json")
    asked = parser.parse_args(arguments)
    given = {name: json.loads(value) for name, _, value in (pair.partition("=") for pair in asked.set)}
    config = FusionConfig(**given)
    films = read_films(Settings(home=asked.home, tokens=TOKENS))
    trials: list[Trial] = []
    for folder in sorted(path for path in asked.splits.iterdir() if not asked.only or path.name in asked.only):
        splits = folder_split(folder, films.content_ids)
        examples = replace(films, splits=without_test(splits) if asked.inner else splits)
        for seed in range(asked.seeds):
            fit = partial(say, examples, replace(config, seed=seed))
            trials += held_out(asked.out / folder.name, seed, examples, examples.splits.test, fit)
    result = {
        "machine": machine(),
        "part": "valid" if asked.inner else "test",
        **compare(trials, OURS, len(films.contents)),
        "config": {name: value for name, value in config.to_json().items() if name not in ("split", "seed")},
    }
    write_json(asked.json, result)


if __name__ == "__main__":
    main()
