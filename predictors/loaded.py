"""A release in memory: the store, models, indexes and embedders that match, as the scoring service uses them."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.catalog_rows import CatalogItem
from feature_repo.columns import Columns, Users, Wanted
from feature_repo.contracts import EmbeddingSpec, Modality
from feature_repo.errors import StateError
from feature_repo.facts import Facts
from indexers.search import VectorIndex
from predictors.base import Predictor, Scores
from predictors.experiments import Experiment
from predictors.pins import EmbeddingPin, ReleaseManifest
from predictors.prepared import Prepared

# A grey PNG of one pixel
_DOT = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==")


class FeatureReader(Protocol):
    """The online store, as the service sees it."""

    def read(
        self,
        service: str,
        content_ids: Sequence[str],
        user_id: Users = None,
        *,
        wanted: Wanted | None = None,
        described: pl.DataFrame | None = None,
    ) -> Columns:
        """One row a content, in order; nothing is present in an unknown one. All features, or at least those wanted.

        Where contents are `described`, those features stand for what the store has of them.
        """
        ...


class VersionedReader(FeatureReader, Protocol):
    """The online store, as a release sees it."""

    def pinned(self, specs: Mapping[str, tuple[str, int]], /) -> FeatureReader:
        """It, reading each of these embeddings in the version of that spec digest and length. Raises StateError."""
        ...


class Encoder(Protocol):
    """An embedder, as the service sees it."""

    @property
    def spec(self) -> EmbeddingSpec:
        """What its vectors are."""
        ...

    def embed_text(self, text: str) -> npt.NDArray[np.float32]:
        """(dim,) float32."""
        ...

    def embed_image(self, data: bytes) -> npt.NDArray[np.float32]:
        """(dim,) float32."""
        ...

    def embed(self, item: CatalogItem) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
        """The vector of a content, (dim,) float32, and its tokens in a row, where the spec has any."""
        ...


class Encoders:
    """The release's embedders, each loaded when it is first asked for, once, whichever thread asks."""

    def __init__(self, pins: Mapping[str, EmbeddingPin], load: Callable[[str], Encoder]) -> None:
        self._pins = pins
        self._load = load
        self._loaded: dict[str, Encoder] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Encoder:
        """The embedder. Raises StateError where it is not of the pinned spec, WeightsError without its weights."""
        with self._lock:
            if name not in self._loaded:
                encoder = self._load(name)
                pinned = self._pins[name].spec_digest
                if encoder.spec.digest != pinned:
                    raise StateError(
                        f"embedder {name} is of spec {encoder.spec.digest}, the release pins {pinned}: "
                        f"run `larder embed {name}`, then `larder release`"
                    )
                self._loaded[name] = encoder
            return self._loaded[name]

    def warm(self) -> None:
        """Load every embedder that a query can need, and what it loads at its first query."""
        for name, pin in self._pins.items():
            if Modality.TEXT in pin.query_modalities:
                self.get(name).embed_text("warm")
            if Modality.IMAGE in pin.query_modalities:
                self.get(name).embed_image(_DOT)


@dataclass(frozen=True, slots=True)
class Model:
    """A predictor in memory, what it measured when it was trained, and what it made of contents ahead of requests."""

    predictor: Predictor
    metrics: Mapping[str, float]
    prepared: Prepared | None = None

    @property
    def wanted(self) -> Wanted:
        """What `score` reads."""
        if self.prepared is not None:
            return self.prepared.wanted
        features = frozenset(self.predictor.features)
        return Wanted(features, features)

    def score(self, columns: Columns) -> Scores:
        """Score every row; see `Predictor.score`."""
        return self.predictor.score(columns) if self.prepared is None else self.prepared.score(columns)

    @property
    def class_count(self) -> int:
        """Number of classes: even of no rows, the probabilities have a column for each."""
        return int(self.predictor.score(Columns(0, {}, {})).probabilities.shape[1])


@dataclass(frozen=True)
class LoadedRelease:
    """A release in memory: its parts match. `users` has, for each embedding of users, the contents in its space, lifted
    (see `indexers.inner_product`); `facts` are along these and the other indexes. With the release in use comes the
    experiment that runs, so that both are swapped in one step.
    """

    manifest: ReleaseManifest
    store: FeatureReader
    models: Mapping[str, Model]
    indexes: Mapping[str, VectorIndex]
    encoders: Encoders
    facts: Facts
    users: Mapping[str, VectorIndex] = field(default_factory=dict)
    experiment: LoadedExperiment | None = None

    @cached_property  # a digest, and every call asks for it
    def version(self) -> str:
        """Version of the manifest."""
        return self.manifest.version

    @property
    def every(self) -> tuple[LoadedRelease, ...]:
        """It, and then the releases of the experiment's arms that are others, each once."""
        arms = self.experiment.releases if self.experiment else ()
        others = {arm.version: arm for arm in arms if arm.version != self.version}
        return (self, *others.values())


@dataclass(frozen=True, slots=True)
class LoadedExperiment:
    """An experiment, and the release of each of its arms."""

    design: Experiment
    releases: tuple[LoadedRelease, ...]
