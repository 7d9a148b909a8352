"""Comparisons to report on: of planted contents, and of planted tastes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from feature_repo.catalog import Catalog
from feature_repo.contracts import Modality
from feature_repo.settings import Settings, load_settings
from predictors import recipes
from predictors.evaluation import comparison
from predictors.evaluation.comparison import CompareOptions, compare
from predictors.interest.data import EventData
from predictors.report import ablation
from predictors.report.ablation import ablate
from tests.predictors.planted import SPEC, FrameStore, Planted
from tests.predictors.planted_tastes import plant_tastes

TASKS = {**recipes.TASKS, "interest": "tests.predictors.report.conftest:read_tastes"}
CONFIGS: dict[str, dict[str, Any]] = {
    "popularity": {"iterations": 60, "patience": 20, "depth": 4, "learning_rate": 0.2, "threads": 1, "bags": 1},
    "interest_catboost": {"iterations": 40, "threads": 1, "factors": 2, "components": 2},
}


def read_tastes(*_: object) -> EventData:
    """What the task "interest" reads of the planted tastes."""
    examples = plant_tastes(users=80, contents=200, events=40).examples
    labels = {**examples.labels, "reaction": examples.labels["engaged"]}
    return EventData(pl.DataFrame(), pl.DataFrame(), replace(examples, labels=labels), 0)


@dataclass(frozen=True)
class Compared:
    """A workspace of planted contents, every other one with a picture, and a comparison in `folder`."""

    settings: Settings
    catalog: Catalog
    store: FrameStore
    folder: Path

    def ablate(self) -> dict[str, Any]:
        return ablate(self.settings, self.catalog, self.store, self.folder)


def _fill(catalog: Catalog, planted: Planted, pictures: Path) -> None:
    contents = planted.contents()
    pictures.mkdir()
    for row in range(0, len(contents), 2):
        path = pictures / f"{row}.png"
        Image.new("RGB", (8, 8), (row, 80, 120)).save(path)
        contents[row] = replace(contents[row], title=f"Film <{row}>", media={Modality.IMAGE: path})
    catalog.upsert_contents(contents, "planted")
    catalog.register_embedding(SPEC)


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory, planted: Planted) -> Iterator[Compared]:
    """Two predictors of two tasks; tests only read it."""
    root = tmp_path_factory.mktemp("compared")
    settings = load_settings(home=root / "home")
    store = FrameStore(planted.frame)
    with Catalog(settings.catalog) as catalog, pytest.MonkeyPatch.context() as patch:
        _fill(catalog, planted, root / "pictures")
        patch.setattr(comparison, "TASKS", TASKS)
        compare(settings, catalog, store, list(CONFIGS), root / "out", CompareOptions(resamples=100, configs=CONFIGS))
        yield Compared(settings, catalog, store, root / "out")


@pytest.fixture
def own(compared: Compared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Compared]:
    """A copy of the comparison, which a test may change, with one predictor left to ablate."""

    def of(name: str) -> Compared:
        monkeypatch.setattr(ablation, "TASKS", TASKS)
        shutil.copytree(compared.folder, tmp_path / "out")
        path = tmp_path / "out" / "comparison.json"
        report = json.loads(path.read_text())
        path.write_text(json.dumps({**report, "versions": {name: report["versions"][name]}}))
        return replace(compared, folder=tmp_path / "out")

    return of
