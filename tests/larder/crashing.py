"""What the children of the crash tests do.

Importing this module loads the libraries that the steps load, those that they load late too, so that a fork of a
process that has imported it begins to work at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from feature_repo.catalog import Catalog
from feature_repo.datasets.synthetic import Synthetic
from feature_repo.ingest import ingest
from feature_repo.settings import load_settings
from larder import steps
from larder.display import Display
from larder.steps import Workspace
from predictors.config import TrainConfig

LIBRARIES = (
    "embedders.image",
    "embedders.runner",
    "embedders.text",
    "feast.infra.registry.sql",
    "feature_repo.columnar.engine",
    "feature_repo.columnar.offline",
    "feature_repo.columnar.online",
    "feature_repo.store",
    "feature_repo.workspace",
    "indexers.build",
    "predictors.popularity.predictor",
    "predictors.train",
    "transformers.models.bert.modeling_bert",
)
for library in LIBRARIES:
    import_module(library)


def _feed(space: Workspace) -> None:
    """Contents whose pictures lie outside the workspace, so that copies of it share them."""
    media = space.settings.home.parent / "media"
    dataset = Synthetic(60, 16, seed=3, media_dir=media, image_size=64, clips=False)
    ingest(space.settings, space.catalog, dataset)


def _embed(space: Workspace) -> None:
    for name in space.settings.embeddings:
        steps.embed(space, name)


def _index(space: Workspace) -> None:
    for name in space.settings.embeddings:
        for kind in ("exact", "hnsw"):
            steps.index(space, name, kind)


# What a child can be told to do; the steps themselves are those that the command line runs.
STEPS: Mapping[str, Callable[[Workspace], object]] = {
    "feed": _feed,
    "ingest": lambda space: steps.ingest(space, "synthetic", None, contents=16, users=8, seed=3),
    "embed": _embed,
    "embed texts": lambda space: steps.embed(space, "minilm"),
    "apply": steps.apply,
    "materialize": steps.materialize,
    "index": _index,
    "train": lambda space: steps.train(space, "popularity", TrainConfig(iterations=10, resamples=5, threads=1, bags=1)),
}


def work(step: str, home: Path) -> None:
    """Run one step on the workspace at `home`; its partitions are small, so that there are several."""
    settings = load_settings(home=home, partition_size=8, workers=2)
    with Catalog(settings.catalog) as catalog:
        STEPS[step](Workspace(settings, catalog, Display()))
