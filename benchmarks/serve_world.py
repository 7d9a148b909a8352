"""A workspace to serve from: a synthetic feed of any size with drawn vectors, its models and its release.

Contents have no media, and the models learn from a small feed that was there first: what a vector or a tree says is no
matter for how long it takes to serve.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np

from embedders.specs import SPECS
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import CatalogItem, LedgerRow
from feature_repo.contracts import Modality
from feature_repo.datasets.synthetic import Synthetic
from feature_repo.ingest import ingest
from feature_repo.settings import Settings
from feature_repo.store import Store
from feature_repo.vectors import vectors_dir, write_partition
from indexers.build import build
from predictors.config import TrainConfig
from predictors.interest.config import InterestConfig
from predictors.recipes import Config
from predictors.release import create, prepare
from predictors.train import train

_AT_ONCE = 10_000
_DAYS = 2  # of events: some 50 a user
SEARCHED = "minilm"  # the embedding that Similar is asked by; the others' indexes take no time to build
_DIRECTIONS, _NOISE = 24, np.float32(1)  # as those of real vectors, most of what varies lies along a few
_LEARNT = (500, 60)  # contents and users that models learn from
_PREDICTORS: dict[str, Config] = {
    "popularity": TrainConfig(iterations=200, kernel_centres=256, resamples=1, bags=1, refit=False),
    "interest": InterestConfig(epochs=1, resamples=1),
}


class Feed(Synthetic):
    """The synthetic feed without its files."""

    def _media(self, index: int) -> Mapping[Modality, Path]:
        return {}


def make(settings: Settings, contents: int, users: int) -> None:
    """Fill the workspace up to its release, unless it was."""
    done = settings.home / "served"
    if done.exists():
        return
    if settings.models_dir.exists():
        raise SystemExit(f"{settings.home} was not finished: remove it, so that models learn from the small feed again")
    with Catalog(settings.catalog) as catalog:
        store = Store(settings)
        _fill(settings, catalog, *_LEARNT)
        store.apply()
        for name, config in _PREDICTORS.items():
            train(settings, catalog, store, config, name=name)
        _fill(settings, catalog, contents, users)
        for name in settings.embeddings:
            build(settings, catalog, name, "auto" if name == SEARCHED else "exact")
        list(store.materialize())
        prepare(settings, catalog, store, create(settings, catalog, list(_PREDICTORS)))
    done.touch()


def _fill(settings: Settings, catalog: Catalog, contents: int, users: int) -> None:
    feed = Feed(contents, users, media_dir=settings.home / "media", days=_DAYS, clips=False)
    ingest(settings, catalog, feed)
    for name in settings.embeddings:
        _draw_vectors(settings, catalog, name)


def _draw_vectors(settings: Settings, catalog: Catalog, embedding: str) -> None:
    spec, items = SPECS[embedding], catalog.items()
    rng = np.random.default_rng(spec.dim)
    axes = rng.standard_normal((_DIRECTIONS, spec.dim), np.float32)
    catalog.register_embedding(spec)
    for number, part in enumerate(_parts(items)):
        ids = [item.content.content_id for item in part]
        published = [item.content.published_at for item in part]
        matrix = rng.standard_normal((len(part), _DIRECTIONS), np.float32) @ axes
        matrix += _NOISE * rng.standard_normal(matrix.shape, np.float32)
        path = vectors_dir(settings, embedding, spec.digest) / f"p{number:03}.parquet"
        write_partition(path, embedding, ids, published, [item.updated_at for item in part], matrix)
        catalog.record(embedding, spec.digest, [LedgerRow(one, "drawn", path.stem) for one in ids])


def _parts(items: Iterator[CatalogItem]) -> Iterator[list[CatalogItem]]:
    while part := list(islice(items, _AT_ONCE)):
        yield part
