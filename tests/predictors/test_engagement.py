import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_repo.catalog import Catalog
from feature_repo.contracts import Content
from feature_repo.settings import Settings
from predictors.config import TrainConfig
from predictors.engagement import EngagementData, Examples, read_engagement
from predictors.recipes import recipe_of
from predictors.tracking import LocalRun
from tests.predictors.planted import Planted, plant


def data_of(planted: Planted) -> EngagementData:
    return EngagementData(planted.frame, planted.examples(), 0)


@pytest.mark.parametrize("part", ["vec", "duration_s", "language", "scores", "splits", "contents", "digests"])
def test_the_digest_sees_every_part(part: str) -> None:
    data, other = data_of(plant()), data_of(plant())
    assert data.digest == other.digest
    examples = other.examples
    if part == "scores":
        examples.scores[0] += 1
    elif part == "splits":
        splits = dataclasses.replace(examples.splits, test=examples.splits.test[1:])
        examples = dataclasses.replace(examples, splits=splits)
    elif part == "contents":
        first = dataclasses.replace(examples.contents[0], title="another")
        examples = dataclasses.replace(examples, contents=(first, *examples.contents[1:]))
    elif part == "digests":
        examples = dataclasses.replace(examples, digests={"vec": "another"})
    else:
        examples.columns.values[part][0] = "xx" if part == "language" else 0.0
    assert isinstance(examples, Examples)
    assert data.digest != dataclasses.replace(other, examples=examples).digest


def test_only_the_training_rows_say_where_classes_begin(planted: Planted, quick: TrainConfig) -> None:
    data, other = data_of(planted), data_of(plant())
    other.examples.scores[other.examples.splits.valid] += 50.0
    other.examples.scores[other.examples.splits.test] += 50.0
    fitted = recipe_of("popularity").run(data.examples, quick, LocalRun("v", Path("unused")))
    assert data.measure(fitted, quick)["quintile_edges"] == other.measure(fitted, quick)["quintile_edges"]


def test_contents_without_a_counter_are_left_out(
    settings: Settings, catalog: Catalog, planted: Planted, quick: TrainConfig
) -> None:
    class Store:
        def training_frame(self, entity_rows: pl.DataFrame, service: str, /) -> pl.DataFrame:
            return entity_rows.with_columns(duration_s=pl.lit(1.0))

    bare = Content("bare", "no counters", planted.published[0])
    catalog.upsert_contents([*planted.contents(), bare], "planted")
    data = read_engagement(settings, catalog, Store(), "popularity", quick)
    assert data.unlabelled == data.facts["unlabelled"] == 1
    assert data.examples.content_ids == planted.content_ids
    np.testing.assert_allclose(data.examples.scores, planted.scores)
    assert set(data.examples.columns.values) == {"content_id", "event_timestamp", "duration_s"}
