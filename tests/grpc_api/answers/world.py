"""A small feed from its media to a service: real embedders, store, predictor and release."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from embedders.runner import run
from feature_repo.catalog import Catalog
from feature_repo.contracts import Content, Modality
from feature_repo.datasets.synthetic import Synthetic
from feature_repo.ingest import ingest
from feature_repo.settings import Settings, load_settings
from feature_repo.statistics import write_statistics
from feature_repo.store import Store
from grpc_api.answers.raw import RawLimits
from grpc_api.calls import Call
from grpc_api.messages.describe import Limits
from grpc_api.messages.predict import PredictorScores, PredictQuery, RawContent
from grpc_api.service import ScoringService
from indexers.build import build
from predictors.config import TrainConfig
from predictors.release import create, load
from predictors.train import train

CALL = Call("test")


class Plain(Synthetic):
    """Contents of which nothing is known that a raw content cannot say: no year or duration of their own, no sound."""

    def contents(self) -> Iterator[Content]:
        for content in super().contents():
            media: dict[Modality, Path] = {kind: path for kind, path in content.media.items() if kind is Modality.IMAGE}
            yield replace(content, attributes={"language": content.attributes["language"]}, media=media)


@dataclass(frozen=True)
class World:
    """The service, what is below it, and what is in it."""

    settings: Settings
    catalog: Catalog
    store: Store
    service: ScoringService
    contents: list[Content]
    users: list[str]

    @property
    def ids(self) -> list[str]:
        return [content.content_id for content in self.contents]

    def predict(self, ids: list[str], raws: tuple[RawContent, ...] = (), user: str | None = None) -> PredictorScores:
        [said] = self.service.predict(PredictQuery(("popularity",), ids, raws, user), CALL).results
        return said

    def add(self, content: Content) -> None:
        """Take a content through the batch steps."""
        self.catalog.upsert_contents([content], "test")
        list(write_statistics(self.settings, self.catalog))
        for name in self.settings.embeddings:
            run(name, self.settings, self.catalog)
        list(self.store.materialize())


@contextmanager
def make_world(home: Path) -> Iterator[World]:
    """Sixty contents with small pictures."""
    settings = load_settings(home=home, precision="float32", workers=1)
    with Catalog(settings.catalog) as catalog:
        ingest(settings, catalog, Plain(60, 10, seed=5, media_dir=home / "synthetic", image_size=32, clips=False))
        for name in settings.embeddings:
            run(name, settings, catalog)
            build(settings, catalog, name)
        store = Store(settings)
        store.apply()
        list(store.materialize())
        train(settings, catalog, store, TrainConfig(iterations=20, folds=2, resamples=5, threads=1))
        create(settings, catalog, ["popularity"])
        service = ScoringService(load(settings, catalog, store), Limits(), RawLimits(seconds=60))
        contents = [item.content for item in catalog.items()]
        yield World(settings, catalog, store, service, contents, [user.user_id for user in catalog.users()])
