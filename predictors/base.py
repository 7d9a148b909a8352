"""What a predictor is, and the table of them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Columns, Wanted
from feature_repo.errors import unknown_name
from feature_repo.settings import Settings
from predictors import golden, versions


@dataclass(frozen=True, slots=True)
class Scores:
    """What a predictor says of n rows: `score` (n,) float64, `probabilities` (n, classes) float64 that sum to 1
    per row, and `classes` (n,) int64, the likeliest class. `details` are further numbers a row by name, (n,) or (n, k)
    float64: gates, other heads.
    """

    score: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64]
    classes: npt.NDArray[np.int64]
    details: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)


class Predictor(Protocol):
    """A trained model. `service` is the feature service it is fed from, `features` the columns of it that it reads,
    `embeddings` the digest of the spec behind each vector column.
    """

    name: str
    service: str

    @property
    def version(self) -> str:
        """Names what it was trained from; the name of its folder."""

    @property
    def features(self) -> tuple[str, ...]:
        """Columns that `score` reads."""

    @property
    def embeddings(self) -> Mapping[str, str]:
        """Embedding name -> digest of the spec that its vectors were made by."""

    def score(self, columns: Columns) -> Scores:
        """Score every row. Raises StateError where a feature is missing or a vector has another length."""


@runtime_checkable
class Preparing(Predictor, Protocol):
    """A predictor that makes `width` numbers of each content, whoever asks, so that they can be made once a release."""

    @property
    def width(self) -> int:
        """Numbers of a content."""

    @property
    def prepared(self) -> tuple[str, ...]:
        """Columns that `prepare` reads beside `content_id`: of contents, and unless it looks at users' histories of
        their creators.
        """

    @property
    def live(self) -> Wanted:
        """What `score_prepared` reads beside."""

    def prepare(self, contents: Columns) -> npt.NDArray[np.float32]:
        """(n, width): a content's numbers hang on its own row alone. Raises StateError as `score` does."""

    def score_prepared(
        self, columns: Columns, contents: npt.NDArray[np.float32], met: npt.NDArray[np.float32]
    ) -> Scores:
        """`score` of rows whose contents are prepared, (n, width), and so are those that their user's history names,
        `columns.related`, (m, width).
        """


class Savable(Predictor, Protocol):
    """A predictor that was just fitted."""

    def save(self, folder: Path) -> None:
        """Write the model's files into `folder`; the same model gives the same bytes."""


class Loadable(Protocol):
    """The class of a predictor, as `PREDICTORS` names it."""

    def load(self, folder: Path) -> Predictor:
        """The predictor saved in `folder`. Raises StateError where a file cannot be read."""


# name -> "module:Class", imported when the predictor is first loaded
PREDICTORS: Mapping[str, str] = {
    "popularity": "predictors.popularity.predictor:Popularity",
    "engagement_fusion": "predictors.fusion.predictor:Fusion",
    "interest": "predictors.interest.predictor:Interest",
    "interest_factors": "predictors.interest.factors:InterestFactors",
    "interest_catboost": "predictors.interest.catboost:InterestCatBoost",
    "interest_blend": "predictors.interest.blend:InterestBlend",
    "engagement_end_to_end": "predictors.end_to_end.predictor:EndToEnd",
}


def load_predictor(settings: Settings, name: str, version: str = "current") -> Predictor:
    """A trained predictor, checked: its files are those of its manifest and it scores its golden batch as it did.

    Raises ConfigurationError for an unknown name, NotFoundError for an unknown version, StateError where
    nothing is trained yet or a check fails.
    """
    if name not in PREDICTORS:
        raise unknown_name("predictor", name, PREDICTORS)
    folder = versions.find(settings, name, version)
    manifest = versions.verify(folder)
    module, _, attribute = PREDICTORS[name].partition(":")
    predictor = cast(Loadable, getattr(importlib.import_module(module), attribute)).load(folder)
    versions.require_agreement(manifest, folder, identity(predictor))
    golden.check_golden(folder, predictor)
    return predictor


def identity(predictor: Predictor) -> dict[str, object]:
    """What a predictor says of itself, as its manifest holds it."""
    return {
        "name": predictor.name,
        "version": predictor.version,
        "service": predictor.service,
        "features": list(predictor.features),
        "embeddings": dict(predictor.embeddings),
    }
