"""How each predictor is made: the table of what it learns from, what configures it and what fits it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.columns import Columns
from feature_repo.errors import unknown_name
from predictors.base import PREDICTORS, Predictor, Savable
from predictors.golden import Golden
from predictors.tracking import Run

if TYPE_CHECKING:
    from feature_repo.catalog import Catalog
    from feature_repo.settings import Settings


class Config(Protocol):
    """What a predictor is fitted with: a frozen dataclass, which refuses what cannot be."""

    @property
    def seed(self) -> int:
        """Of the split and of the fit."""

    def to_json(self) -> dict[str, Any]:
        """Everything that decides what the model is."""


class TrainingStore(Protocol):
    """What training asks of the feature store."""

    def training_frame(self, entity_rows: pl.DataFrame, service: str, /) -> pl.DataFrame:
        """Features of the service as of each row's `event_timestamp`, rows as given."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A predictor that was fitted, what its manifest is to say of it, and simpler ones to be measured beside it.

    Where the predictor has learnt from the validation rows too, `judged` is what it was before: whoever chooses by
    those rows asks that one. Where the fit made features that the store cannot have yet, `columns` are those of the
    examples, row by row, and `golden` takes the place of the data's.
    """

    predictor: Savable
    facts: Mapping[str, Any] = field(default_factory=dict)
    rivals: Mapping[str, Predictor] = field(default_factory=dict)
    columns: Columns | None = None
    golden: Golden | None = None
    judged: Savable | None = None

    def beside(self, columns: Columns) -> Columns:
        """The examples' columns, and beside them those that the fit made."""
        return columns if self.columns is None else columns.beside(self.columns)


class Data(Protocol):
    """What a task is learnt from. `examples` is what its recipes' `fit` takes."""

    @property
    def examples(self) -> Any:
        """Rows, labels and splits."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a manifest is to say of it: how many rows each split has, and how many were left out."""

    @property
    def digest(self) -> str:
        """Changes whenever a feature, a label or the split does."""

    @property
    def golden(self) -> Golden:
        """A few training rows."""

    def read(self, fitted: Fitted, rows: npt.NDArray[np.int64], /) -> Iterator[Columns]:
        """What the fitted predictor reads of these rows of the examples, a part at a time."""

    def measure(self, fitted: Fitted, config: Any, /) -> dict[str, Any]:
        """On the test split: the model's `metrics` with their `intervals`, and the `baselines` beside them."""


class Read(Protocol):
    """Reads what a task is learnt from. Raises StateError where there is too little."""

    def __call__(self, settings: Settings, catalog: Catalog, store: TrainingStore, service: str, config: Any) -> Data:
        """From the event log and the catalog, with the features of that service."""
        ...


@dataclass(frozen=True, slots=True)
class Recipe:
    """`task` is a name of `TASKS`, `service` the feature service that feeds it, `config` the class and `fit` the
    function as "module:name". `libraries` name what else decides what the model is: their versions. `install`, where
    there is one, puts in use what a version brings beside the model: a function of the settings and its folder.
    """

    task: str
    service: str
    config: str
    fit: str
    libraries: tuple[str, ...]
    install: str = ""

    def configure(self, values: Mapping[str, Any]) -> Config:
        """The configuration with these values instead of the defaults. Raises ConfigurationError."""
        return cast(Config, named(self.config)(**values))

    def run(self, examples: Any, config: Any, run: Run) -> Fitted:
        """Fit on the training rows, choose by the validation rows; the test rows are not looked at."""
        return cast(Fitted, named(self.fit)(examples, config, run))


# task -> "module:function", a `Read`
TASKS: Mapping[str, str] = {
    "engagement": "predictors.engagement:read_engagement",
    "media": "predictors.end_to_end.data:read_media",
    "interest": "predictors.interest.data:read_interest",
}

RECIPES: Mapping[str, Recipe] = {
    "popularity": Recipe(
        "engagement",
        "popularity",
        "predictors.config:TrainConfig",
        "predictors.popularity.predictor:fit_popularity",
        ("catboost",),
    ),
    "engagement_fusion": Recipe(
        "engagement", "fusion", "predictors.fusion.config:FusionConfig", "predictors.fusion.fit:fit_fusion", ("torch",)
    ),
    "interest": Recipe(
        "interest",
        "interest",
        "predictors.interest.config:InterestConfig",
        "predictors.interest.fit:fit_interest",
        ("torch",),
    ),
    "interest_factors": Recipe(
        "interest",
        "interest",
        "predictors.interest.config:FactorsConfig",
        "predictors.interest.factors:fit_factors",
        (),
    ),
    "interest_catboost": Recipe(
        "interest",
        "interest",
        "predictors.interest.trees_config:InterestTreesConfig",
        "predictors.interest.catboost:fit_interest_catboost",
        ("catboost", "scipy", "scikit-learn"),
    ),
    "interest_blend": Recipe(
        "interest",
        "interest",
        "predictors.interest.config:BlendConfig",
        "predictors.interest.blend:fit_blend",
        ("torch", "catboost"),
    ),
    "engagement_end_to_end": Recipe(
        "media",
        "end_to_end",
        "predictors.end_to_end.config:EndToEndConfig",
        "predictors.end_to_end.train:fit_end_to_end",
        ("torch", "transformers", "timm"),
        install="predictors.end_to_end.train:install",
    ),
}


def recipe_of(name: str) -> Recipe:
    """How that predictor is made. Raises ConfigurationError for an unknown name."""
    if name not in RECIPES:
        raise unknown_name("predictor", name, PREDICTORS)
    return RECIPES[name]


def named(reference: str) -> Callable[..., Any]:
    """What "module:name" names, imported now."""
    module, _, attribute = reference.partition(":")
    return cast(Callable[..., Any], getattr(importlib.import_module(module), attribute))


def checkpoints(models_dir: Path, name: str, version: str) -> Path:
    """Where a training of that version keeps what a killed one goes on from; removed once it is published."""
    return models_dir / name / f".unfinished-{version}"
