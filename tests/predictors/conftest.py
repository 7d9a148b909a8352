"""Fixtures of the predictors' tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from feature_repo.catalog import Catalog
from feature_repo.settings import Settings, load_settings
from predictors.config import TrainConfig
from predictors.train import TrainReport, train
from tests.predictors.planted import SPEC, FrameStore, Planted, plant


@pytest.fixture(scope="session")
def planted() -> Planted:
    return plant()


@pytest.fixture(scope="session")
def quick() -> TrainConfig:
    """A configuration that trains in well under a second."""
    return TrainConfig(iterations=60, patience=20, depth=4, learning_rate=0.2, resamples=20, bags=2, threads=1)


def put(planted: Planted, catalog: Catalog) -> Catalog:
    """Put planted contents and their embedding into a catalog."""
    catalog.upsert_contents(planted.contents(), "planted")
    catalog.register_embedding(SPEC)
    return catalog


@pytest.fixture
def fill(catalog: Catalog) -> Callable[[Planted], Catalog]:
    """Fills the test's catalog."""
    return lambda planted: put(planted, catalog)


@pytest.fixture(scope="session")
def template(
    tmp_path_factory: pytest.TempPathFactory, planted: Planted, quick: TrainConfig
) -> tuple[Settings, TrainReport]:
    """A workspace in which a model is trained; tests get copies."""
    settings = load_settings(home=tmp_path_factory.mktemp("template"))
    with Catalog(settings.catalog) as catalog:
        return settings, train(settings, put(planted, catalog), FrameStore(planted.frame), quick)


@pytest.fixture
def report(settings: Settings, template: tuple[Settings, TrainReport]) -> TrainReport:
    """The report of a training in the test's own workspace; asked for before `catalog`, which it brings."""
    made, trained = template
    shutil.copytree(made.home, settings.home)
    folder = settings.models_dir / trained.folder.relative_to(made.models_dir)
    return TrainReport(trained.version, folder, trained.manifest, trained.fresh)
