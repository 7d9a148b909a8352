"""The whole main job on Larder's own Feast plug-ins and on Feast's stock ones: the same scores, the same neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedders.runner import run as embed
from feature_repo.catalog import Catalog
from feature_repo.columnar.engine import ColumnarEngine
from feature_repo.columnar.offline import PolarsOfflineStore
from feature_repo.columnar.online import ColumnarOnlineStore
from feature_repo.columns import Columns
from feature_repo.settings import Settings
from feature_repo.store import Store
from grpc_api.calls import Call
from grpc_api.messages.describe import Limits
from grpc_api.messages.predict import PredictorScores, PredictQuery
from grpc_api.messages.similar import ByContent, SimilarQuery
from grpc_api.service import ScoringService
from indexers.build import build
from predictors.config import TrainConfig
from predictors.release import create, load
from predictors.train import train
from tests.larder.worlds import ingest_world, unequal

CONTENTS, USERS, NEIGHBOURS = 60, 10, 5
OWN = (PolarsOfflineStore, ColumnarEngine, ColumnarOnlineStore)


@dataclass(frozen=True)
class Outcome:
    """What came of the job: what it ran on, the model's version, its answers, and what a user's request reads."""

    plugins: tuple[type, ...]
    version: str
    predictions: PredictorScores
    neighbours: Mapping[str, list[tuple[str, float]]]
    interest: Columns


def main_job(home: Path) -> Outcome:
    """From an empty workspace to answers."""
    settings = Settings(home=home, embeddings=("minilm",))
    with Catalog(settings.catalog) as catalog:
        ingest_world(settings, catalog, CONTENTS, USERS)
        embed("minilm", settings, catalog)
        store = Store(settings)
        store.apply()
        list(store.materialize())
        build(settings, catalog, "minilm")
        report = train(settings, catalog, store, TrainConfig(iterations=20, folds=2, resamples=5, threads=1))
        create(settings, catalog, ["popularity"])
        service = ScoringService(load(settings, catalog, Store(settings)), Limits())
        ids = [item.content.content_id for item in catalog.items()]
        found = {
            content: service.similar(SimilarQuery(ByContent(content), k=NEIGHBOURS), Call("test")) for content in ids
        }
        provider: Any = store._feast._get_provider()
        return Outcome(
            (type(provider.offline_store), type(provider.batch_engine), type(provider.online_store)),
            report.version,
            service.predict(PredictQuery(("popularity",), [*ids, "nobody"]), Call("test"))["popularity"],
            {content: [(n.content_id, n.score) for n in near.neighbours] for content, near in found.items()},
            store.read("interest", [*ids, "nobody"], next(user.user_id for user in catalog.users())),
        )


def test_stock_plugins_give_the_same_answers(tmp_path: Path, stock_yaml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = main_job(tmp_path / "ours")
    monkeypatch.setenv("FEAST_FS_YAML_FILE_PATH", str(stock_yaml))
    stock = main_job(tmp_path / "stock")
    assert all(map(issubclass, ours.plugins, OWN))
    assert not any(map(issubclass, stock.plugins, OWN))
    assert ours.version == stock.version
    for name in ("statuses", "scores", "probabilities", "classes"):
        np.testing.assert_array_equal(getattr(ours.predictions, name), getattr(stock.predictions, name), err_msg=name)
    assert len(set(ours.predictions.scores[:-1].tolist())) > CONTENTS / 10
    assert ours.neighbours == stock.neighbours
    assert all(len(near) == NEIGHBOURS for near in ours.neighbours.values())
    assert unequal(ours.interest, stock.interest) == []
    for name in ("tags", "minilm", "creator_posts", "recent_contents"):
        assert ours.interest.present[name].any(), f"{name} is nowhere, so its equality says nothing"
