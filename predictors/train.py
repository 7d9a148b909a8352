"""Train a predictor from the store's point-in-time frame, measure it on held-out contents, publish the version."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import catboost
import numpy as np
import polars as pl

from feature_repo.catalog import Catalog
from feature_repo.columns import Columns
from feature_repo.contracts import digest
from feature_repo.errors import StateError
from feature_repo.files import sweep
from feature_repo.settings import Settings
from predictors import versions
from predictors.base import identity
from predictors.catboost import Fitted, Popularity
from predictors.config import TrainConfig
from predictors.evaluate import evaluate, intervals
from predictors.features import Examples, FeatureSet, popularity_features
from predictors.golden import ROWS, write_golden
from predictors.labels import CLASSES, EngagementScore
from predictors.splits import split

logger = logging.getLogger(__name__)

LEAST_LABELLED = 50
FORMAT = "2"  # raised when the code makes another model of the same data: old versions are then stale


class TrainingStore(Protocol):
    """What training asks of the feature store."""

    def training_frame(self, entity_rows: pl.DataFrame, service: str, /) -> pl.DataFrame:
        """Features of the service as of each row's `event_timestamp`, rows as given."""


@dataclass(frozen=True, slots=True)
class TrainReport:
    """One trained version; `fresh` where it was there already and nothing was done."""

    version: str
    folder: Path
    manifest: Mapping[str, Any]
    fresh: bool


@dataclass(frozen=True, slots=True)
class _Data:
    """What is learnt from: the store's frame, the examples made of it, and how many contents have no label."""

    frame: pl.DataFrame
    examples: Examples
    unlabelled: int


def train(
    settings: Settings,
    catalog: Catalog,
    store: TrainingStore,
    config: TrainConfig | None = None,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> TrainReport:
    """Train `popularity` on every labelled content and make it current; the same data is not trained on twice.

    Raises StateError where there is too little to learn from or a feature is missing.
    """
    config = config or TrainConfig()
    on_stage("features")
    data = _read(catalog, store, config)
    digests = {name: str(row.spec_digest) for name, row in catalog.embeddings().items()}
    if unread := sorted(set(digests) - set(data.frame.columns)):
        raise StateError(f"the store does not serve {', '.join(unread)} yet: run `larder apply`")
    features = popularity_features(digests)
    version = _version(data, features, digests, config)
    sweep(settings.models_dir / Popularity.name)
    report = _existing(settings, version)
    if report is None:
        on_stage("fit")
        fitted = Popularity.fit(data.examples, features, config, digests, version)
        on_stage("evaluate")
        manifest = _manifest(data, fitted, config) | _measure(data.examples, features, fitted, config)
        on_stage("publish")

        def write(folder: Path) -> versions.Manifest:
            fitted.predictor.save(folder)
            write_golden(folder, data.frame[data.examples.splits.train[:ROWS]], fitted.predictor)
            return manifest

        folder = versions.publish(settings, Popularity.name, version, write)
        report = TrainReport(version, folder, versions.read_manifest(folder), fresh=False)
    versions.make_current(settings, Popularity.name, version)
    return report


def _read(catalog: Catalog, store: TrainingStore, config: TrainConfig) -> _Data:
    score = EngagementScore(config.weights)
    scored = [(item.content, score(item.content.counters)) for item in catalog.items()]
    kept = [(content, value) for content, value in scored if np.isfinite(value)]
    if len(kept) < LEAST_LABELLED:
        raise StateError(
            f"{len(kept)} of {len(scored)} contents have a counter to learn from, {LEAST_LABELLED} are needed: "
            "run `larder ingest` on more; counters that count: "
            + ", ".join(sorted(name for name, w in config.weights.items() if w > 0))
        )
    ids = [content.content_id for content, _ in kept]
    times = [content.published_at for content, _ in kept]
    creators = [content.creator_id or "" for content, _ in kept]
    entity_rows = pl.DataFrame(
        {"content_id": ids, "creator_id": creators, "event_timestamp": times},
        schema_overrides={"event_timestamp": pl.Datetime("us", "UTC")},
    )
    frame = store.training_frame(entity_rows, Popularity.service)
    splits = split(config.split, ids, times, config.seed)
    if not len(splits.test):
        raise StateError(f"none of {len(ids)} labelled contents fell into the test split: ingest more contents")
    scores = np.array([value for _, value in kept])
    return _Data(frame, Examples(Columns.from_frame(frame), ids, scores, splits), len(scored) - len(kept))


def _version(data: _Data, features: FeatureSet, digests: Mapping[str, str], config: TrainConfig) -> str:
    """Names the model by everything that decides it."""
    said = {"config": config.to_json(), "embeddings": dict(digests), "catboost": catboost.__version__}
    return digest(FORMAT, data.examples.digest(features), json.dumps(said, sort_keys=True), size=8)


def _existing(settings: Settings, version: str) -> TrainReport | None:
    """The version where it is on disk and whole."""
    folder = settings.models_dir / Popularity.name / version
    if not folder.exists():
        return None
    try:
        return TrainReport(version, folder, versions.verify(folder), fresh=True)
    except StateError as error:
        logger.warning("training %s again: %s", version, error)
        return None


def _measure(examples: Examples, features: FeatureSet, fitted: Fitted, config: TrainConfig) -> dict[str, Any]:
    """Metrics on the test split: the model's with intervals, and the baselines' beside them."""
    test, quintiles = examples.splits.test, fitted.quintiles
    truth, columns = examples.scores[test], examples.columns.take(test)
    classes = quintiles.classes(truth)
    scores = fitted.predictor.score(columns)
    outcome = (truth, scores.score, classes, scores.classes)
    bare = Popularity.fit(examples, FeatureSet(features.numbers, features.words), config, {}).predictor.score(columns)
    learnt = examples.scores[examples.splits.train]
    majority = np.bincount(quintiles.classes(learnt), minlength=CLASSES).argmax()
    return {
        "metrics": evaluate(*outcome),
        "intervals": {k: list(v) for k, v in intervals(*outcome, config.resamples, config.seed).items()},
        "baselines": {
            # always the training mean and the training split's most frequent class
            "mean": evaluate(truth, np.full(len(test), learnt.mean()), classes, np.full(len(test), majority)),
            "metadata_only": evaluate(truth, bare.score, classes, bare.classes),
        },
    }


def _manifest(data: _Data, fitted: Fitted, config: TrainConfig) -> versions.Manifest:
    """What made the version and how it went. No times and no paths: the same training gives the same manifest."""
    return {
        **identity(fitted.predictor),
        "config": config.to_json(),
        "quintile_edges": list(fitted.quintiles.edges),
        "curves": fitted.curves,
        "importances": fitted.predictor.importances,
        "rows": data.examples.splits.sizes,
        "unlabelled": data.unlabelled,
        "libraries": {"python": platform.python_version(), "catboost": catboost.__version__, "numpy": np.__version__},
    }
