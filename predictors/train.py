"""Train a predictor on what the store knew at the time, measure it on held-out rows, publish the version."""

from __future__ import annotations

import json
import logging
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from feature_repo.catalog import Catalog
from feature_repo.contracts import digest
from feature_repo.errors import StateError
from feature_repo.files import sweep
from feature_repo.settings import Settings
from predictors import versions
from predictors.base import identity
from predictors.drift import spread, write_reference
from predictors.golden import write_golden
from predictors.mlflow_run import track
from predictors.recipes import TASKS, Config, Data, Recipe, TrainingStore, checkpoints, named, recipe_of
from predictors.tracking import LocalRun, Stage

logger = logging.getLogger(__name__)

FORMAT = "5"  # raised when the code makes another model of the same data: old versions are then stale


@dataclass(frozen=True, slots=True)
class TrainReport:
    """One trained version; `fresh` where it was there already and nothing was done."""

    version: str
    folder: Path
    manifest: Mapping[str, Any]
    fresh: bool


def train(
    settings: Settings,
    catalog: Catalog,
    store: TrainingStore,
    config: Config | None = None,
    on_stage: Stage = lambda name, done, total: None,
    name: str = "popularity",
) -> TrainReport:
    """Train a predictor of `RECIPES` and make it current; the same data is not trained on twice.

    Raises ConfigurationError for an unknown name, StateError where there is too little to learn from or a feature is
    missing.
    """
    recipe = recipe_of(name)
    config = config or recipe.configure({"seed": settings.seed})
    on_stage("features", 0, 0)
    data: Data = named(TASKS[recipe.task])(settings, catalog, store, recipe.service, config)
    data_digest = data.digest
    version = version_of(name, recipe, data_digest, config)
    sweep(settings.models_dir / name)
    report = _existing(settings, name, version)
    if report is None:
        with track(settings, name, version, config.to_json(), {"data_digest": data_digest}) as tracker:
            run = LocalRun(version, checkpoints(settings.models_dir, name, version), on_stage, tracker.metric)
            report = TrainReport(version, *_make(settings, name, recipe, data, config, run), fresh=False)
            tracker.published(report.folder, report.manifest)
    if recipe.install:
        named(recipe.install)(settings, report.folder)
    versions.make_current(settings, name, version)
    return report


def _make(
    settings: Settings, name: str, recipe: Recipe, data: Data, config: Config, run: LocalRun
) -> tuple[Path, versions.Manifest]:
    """Fit, measure and publish one version; its folder and its manifest."""
    run.stage("fit")
    fitted = recipe.run(data.examples, config, run)
    run.stage("evaluate")
    # No times and no paths: the same training gives the same manifest
    manifest = {
        **identity(fitted.predictor),
        "task": recipe.task,
        "config": config.to_json(),
        "curves": run.curves,
        "libraries": _libraries(recipe),
        **data.facts,
        **fitted.facts,
        **data.measure(fitted, config),
    }
    run.stage("publish")

    def write(folder: Path) -> versions.Manifest:
        fitted.predictor.save(folder)
        write_golden(folder, fitted.golden or data.golden, fitted.predictor)
        splits = data.examples.splits
        learnt, held_out = (data.read(fitted, spread(rows)) for rows in (splits.train, splits.test))
        write_reference(folder, fitted.predictor, learnt, held_out)
        return manifest

    folder = versions.publish(settings, name, run.version, write)
    shutil.rmtree(run.folder, ignore_errors=True)
    return folder, versions.read_manifest(folder)


def version_of(name: str, recipe: Recipe, data_digest: str, config: Config) -> str:
    """Names the model by everything that decides it."""
    said = {"config": config.to_json(), "libraries": {k: installed(k) for k in recipe.libraries}}
    return digest(FORMAT, name, data_digest, json.dumps(said, sort_keys=True), size=8)


def _libraries(recipe: Recipe) -> dict[str, str]:
    return {"python": platform.python_version(), **{name: installed(name) for name in ("numpy", *recipe.libraries)}}


def _existing(settings: Settings, name: str, version: str) -> TrainReport | None:
    """The version where it is on disk and whole."""
    folder = settings.models_dir / name / version
    if not folder.exists():
        return None
    try:
        return TrainReport(version, folder, versions.verify(folder), fresh=True)
    except StateError as error:
        logger.warning("training %s again: %s", version, error)
        return None
