"""What a predictor must not know, planted in a log of pure chance (`chance`): honest scores are no better than chance.

Each leak is planted for all tests, so the honest ones fail where a guard lets it through; with the guard taken away,
the same measure says so. What is known when is also tested by rows in `interest/test_data.py` (histories, counts),
`popularity/test_neighbours.py` and `popularity/test_creators.py` (earlier contents only), `popularity/test_features.py`
(the allow-list) and `embedders/test_user_runner.py` (users' vectors).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pytest

from feature_repo.catalog import Catalog
from feature_repo.columns import Columns
from feature_repo.settings import Settings, load_settings
from feature_repo.store import Store
from predictors.config import TrainConfig
from predictors.engagement import Examples, read_engagement
from predictors.evaluation.engagement_metrics import r2
from predictors.evaluation.ranking import auc
from predictors.interest import catboost, factors, features, fit, inputs, predictor
from predictors.interest import data as interest_data
from predictors.interest.config import FactorsConfig, InterestConfig
from predictors.interest.data import read_interest
from predictors.interest.examples import EventExamples
from predictors.interest.labels import ExampleConfig
from predictors.interest.trees_config import InterestTreesConfig
from predictors.popularity import predictor as popularity
from predictors.popularity.creators import Creators
from predictors.popularity.features import Assembler, FeatureSet, popularity_features
from predictors.popularity.neighbours import Neighbours
from predictors.recipes import recipe_of
from predictors.splits import Splits
from predictors.tracking import LocalRun
from tests.predictors.chance import make_chance, originals_held_out
from tests.predictors.unguarded import hold_nothing_out

Guardless = Callable[[pytest.MonkeyPatch], None]

R2_BY_CHANCE, AUC_BY_CHANCE = 0.1, 0.6  # an honest predictor stays below, whatever the draw
LABEL = "told"  # a column of metadata that is the label
CONFIGS: dict[str, Any] = {
    "popularity": TrainConfig(iterations=60, depth=4, learning_rate=0.2, neighbours=1, resamples=1, bags=1, threads=1),
    "interest": InterestConfig(width=16, hidden=32, components=8, epochs=6, rate=1e-2, dropout=0.05, threads=1),
    "interest_catboost": InterestTreesConfig(iterations=60, factors=4, negatives=1, learning_rate=0.2, threads=1),
    "interest_factors": FactorsConfig(factors=4, sweeps=20, burn_in=10, kept=5),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = load_settings(home=tmp_path_factory.mktemp("chance"))
    with Catalog(settings.catalog) as catalog:
        make_chance(settings, catalog)
    return settings


def read_contents(settings: Settings) -> Examples:
    """All contents, with their score as a column of metadata."""
    with Catalog(settings.catalog) as catalog:
        data = read_engagement(settings, catalog, Store(settings), "popularity", CONFIGS["popularity"])
    rows = len(data.examples.scores)
    told = Columns(rows, {LABEL: data.examples.scores}, {LABEL: np.ones(rows, bool)})
    return replace(data.examples, columns=data.examples.columns.beside(told), splits=originals_held_out(rows))


def read_events(settings: Settings) -> EventExamples:
    """All encounters, with whether they engage as a column of metadata."""
    with Catalog(settings.catalog) as catalog:
        examples = read_interest(settings, catalog, Store(settings), "interest", ExampleConfig()).examples
    engaged = examples.labels["engaged"]
    told = Columns(len(engaged), {LABEL: engaged}, {LABEL: np.ones(len(engaged), bool)})
    return replace(examples, columns=examples.columns.beside(told)).with_related()


@pytest.fixture(scope="module")
def contents(home: Settings) -> Examples:
    return read_contents(home)


@pytest.fixture(scope="module")
def events(home: Settings) -> EventExamples:
    return read_events(home)


def trained(name: str, examples: Any) -> Any:
    with TemporaryDirectory() as folder:
        return recipe_of(name).run(examples, CONFIGS[name], LocalRun("v", Path(folder))).predictor


def explained(examples: Examples) -> float:
    """R2 of `popularity` on test rows."""
    test = examples.splits.test
    return r2(examples.scores[test], trained("popularity", examples).score(examples.columns.take(test)).score)


def told_apart(name: str, examples: EventExamples) -> float:
    """AUC of a predictor of interest on test rows."""
    test = examples.splits.test
    return auc(examples.labels["engaged"][test], trained(name, examples).score(examples.batch(test)).score)


# -- popularity: how many ratings a content will have


def asked_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features are not those of the publication, but those of a year later."""
    honest = Store.training_frame

    def late(self: Store, rows: pl.DataFrame, service: str) -> pl.DataFrame:
        asked = rows.with_columns(pl.col("event_timestamp") + timedelta(days=365))
        return honest(self, asked, service).with_columns(rows["event_timestamp"])

    monkeypatch.setattr(Store, "training_frame", late)


