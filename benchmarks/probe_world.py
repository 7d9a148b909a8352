"""How near predictors come to the truth of the made world, and what each modality is worth where it alone tells.

Two questions, whose answers are known (`feature_repo/datasets/synthetic`):

Tastes. Whether a user engages with an impression; per-user split. Beside the predictors stand the oracle, which knows
every cause and the tastes of the day, and the filter, which knows every cause and law but has to infer the tastes from
the same training events: what separates it from the oracle no model can learn. Few events and ten times as many.

Causes. In worlds whose appeal has a single cause (the picture, the words, the sound, the creator), what `popularity`
loses without each modality. Clips show the picture again: in their world there is no other picture.

Usage: python -m benchmarks.probe_world --home DIR [--contents 300] [--users 200] [--days 60] [--part tastes causes]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.harness import RESULTS, machine
from embedders.runner import run
from feature_repo.catalog import Catalog
from feature_repo.contracts import Modality
from feature_repo.datasets.synthetic import Coefficients, Synthetic
from feature_repo.datasets.synthetic.dataset import START
from feature_repo.datasets.synthetic.oracle import Impressions, known, taught
from feature_repo.files import write_json
from feature_repo.ingest import ingest
from feature_repo.settings import Settings
from feature_repo.store import Store
from predictors.config import TrainConfig
from predictors.engagement import Examples, read_engagement
from predictors.evaluation.engagement_metrics import r2
from predictors.evaluation.paired import resample
from predictors.interest.baselines import NAIVE
from predictors.interest.data import EventData, read_interest
from predictors.interest.examples import EventExamples
from predictors.interest.labels import ExampleConfig
from predictors.interest.metrics import Outcome
from predictors.popularity.features import popularity_features
from predictors.popularity.predictor import Popularity
from predictors.recipes import recipe_of
from predictors.report.ablation import MODALITIES, owned_by, without
from predictors.splits import random_split
from predictors.tracking import LocalRun

EMBEDDINGS = ("efficientnet_lite0", "minilm", "mfcc", "log_mel", "frames")
PREDICTORS = ("interest_blend", "interest_factors", "interest_catboost", "interest")
MEETING_HOURS = 0.1  # an impression is an encounter of its own: what it is followed by takes minutes
EVENTS = (50.0, 500.0)  # impressions a user
RESAMPLES = 200

Floats = npt.NDArray[np.float64]

# What makes appeal in a world -> the modality that tells it. The sum of squares is that of the usual world.
SPREAD = 1.25
CAUSES: Mapping[str, str] = {
    "image_quality": "image",
    "title_appeal": "text",
    "sound_energy": "sound",
    "creator_skill": "history",
}
QUICK: Mapping[str, Any] = {"bags": 1, "refit": False, "iterations": 300, "kernel_centres": 0, "threads": 1}


@dataclass(frozen=True, slots=True)
class Feed:
    """How large the made world is; its contents, media and vectors lie in `base`."""

    base: Path
    contents: int
    users: int
    days: int
    seed: int = 0

    def dataset(self, coefficients: Coefficients) -> Synthetic:
        """The feed under these laws: contents look, read and sound the same under all of them."""
        media = self.base / "synthetic"
        size = (self.contents, self.users, self.seed)
        return Synthetic(*size, media_dir=media, days=self.days, clip_share=1.0, coefficients=coefficients)

    def embed(self, embeddings: Sequence[str] = EMBEDDINGS) -> None:
        """Make the contents and their vectors, where they are not there yet."""
        settings = Settings(home=self.base)
        with Catalog(settings.catalog) as catalog:
            ingest(settings, catalog, self.dataset(Coefficients(impressions_per_user=1.0)))
            for name in embeddings:
                run(name, settings, catalog)

    def lived(self, home: Path, coefficients: Coefficients) -> tuple[Settings, Synthetic]:
        """A workspace with these vectors and the events of a world under those laws."""
        settings, dataset = Settings(home=home), self.dataset(coefficients)
        home.mkdir(parents=True)
        shutil.copy(self.base / "catalog.db", home)
        shutil.copytree(self.base / "embeddings", home / "embeddings")
        with Catalog(settings.catalog) as catalog:
            ingest(settings, catalog, dataset)
        Store(settings).apply()
        return settings, dataset


# -- tastes


@dataclass(frozen=True, slots=True)
class Figure:
    """What `by` says of the test impressions; `short` is by how much its AUC misses the oracle's, with the 95 %
    interval over users.
    """

    by: str
    auc: float
    gauc: float
    log_loss: float
    short: tuple[float, float, float]
    seconds: float


def read_events(settings: Settings) -> EventData:
    """Every impression as an encounter."""
    with Catalog(settings.catalog) as catalog:
        config = ExampleConfig(meeting_hours=MEETING_HOURS)
        return read_interest(settings, catalog, Store(settings), "interest", config)


def truths(dataset: Synthetic, examples: EventExamples) -> dict[str, Floats]:
    """P(engaged) of all encounters by the oracle and by the filter, which is taught what test rows may know."""
    world, shown = dataset.world, Impressions.of(dataset.world)
    rows = {key: row for row, key in enumerate(zip(shown.user, shown.content, shown.time, strict=True))}
    start = START.timestamp() * 1e6
    users, contents = (
        [int(each.rpartition("-")[2]) for each in examples.columns.objects(name)] for name in ("user_id", "content_id")
    )
    times = (examples.columns.numbers("event_timestamp") - start).astype(np.int64)
    place = np.array([rows[key] for key in zip(users, contents, times, strict=True)])
    learnt = np.zeros(len(shown.time), np.bool_)
    learnt[place[np.concatenate([examples.splits.train, examples.splits.valid])]] = True
    return {"oracle": known(world, shown)[place], "filter": taught(world, shown, learnt)[place]}


def said(
    examples: EventExamples, names: Sequence[str], config: Mapping[str, Any]
) -> Iterator[tuple[str, Floats, float]]:
    """P(engaged) of the test rows by naive baselines and by predictors, and the seconds of each fit."""
    test = examples.splits.test
    users, items = examples.columns.objects("user_id")[test], examples.items[test]
    for name, naive in NAIVE.items():
        yield name, naive(examples).score(users, items), 0.0
    for name in names:
        recipe, began = recipe_of(name), time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            fitted = recipe.run(examples, recipe.configure(config), LocalRun("v", Path(folder)))
        seconds = time.process_time() - began
        yield name, fitted.predictor.score(examples.batch(test)).score, seconds


def tastes(
    feed: Feed, home: Path, per_user: float, names: Sequence[str] = PREDICTORS
) -> tuple[Mapping[str, int], list[Figure]]:
    """Everybody on the world of so many impressions a user, and the rows of the split's parts."""
    settings, dataset = feed.lived(home, Coefficients(impressions_per_user=per_user))
    examples = read_events(settings).examples
    test = examples.splits.test
    engaged, users = examples.labels["engaged"][test], examples.columns.objects("user_id")[test]
    whole = {name: p[test] for name, p in truths(dataset, examples).items()}
    best = resample([Outcome(engaged, whole["oracle"], users)], RESAMPLES, 0)
    by = [*((name, p, 0.0) for name, p in whole.items()), *said(examples, names, {})]
    figures = []
    for name, p, seconds in by:
        outcome = Outcome(engaged, p, users)
        measures, less = outcome.measure(), best.less(resample([outcome], RESAMPLES, 0))["auc"]
        short = (less.value, less.low, less.high)
        figures.append(Figure(name, measures["auc"], measures["gauc"], measures["log_loss"], short, seconds))
    return examples.splits.sizes, figures


