"""How well texts find pictures through `aligned`: real photos with five captions each, a hundred held out.

The base vectors are the runner's, made once in a temporary workspace. For each seed 100 photos are held out, 50 of the
others stop the fit early and choose its ridges, 450 are learned from; captions of a photo stay on its side. Beside the
heads as `larder train aligned` fits them stand their start alone, and the same loss from a random start.

Usage: python -m benchmarks.probe_aligned [--seeds 10]
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.harness import RESULTS
from embedders.aligned import Heads
from embedders.contrastive import ContrastConfig, PairModel, Recalls, chance_recalls, evaluate, train_pairs
from embedders.pairs import Pairs, Rows
from embedders.runner import run
from embedders.train_aligned import AlignConfig, fit_heads
from feature_repo.catalog import Catalog
from feature_repo.contracts import Content, Modality
from feature_repo.files import write_json
from feature_repo.settings import load_settings
from feature_repo.vectors import read_vectors

HELD, CHECK = 100, 50
FIRST_SEED = 100  # lower ones were looked at while the fit was designed
CPU = torch.device("cpu")
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
REAL = Path(os.environ.get("LARDER_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))

Fit = Callable[[Pairs, Rows, Rows, int], PairModel]


def base_vectors(folder: Path) -> Pairs:
    """Vectors of all photos and captions by the bundled embedders, run as `larder embed` runs them."""
    with (folder / "captions.csv").open() as file:
        rows = sorted((row["image"], row["caption"]) for row in csv.DictReader(file))
    photos = [Content(name, "", NOON, media={Modality.IMAGE: folder / "images" / name}) for name, _ in rows[::5]]
    captions = [Content(f"{name} {n % 5}", said, NOON) for n, (name, said) in enumerate(rows)]
    with tempfile.TemporaryDirectory() as home:
        settings = load_settings(home=Path(home), device="cpu", precision="float32")
        with Catalog(settings.catalog) as catalog:
            catalog.upsert_contents([*photos, *captions], "flickr600")
            for name in ("efficientnet_lite0", "minilm"):
                run(name, settings, catalog)
            images, texts = (read_vectors(settings, catalog, name) for name in ("efficientnet_lite0", "minilm"))
    order = {content_id: row for row, content_id in enumerate(images.content_ids)}
    return Pairs(images.matrix, texts.matrix, np.array([order[c.rpartition(" ")[0]] for c in texts.content_ids]))


def as_trained(pairs: Pairs, train: Rows, check: Rows, seed: int) -> PairModel:
    return fit_heads(pairs, train, check, AlignConfig(contrast=ContrastConfig(seed=seed)), CPU).heads


def start_alone(pairs: Pairs, train: Rows, check: Rows, seed: int) -> PairModel:
    return fit_heads(pairs, train, check, AlignConfig(contrast=ContrastConfig(epochs=0, seed=seed)), CPU).heads


def from_random(pairs: Pairs, train: Rows, check: Rows, seed: int) -> PairModel:
    torch.manual_seed(seed)
    config = AlignConfig()
    heads = Heads(pairs.images.shape[1], pairs.texts.shape[1], config.dim, config.noise, config.dropout)
    heads.image.scale.fill_(pairs.images.shape[1] ** -0.5)  # unit variance, as the vectors have length 1
    heads.text.scale.fill_(pairs.texts.shape[1] ** -0.5)
    contrast = replace(config.contrast, epochs=100, patience=20, rate=1e-3, seed=seed)
    return train_pairs(heads, pairs, train, check, contrast, CPU).model


FITS: dict[str, Fit] = {
    "aligned": as_trained,
    "its start alone (correlations with ridges)": start_alone,
    "the loss alone, from a random start": from_random,
}


def measure(pairs: Pairs, fit: Fit, seed: int) -> Recalls:
    """Recalls over the held-out photos and their captions."""
    order = np.random.default_rng(seed).permutation(len(pairs.images))
    held, check, train = np.sort(order[:HELD]), np.sort(order[HELD : HELD + CHECK]), np.sort(order[HELD + CHECK :])
    return evaluate(fit(pairs, train, check, seed), pairs, held, CPU)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    given = parser.parse_args()
    folder = REAL / "flickr600"
    if not folder.is_dir():
        raise SystemExit(f"{folder} is absent: set LARDER_REAL_DATA")
    pairs = base_vectors(folder)
    chance = chance_recalls(np.repeat(np.arange(HELD), 5))
    table = Table("heads", *chance, title=f"{HELD} of {len(pairs.images)} photos held out, {given.seeds} seeds")
    results: dict[str, object] = {"chance": chance, "seeds": given.seeds}
    for name, fit in FITS.items():
        found = [measure(pairs, fit, seed) for seed in range(FIRST_SEED, FIRST_SEED + given.seeds)]
        columns = {key: [one[key] for one in found] for key in chance}
        results[name] = {key: {"mean": np.mean(said), "spread": np.std(said)} for key, said in columns.items()}
        table.add_row(name, *(f"{np.mean(said):.3f} ± {np.std(said):.3f}" for said in columns.values()))
    table.add_row("chance", *(f"{value:.3f}" for value in chance.values()))
    Console(width=160).print(table)
    write_json(RESULTS / "probe_aligned.json", results)


if __name__ == "__main__":
    main()
