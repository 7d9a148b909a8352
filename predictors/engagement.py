"""The task "engagement": how popular a content will be, from what is known of it at publication."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.catalog import Catalog
from feature_repo.columns import Columns
from feature_repo.contracts import ENGAGEMENT_FITTED, Content, digest
from feature_repo.errors import StateError
from feature_repo.settings import Settings
from feature_repo.vectors import tokens_column
from predictors.base import Predictor
from predictors.config import LabelConfig
from predictors.evaluation.engagement_metrics import evaluate, intervals
from predictors.golden import ROWS, Golden
from predictors.labels import CLASSES, Classes, EngagementScore, Floats, Quintiles
from predictors.recipes import Fitted, TrainingStore
from predictors.splits import Splits, split

LEAST_LABELLED = 50


@dataclass(frozen=True, slots=True)
class Examples:
    """Labelled contents: row i of `columns` is `contents[i]`, whose score is `scores[i]`; n rows in all.

    `columns` are a feature service's as of publication, `digests` the spec of each embedding among them. `tokens` is
    how many a content has of each embedding whose tokens are among them.
    """

    columns: Columns
    contents: tuple[Content, ...]
    scores: Floats
    splits: Splits
    digests: Mapping[str, str]
    tokens: Mapping[str, int] = field(default_factory=dict)

    @property
    def content_ids(self) -> list[str]:
        """Ids of the rows."""
        return [content.content_id for content in self.contents]


@dataclass(frozen=True, slots=True)
class EngagementData:
    """The store's frame, the examples made of it, and how many contents have no label."""

    frame: pl.DataFrame
    examples: Examples
    unlabelled: int

    @property
    def facts(self) -> Mapping[str, Any]:
        """Rows of each split and when they were published, and contents without a label."""
        splits = self.examples.splits
        times = np.array([content.published_at.replace(tzinfo=None) for content in self.examples.contents], "M8[us]")
        return {"rows": splits.sizes, "spans": splits.spans(times), "unlabelled": self.unlabelled}

    @property
    def digest(self) -> str:
        """Changes whenever a content, a feature, a score or the split does."""
        examples, columns = self.examples, self.examples.columns
        values = [
            json.dumps(value.tolist(), default=str) if value.dtype == object else value.tobytes()
            for value in columns.values.values()
        ]
        rows = [part.tobytes() for part in (examples.splits.train, examples.splits.valid, examples.splits.test)]
        made = [part for content in examples.contents for part in (content.content_id, content.text)]
        specs = json.dumps(dict(examples.digests), sort_keys=True)
        return digest(specs, *columns.values, *made, examples.scores.tobytes(), *rows, *values)

    @property
    def golden(self) -> Golden:
        """The first training rows."""
        return Golden(self.frame[self.examples.splits.train[:ROWS]])

    def read(self, fitted: Fitted, rows: npt.NDArray[np.int64], /) -> Iterator[Columns]:
        """The columns of these rows."""
        yield fitted.beside(self.examples.columns).take(rows)

    def measure(self, fitted: Fitted, config: LabelConfig, /) -> dict[str, Any]:
        """On the test split: the model's metrics with intervals; the naive baselines' and the rivals' beside them."""
        examples, test = self.examples, self.examples.splits.test
        learnt = examples.scores[examples.splits.train]
        quintiles = Quintiles.fit(learnt)
        truth, columns = examples.scores[test], fitted.beside(examples.columns).take(test)
        classes = quintiles.classes(truth)

        def outcome(predictor: Predictor) -> tuple[Floats, Floats, Classes, Classes]:
            said = predictor.score(columns)
            return truth, said.score, classes, said.classes

        own = outcome(fitted.predictor)
        spread = intervals(*own, resamples=config.resamples, seed=config.seed)
        majority = np.bincount(quintiles.classes(learnt), minlength=CLASSES).argmax()
        # always the training mean and the training split's most frequent class
        mean = evaluate(truth, np.full(len(test), learnt.mean()), classes, np.full(len(test), majority))
        rivals = {name: evaluate(*outcome(rival)) for name, rival in fitted.rivals.items()}
        return {
            "quintile_edges": list(quintiles.edges),
            "metrics": evaluate(*own),
            "intervals": {name: list(bounds) for name, bounds in spread.items()},
            "baselines": {"mean": mean, **rivals},
        }


def read_engagement(
    settings: Settings, catalog: Catalog, store: TrainingStore, service: str, config: LabelConfig
) -> EngagementData:
    """Every labelled content with the service's features as of its publication.

    Raises StateError where there are too few, or where an embedding is not served yet.
    """
    del settings
    contents, scores, unlabelled = labelled(catalog, config)
    times = [content.published_at for content in contents]
    ids = [content.content_id for content in contents]
    entity_rows = pl.DataFrame(
        {"content_id": ids, "creator_id": [c.creator_id or "" for c in contents], "event_timestamp": times},
        schema_overrides={"event_timestamp": pl.Datetime("us", "UTC")},
    )
    frame = store.training_frame(entity_rows, service)
    registered = catalog.embeddings().items()
    digests = {name: str(row.spec_digest) for name, row in registered if name not in ENGAGEMENT_FITTED}
    tokens = {name: int(row.tokens) for name, row in registered if tokens_column(name) in frame.columns}
    if unread := sorted(set(digests) - set(frame.columns)):
        raise StateError(f"the store does not serve {', '.join(unread)} yet: run `larder apply`")
    splits = split(config.split, ids, times, config.seed)
    if not len(splits.test):
        raise StateError(f"none of {len(ids)} labelled contents is in the test split: ingest more, or name some there")
    features = Columns.from_frame(frame.drop("creator_id"))
    return EngagementData(frame, Examples(features, contents, scores, splits, digests, tokens), unlabelled)


def labelled(catalog: Catalog, config: LabelConfig) -> tuple[tuple[Content, ...], Floats, int]:
    """Contents with a label, their scores, and how many have none. Raises StateError where there are too few."""
    score = EngagementScore(config.weights)
    scored = [(item.content, score(item.content.counters)) for item in catalog.items()]
    kept = [(content, value) for content, value in scored if np.isfinite(value)]
    if len(kept) < LEAST_LABELLED:
        raise StateError(
            f"{len(kept)} of {len(scored)} contents have a counter to learn from, {LEAST_LABELLED} are needed: "
            "run `larder ingest` on more; counters that count: "
            + ", ".join(sorted(name for name, w in config.weights.items() if w > 0))
        )
    return tuple(content for content, _ in kept), np.array([value for _, value in kept]), len(scored) - len(kept)
