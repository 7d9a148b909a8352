"""A workspace whose users go round the contents in one order, so that what comes next is certain, and it looks like
nothing that came before: contents have random vectors. Its user model, store and indexes are real; its predictor finds
all contents equally good, so that Recommend answers in the order of the candidates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from embedders.specs import SPECS
from embedders.train_user_sequence import FitConfig, fit_user_sequence
from embedders.user_runner import run_users
from feature_repo.catalog import Catalog
from feature_repo.columns import Columns
from feature_repo.facts import read_facts
from feature_repo.settings import Settings, load_settings
from feature_repo.statistics import write_statistics
from feature_repo.store import Store
from indexers.build import build
from indexers.search import VectorIndex
from predictors import user_spaces
from predictors.base import Scores
from predictors.loaded import Encoders, LoadedRelease, Model
from predictors.pins import EmbeddingPin, PredictorPin, ReleaseManifest
from tests.embedders.user_world import ITEMS, TINY, add_events, add_items, walks
from tests.grpc_api.parts import Angles

USERS, EVENTS = 30, 20
NAME = "user_sequence"
SPEC = SPECS["minilm"]


class Alike:
    """Every content is as good as every other."""

    name = "interest"
    service = "interest"
    version = "v1"
    features = ("title",)
    embeddings: Mapping[str, str] = {}

    def score(self, columns: Columns) -> Scores:
        rows = columns.rows
        return Scores(np.zeros(rows), np.ones((rows, 1)), np.zeros(rows, np.int64))


@dataclass(frozen=True)
class Walkers:
    """The workspace, and the contents that each of u00 … u29 met, in their order."""

    settings: Settings
    catalog: Catalog
    store: Store
    met: Mapping[str, list[str]]

    def after(self, user: str) -> str:
        """The content that comes next."""
        return f"c{(int(self.met[user][-1][1:]) + 1) % ITEMS:02d}"

    def learn(self, config: FitConfig) -> None:
        """Fit the users' model and bring their vectors online."""
        fit_user_sequence(self.settings, self.catalog, config, [SPEC.name])
        run_users(NAME, self.settings, self.catalog)
        self.store.apply()
        list(self.store.materialize())

    def release(self, personal: bool = True) -> LoadedRelease:
        """What is there, with the users' vectors or without."""
        settings, catalog = self.settings, self.catalog
        embeddings = {SPEC.name: EmbeddingPin(SPEC.digest, SPEC.dim)}
        index = VectorIndex.load(settings, SPEC.name)
        pins = {NAME: user_spaces.pin(settings, catalog, NAME)} if personal else {}
        users = {name: VectorIndex.load(settings, name, pin.index) for name, pin in pins.items()}
        manifest = ReleaseManifest(
            embeddings,
            {SPEC.name: index.manifest.version},
            {"interest": PredictorPin("v1", "interest")},
            {"content": SPEC.name},
            pins,
        )
        facts = read_facts(settings, {one.manifest.embedding: one.content_ids for one in (index, *users.values())})
        encoders = Encoders(embeddings, lambda name: Angles())
        models = {"interest": Model(Alike(), {})}
        store = self.store.pinned(manifest.specs)
        return LoadedRelease(manifest, store, models, {SPEC.name: index}, encoders, facts, users)


@contextmanager
def make_walkers(home: Path) -> Iterator[Walkers]:
    """A new workspace, its users' model fitted."""
    settings = load_settings(home=home, port=0)
    events = walks(USERS, EVENTS)
    met: dict[str, list[str]] = {}
    for one in events:
        met.setdefault(one.user_id, []).append(one.content_id)
    with Catalog(settings.catalog) as catalog:
        add_items(settings, catalog, without=0, spec=SPEC)
        add_events(settings, events)
        list(write_statistics(settings, catalog))
        build(settings, catalog, SPEC.name)
        made = Walkers(settings, catalog, Store(settings), met)
        made.learn(replace(TINY, epochs=15, patience=15, rate=1e-2, dropout=0.0))
        yield made