# -- causes


def single(cause: str, per_user: float = 50.0) -> Coefficients:
    """A world in which nothing else makes contents appeal."""
    none = dict.fromkeys((*CAUSES, "topic_popularity", "noise"), 0.0)
    return Coefficients(**none | {cause: SPREAD}, impressions_per_user=per_user)


def explained(examples: Examples, seeds: int) -> float:
    """R2 of `popularity` on the test rows of all splits together."""
    truth, found = [], []
    for seed in range(seeds):
        times = [content.published_at for content in examples.contents]
        some = replace(examples, splits=random_split(examples.content_ids, times, seed))
        config = TrainConfig(**QUICK, seed=seed)
        made, _ = Popularity.fit(some, popularity_features(some.digests), config, LocalRun("v", Path()))
        test = some.splits.test
        truth.append(some.scores[test])
        found.append(made.score(some.columns.take(test)).score)
    return r2(np.concatenate(truth), np.concatenate(found))


def read_contents(settings: Settings) -> tuple[Examples, dict[str, str]]:
    """Every content with its label, and what each embedding is made of."""
    with Catalog(settings.catalog) as catalog:
        data = read_engagement(settings, catalog, Store(settings), "popularity", TrainConfig())
        return data.examples, {row.name: str(row.modality) for row in catalog.embeddings().values()}


