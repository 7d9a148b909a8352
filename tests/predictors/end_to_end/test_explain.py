"""Explanations of `engagement_end_to_end`, whose pictures and texts both say what was planted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
import pytest

from embedders.tuned_specs import ENCODER
from feature_repo.catalog import Catalog
from feature_repo.columns import Columns
from feature_repo.errors import MediaError
from feature_repo.settings import Settings
from predictors.base import load_predictor
from predictors.end_to_end.data import MediaExamples, read_media
from predictors.end_to_end.predictor import EndToEnd
from predictors.end_to_end.train import fit_end_to_end
from predictors.explanation.explain import explain
from predictors.explanation.pictures import picture_maps
from predictors.golden import FILE
from predictors.tracking import LocalRun
from predictors.train import train
from tests.predictors.end_to_end.test_predictor import NoStore
from tests.predictors.media_world import BARE, fill, quick, workspace

BLIND, _ = BARE  # a content without a picture


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Catalog]]:
    settings = workspace(tmp_path_factory.mktemp("world"))
    with Catalog(settings.catalog) as catalog:
        fill(settings, catalog)
        yield settings, catalog


@pytest.fixture(scope="module")
def examples(world: tuple[Settings, Catalog]) -> MediaExamples:
    return read_media(*world, NoStore(), "end_to_end", quick()).examples


@pytest.fixture(scope="module", params=["gated", "cross_attention"])
def made(
    request: pytest.FixtureRequest, examples: MediaExamples, tmp_path_factory: pytest.TempPathFactory
) -> tuple[EndToEnd, Columns]:
    fitted = fit_end_to_end(examples, quick(fusion=request.param), LocalRun("v", tmp_path_factory.mktemp("run")))
    assert isinstance(fitted.predictor, EndToEnd)
    return fitted.predictor, fitted.beside(examples.columns)


def test_contributions_sum_to_the_score(made: tuple[EndToEnd, Columns]) -> None:
    predictor, columns = made
    said = explain(predictor, columns.take(range(30)))
    np.testing.assert_allclose(said.total, predictor.score(columns.take(range(30))).score)
    np.testing.assert_allclose(said.residual, 0, atol=1e-2)
    assert set(said.by_modality) == set(said.gates) == {"image", "text"}
    assert min(values.std() for values in said.by_modality.values()) > 0.1  # both say something


def test_a_medium_that_is_not_there_adds_nothing(made: tuple[EndToEnd, Columns], examples: MediaExamples) -> None:
    predictor, columns = made
    for content_id, modality in BARE.items():
        said = explain(predictor, columns.take([examples.content_ids.index(content_id)]))
        added = {name: float(values[0]) for name, values in said.by_modality.items()}
        assert added.pop(modality.value) == 0
        assert all(added.values())


def test_words_that_attend_show_where(made: tuple[EndToEnd, Columns]) -> None:
    predictor, columns = made
    attention = explain(predictor, columns.take(range(5))).attention
    if "tuned_image_tokens" not in predictor.features:
        assert not attention
        return
    np.testing.assert_allclose(attention["tuned_image"].sum(axis=(1, 2)), 1.0, rtol=1e-5)
    assert attention["tuned_image"].shape == (5, 2, 2)


def test_the_tuned_tower_shows_where_it_looks(world: tuple[Settings, Catalog], examples: MediaExamples) -> None:
    settings, catalog = world
    report = train(settings, catalog, NoStore(), quick(), name=ENCODER)
    predictor = load_predictor(settings, ENCODER)
    said = explain(predictor, Columns.from_frame(pl.read_parquet(report.folder / FILE)[:1]))
    maps = picture_maps(settings, predictor, said, 0, examples.items[0])
    assert [made.method for made in maps] == ["grad-cam", "attention rollout"]
    assert all(made.heat.shape == made.pixels.shape[:2] for made in maps)
    blind = catalog.get([BLIND])[BLIND]
    with pytest.raises(MediaError, match="no image"):
        picture_maps(settings, predictor, said, 0, blind)
