"""The task "media": how popular a content will be, from its picture and its text as they are, not as vectors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from embedders.hub import model_source
from embedders.specs import resolve_spec
from embedders.tuned_specs import TUNED_SPECS, tower_names, towers_of
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import CatalogItem
from feature_repo.columns import Columns
from feature_repo.contracts import Modality, digest
from feature_repo.errors import StateError
from feature_repo.settings import Settings
from predictors.config import LabelConfig
from predictors.engagement import EngagementData, Examples, labelled
from predictors.golden import Golden
from predictors.recipes import Fitted, TrainingStore
from predictors.splits import split


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaExamples(Examples):
    """Labelled contents with their media; row i is `items[i]`. `settings` choose the nets and the device.

    There are no columns: the vectors are yet to be made. `digests` are those of the embeddings that are fine-tuned.
    """

    items: tuple[CatalogItem, ...]
    settings: Settings

    @property
    def model(self) -> str:
        """The nets that are fine-tuned, as the settings name them."""
        return model_source(TUNED_SPECS["tuned_image"], self.settings)


@dataclass(frozen=True, slots=True)
class MediaData:
    """The examples, and how many contents have no label."""

    examples: MediaExamples
    unlabelled: int

    @property
    def facts(self) -> Mapping[str, Any]:
        """Rows of each split, contents without a label, and the nets that are fine-tuned."""
        return {**self._data.facts, "model": self.examples.model}

    @property
    def digest(self) -> str:
        """Changes whenever a content, its media, a score, the split or a net does."""
        media = [
            item.media.get(modality) for item in self.examples.items for modality in (Modality.IMAGE, Modality.TEXT)
        ]
        return digest(self._data.digest, json.dumps([medium and medium.digest for medium in media]))

    @property
    def golden(self) -> Golden:
        """Nothing: the fit makes the features, see `Fitted.golden`."""
        return Golden(pl.DataFrame())

    def read(self, fitted: Fitted, rows: npt.NDArray[np.int64], /) -> Iterator[Columns]:
        """As that of `EngagementData`."""
        return self._data.read(fitted, rows)

    def measure(self, fitted: Fitted, config: LabelConfig, /) -> dict[str, Any]:
        """As that of `EngagementData`."""
        return self._data.measure(fitted, config)

    @property
    def _data(self) -> EngagementData:
        return EngagementData(pl.DataFrame(), self.examples, self.unlabelled)


def read_media(
    settings: Settings, catalog: Catalog, store: TrainingStore, service: str, config: LabelConfig
) -> MediaData:
    """Every labelled content with its media as they are now. Raises StateError where there are too few."""
    del store, service
    catalog.refresh_media()
    contents, scores, unlabelled = labelled(catalog, config)
    ids = [content.content_id for content in contents]
    items = catalog.get(ids)
    splits = split(config.split, ids, [content.published_at for content in contents], config.seed)
    if not len(splits.test):
        raise StateError(f"none of {len(ids)} labelled contents fell into the test split: ingest more contents")
    examples = MediaExamples(
        columns=Columns(len(ids), {}, {}),
        contents=contents,
        scores=np.asarray(scores),
        splits=splits,
        digests=tower_names(towers_of(settings, resolve_spec)),
        items=tuple(items[content_id] for content_id in ids),
        settings=settings,
    )
    return MediaData(examples, unlabelled)