def causes(feed: Feed, home: Path, seeds: int = 5) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Of each world its cause, who tells it, and R2 in full and without each modality."""
    for cause, teller in CAUSES.items():
        settings, _ = feed.lived(home / cause, single(cause))
        examples, made = read_contents(settings)
        yield cause, teller, lost(examples, made, seeds)
        if teller == Modality.IMAGE:  # the same world, whose pictures are only seen in clips
            blind = without(examples, owned_by(MODALITIES["image"], made))
            yield f"{cause}, in clips", "video", lost(blind, made, seeds)


def lost(examples: Examples, made: Mapping[str, str], seeds: int) -> dict[str, float]:
    """R2 in full, and what it loses without each modality that `popularity` reads."""
    whole = explained(examples, seeds)
    losses = {
        name: whole - explained(without(examples, owned_by(owned, made)), seeds)
        for name, owned in MODALITIES.items()
        if owned_by(owned, made)
    }
    return {"whole": whole, **losses}


def show_tastes(rows: Mapping[str, int], figures: Sequence[Figure]) -> None:
    """Print the table of one world."""
    title = f"Tastes: {sum(rows.values())} impressions, {rows['test']} of them test"
    table = Table("by", "AUC", "short of the oracle", "GAUC", "log-loss", "CPU s", title=title)
    for one in figures:
        short = "{:.3f} [{:.3f}, {:.3f}]".format(*one.short)
        table.add_row(one.by, f"{one.auc:.4f}", short, f"{one.gauc:.4f}", f"{one.log_loss:.4f}", f"{one.seconds:.0f}")
    Console(width=130).print(table)


def show_causes(found: Sequence[tuple[str, str, dict[str, float]]]) -> None:
    """Print what was lost; what should have been is bold."""
    names = [name for name in found[0][2] if name != "whole"]
    table = Table("cause of appeal", "R2", *(f"without {name}" for name in names), title="Causes")
    for cause, teller, losses in found:
        cells = (f"[bold]{-losses[n]:+.3f}[/]" if n == teller else f"{-losses[n]:+.3f}" for n in names if n in losses)
        table.add_row(cause, f"{losses['whole']:.3f}", *cells)
    Console(width=130).print(table)


def main() -> None:
    """Measure, print the tables and write `probe_world_tastes-<days>-<events>.json` and `probe_world_causes.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="for the worlds; contents and vectors are kept")
    parser.add_argument("--contents", type=int, default=300)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--part", nargs="*", choices=("tastes", "causes"), default=["tastes", "causes"])
    parser.add_argument("--events", type=float, nargs="*", default=EVENTS, help="impressions a user")
    parser.add_argument("--predictor", nargs="*", default=PREDICTORS)
    given = parser.parse_args()
    feed = Feed(given.home / "base", given.contents, given.users, given.days)
    feed.embed()
    world = {"machine": machine(), "contents": given.contents, "users": given.users, "days": given.days}
    with tempfile.TemporaryDirectory(dir=given.home) as folder:
        if "tastes" in given.part:
            for n in given.events:
                rows, figures = tastes(feed, Path(folder) / f"{n:g}", n, given.predictor)
                show_tastes(rows, figures)
                said = {**world, "rows": rows, "figures": [asdict(one) for one in figures]}
                write_json(RESULTS / f"probe_world_tastes-{given.days}-{n:g}.json", said)
        if "causes" in given.part:
            told = list(causes(feed, Path(folder)))
            show_causes(told)
            lost_by = [{"cause": cause, "teller": teller, "R2": losses} for cause, teller, losses in told]
            write_json(RESULTS / "probe_world_causes.json", {**world, "causes": lost_by})


if __name__ == "__main__":
    main()
