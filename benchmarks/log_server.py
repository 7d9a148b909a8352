"""A workspace to log to, and a server on it whose scores are how many likes of a user it knows of.

Usage: python -m benchmarks.log_server HOME PORT
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from benchmarks.log_sender import CONTENTS, START, USERS, events
from feature_repo.catalog import Catalog
from feature_repo.columns import Columns
from feature_repo.contracts import Content, User
from feature_repo.events import EventLog
from feature_repo.facts import read_facts
from feature_repo.recorder import Recorder
from feature_repo.settings import Settings, load_settings
from feature_repo.statistics import write_statistics
from feature_repo.store import Store
from grpc_api.server import serve
from predictors.base import Scores
from predictors.loaded import Encoder, Encoders, LoadedRelease, Model
from predictors.pins import PredictorPin, ReleaseManifest

SERVICE = "interest"
HISTORY, SEED_BEFORE = 20_000, 1  # events that were there before


class Counting:
    """A predictor whose score is how many likes of the user the features know."""

    name = SERVICE
    service = SERVICE
    version = "v1"
    features = ("user_likes",)
    embeddings: Mapping[str, str] = MappingProxyType({})

    def score(self, columns: Columns) -> Scores:
        """The likes, 0 for unknown users."""
        if not columns.rows:
            return Scores(np.empty(0), np.empty((0, 1)), np.empty(0, np.int64))
        likes = np.nan_to_num(columns.numbers("user_likes"))
        return Scores(likes, np.ones((len(likes), 1)), np.zeros(len(likes), np.int64))


def prepare(settings: Settings) -> None:
    """A workspace with contents, users and a history, online."""
    with Catalog(settings.catalog) as catalog:
        catalog.upsert_contents([Content(f"c{n}", f"Content {n}", START) for n in range(CONTENTS)], "benchmark")
        catalog.upsert_users([User(f"u{n}") for n in range(USERS)])
        list(EventLog(settings.interactions_dir).append(one.interaction for one in events(SEED_BEFORE, HISTORY)))
        list(write_statistics(settings, catalog))
    store = Store(settings)
    store.apply()
    list(store.materialize())


def run(settings: Settings) -> None:
    """Serve a release of the counting predictor until killed."""
    store = Store(settings)
    manifest = ReleaseManifest({}, {}, {SERVICE: PredictorPin("v1", SERVICE)}, {})
    models = {SERVICE: Model(Counting(), {})}
    encoders = Encoders({}, dict[str, Encoder]().__getitem__)
    release = LoadedRelease(manifest, store, models, {}, encoders, read_facts(settings, {}))
    serve(settings, release, open_recorder=lambda: Recorder(settings, store.push))


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    run(load_settings(home=Path(sys.argv[1]), port=int(sys.argv[2]), reuse_port=True))