def every_column_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_of_it(embeddings: Iterable[str]) -> FeatureSet:
        allowed = popularity_features(embeddings)
        return replace(allowed, numbers=(*allowed.numbers, LABEL))

    monkeypatch.setattr(popularity, "popularity_features", all_of_it)


def later_neighbours_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """All contents but the row itself."""

    def undated(self: Neighbours, vectors: Any, as_of: Any) -> Any:
        return honest(replace(self, published=np.where(self.published == as_of[:, None], np.inf, 0)), vectors, as_of)

    honest = Neighbours.__call__
    monkeypatch.setattr(Neighbours, "__call__", undated)


def later_posts_count(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Creators.__call__
    monkeypatch.setattr(
        Creators, "__call__", lambda self, names, ids, as_of: honest(self, names, ids, np.full(len(as_of), np.inf))
    )


def test_popularity_foretells_no_chance(contents: Examples) -> None:
    assert explained(contents) < R2_BY_CHANCE


@pytest.mark.parametrize("guardless", [every_column_is_read, later_neighbours_count, later_posts_count])
def test_popularity_without_a_guard_is_seen(
    contents: Examples, guardless: Guardless, monkeypatch: pytest.MonkeyPatch
) -> None:
    guardless(monkeypatch)
    assert explained(contents) > R2_BY_CHANCE


def test_contents_that_are_read_late_are_seen(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_late(monkeypatch)
    assert explained(read_contents(home)) > R2_BY_CHANCE


# -- interest: whether a user's star is a good one

INTEREST = ("interest", "interest_catboost", "interest_factors")


def all_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row is read as of the end of a log from which nothing is held out."""

    def all_late(met: pl.DataFrame, splits: Splits, after: datetime) -> pl.DataFrame:
        return met.with_columns(event_timestamp=pl.lit(after + timedelta(days=30)))

    hold_nothing_out(monkeypatch)
    monkeypatch.setattr(interest_data, "as_known", all_late)


def every_number_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    every = (*inputs.STATISTICS, LABEL)
    for module in (inputs, fit, predictor):
        monkeypatch.setattr(module, "STATISTICS", every)
    monkeypatch.setattr(features, "USER_NUMBERS", (*features.USER_NUMBERS, LABEL))


@pytest.mark.parametrize("name", INTEREST)
def test_interest_tells_no_chances_apart(name: str, events: EventExamples) -> None:
    assert told_apart(name, events) < AUC_BY_CHANCE


@pytest.fixture(scope="module")
def late_events(home: Settings) -> EventExamples:
    with pytest.MonkeyPatch.context() as monkeypatch:
        all_is_known(monkeypatch)
        return read_events(home)


COLUMNS = INTEREST[:2]  # `interest_factors` reads no columns of the event


@pytest.mark.parametrize("name", COLUMNS)
def test_events_that_are_read_late_are_seen(name: str, late_events: EventExamples) -> None:
    assert told_apart(name, late_events) > AUC_BY_CHANCE


@pytest.mark.parametrize("name", COLUMNS)
def test_a_label_among_the_columns_is_seen(name: str, events: EventExamples, monkeypatch: pytest.MonkeyPatch) -> None:
    every_number_is_read(monkeypatch)
    assert told_apart(name, events) > AUC_BY_CHANCE


# -- statistics over all parts of the split: scalers, bins, words, projections, neighbours, what the crowd says

FITTED: dict[str, tuple[Any, str]] = {  # what a predictor fits on training rows before its trees or its net learn
    "popularity": (Assembler, "fit"),
    "interest": (fit, "_inputs"),
    "interest_catboost": (catboost, "fit_interest"),
    "interest_factors": (factors, "fit_factors"),
}


def disturbed(examples: Any) -> Any:
    """The same but for the test rows, whose numbers, vectors and labels are others."""
    test = examples.splits.test

    def moved(values: Any, change: Callable[[Any], Any] = lambda some: some + 7) -> Any:
        other = values.copy()
        other[test] = change(values[test])
        return other

    columns = examples.columns
    numbers = {name: held if held.dtype == object else moved(held) for name, held in columns.values.items()}
    other = replace(examples, columns=replace(columns, values=numbers))
    if isinstance(examples, Examples):
        return replace(other, scores=moved(examples.scores))
    return replace(other, labels={name: moved(held, lambda some: 1 - some) for name, held in examples.labels.items()})


def saved(name: str, examples: Any, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    trained(name, examples).save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", FITTED)
def test_the_test_rows_decide_nothing_and_that_is_seen(
    name: str, contents: Examples, events: EventExamples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples: Any = contents if name == "popularity" else events
    other = disturbed(examples)
    assert saved(name, examples, tmp_path / "a") == saved(name, other, tmp_path / "b")
    honest, splits = getattr(*FITTED[name]), examples.splits
    both = Splits(np.sort(np.concatenate([splits.train, splits.test])), splits.valid, splits.test)
    monkeypatch.setattr(*FITTED[name], staticmethod(lambda known, *rest: honest(replace(known, splits=both), *rest)))
    assert saved(name, examples, tmp_path / "c") != saved(name, other, tmp_path / "d")
