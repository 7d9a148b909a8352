"""Explanations of contents' predictors on planted data, where what counts is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from feature_repo.columns import Columns
from feature_repo.errors import ConfigurationError
from predictors.config import TrainConfig
from predictors.explanation.explain import Explanation, Feature, explain
from predictors.fusion.config import FusionConfig
from predictors.fusion.fit import fit_fusion
from predictors.fusion.predictor import Fusion
from predictors.popularity.features import popularity_features
from predictors.popularity.predictor import Popularity
from predictors.tracking import LocalRun
from tests.predictors.planted import DIM, Planted

IMAGE, TEXT = "efficientnet_lite0", "minilm"
TOKENS, TOKEN_DIM = 4, 6
QUICK = FusionConfig(
    members=2, epochs=25, patience=25, learning_rate=0.01, dropout=0.1, modality_dropout=0.1, batch=32, resamples=5,
    width=8, heads=2, bins=4, components=4, token_components=6,
)  # fmt: skip


@pytest.fixture(scope="module")
def popularity(planted: Planted, quick: TrainConfig) -> Popularity:
    features = popularity_features(["vec"])
    return Popularity.fit(planted.examples(), features, quick, LocalRun("v", Path("unused")))[0]


@pytest.fixture(scope="module")
def pictured(planted: Planted) -> Columns:
    """The planted vectors are pictures', whose tokens say nothing; those of texts are random, and so are the tokens."""
    rng = np.random.default_rng(1)
    columns = planted.examples().columns
    rows = columns.rows
    text = rng.normal(size=(rows, DIM)).astype(np.float32)
    tokens = {name: rng.normal(size=(rows, TOKENS * TOKEN_DIM)).astype(np.float32) for name in (IMAGE, TEXT)}
    text[6::10] = tokens[TEXT][6::10] = np.nan
    columns.values.update({IMAGE: columns.vectors("vec"), TEXT: text})
    columns.values.update({f"{name}_tokens": values for name, values in tokens.items()})
    return columns


@pytest.fixture(scope="module")
def fusion(planted: Planted, pictured: Columns, tmp_path_factory: pytest.TempPathFactory) -> Fusion:
    digests, tokens = dict.fromkeys((IMAGE, TEXT), "a"), dict.fromkeys((IMAGE, TEXT), TOKENS)
    examples = replace(planted.examples(), columns=pictured, digests=digests, tokens=tokens)
    predictor = fit_fusion(examples, QUICK, LocalRun("v", tmp_path_factory.mktemp("run"))).predictor
    assert isinstance(predictor, Fusion)
    return predictor


def strongest(said: Explanation) -> Feature:
    return said.features[int(np.abs(said.contributions - said.contributions.mean(axis=0)).mean(axis=0).argmax())]


def test_contributions_of_trees_sum_to_the_score(planted: Planted, popularity: Popularity) -> None:
    columns = planted.examples().columns.take(range(30))
    said = explain(popularity, columns)
    assert said.contributions.shape == (30, len(said.features))
    np.testing.assert_allclose(said.base + said.contributions.sum(axis=1), popularity.score(columns).score)
    np.testing.assert_allclose(said.residual, 0, atol=1e-9)
    np.testing.assert_allclose(sum(said.by_modality.values()), said.contributions.sum(axis=1))


def test_the_planted_embedding_speaks_loudest_in_words_that_can_be_read(
    planted: Planted, popularity: Popularity
) -> None:
    said = explain(popularity, planted.examples().columns)
    spread = {name: values.std() for name, values in said.by_modality.items()}
    assert spread["vec"] + spread["facts and vectors together"] > 3 * spread["facts"]
    names = [feature.name for feature in said.features]
    assert {"vec, ridge score", "duration s", "tag drama", "language en", "facts and vectors, kernel score"} <= set(
        names
    )
    assert len(set(names)) == len(names)


def test_contributions_of_a_head_sum_to_the_score(pictured: Columns, fusion: Fusion) -> None:
    said = explain(fusion, pictured.take(range(20)))
    np.testing.assert_allclose(said.total, fusion.score(pictured.take(range(20))).score)
    np.testing.assert_allclose(said.residual, 0, atol=1e-3)
    np.testing.assert_allclose(sum(said.gates.values()), 1.0)
    assert strongest(said) == Feature("efficientnet_lite0 image, ridge score", "image")


def test_of_the_facts_the_planted_one_counts_most(pictured: Columns, fusion: Fusion) -> None:
    said = explain(fusion, pictured)
    spread = {f.name: said.contributions[:, at].std() for at, f in enumerate(said.features) if f.modality == "facts"}
    assert max(spread, key=lambda name: spread[name]) == "duration s"


def test_a_modality_that_was_not_given_adds_nothing(pictured: Columns, fusion: Fusion) -> None:
    lacks = np.flatnonzero(np.isnan(pictured.vectors(TEXT)).any(axis=1))[:3]
    has = np.flatnonzero(np.isfinite(pictured.vectors(TEXT)).all(axis=1))[:3]
    assert (explain(fusion, pictured.take(lacks)).by_modality["text"] == 0).all()
    assert (np.abs(explain(fusion, pictured.take(has)).by_modality["text"]) > 0).all()


def test_a_row_is_explained_the_same_alone_and_every_time(pictured: Columns, fusion: Fusion) -> None:
    rows = pictured.take(range(5))
    together = explain(fusion, rows)
    np.testing.assert_array_equal(explain(fusion, rows).contributions, together.contributions)
    np.testing.assert_allclose(explain(fusion, rows.take([3])).contributions[0], together.contributions[3], atol=1e-9)


def test_directions_are_where_the_score_grows(pictured: Columns, fusion: Fusion) -> None:
    rows = pictured.take(range(8))
    direction = explain(fusion, rows).directions[IMAGE]
    before, step = fusion.score(rows).score, 1e-2
    rows.values[IMAGE] = rows.vectors(IMAGE) + step * direction
    known = np.isfinite(direction).all(axis=1) & rows.present["vec"]
    grown = (fusion.score(rows).score - before) / step
    np.testing.assert_allclose(grown[known], np.vecdot(direction, direction)[known], rtol=0.05)


def test_attention_is_a_map_of_shares(pictured: Columns, fusion: Fusion) -> None:
    attention = explain(fusion, pictured.take(range(4))).attention
    assert set(attention) == {IMAGE}
    assert attention[IMAGE].shape == (4, 2, 2)
    seen = np.isfinite(pictured.vectors(IMAGE)[:4]).all(axis=1)
    assert (attention[IMAGE][seen] > 0).all()
    assert (attention[IMAGE].sum(axis=(1, 2)) < 1).all()  # the rest is looked for in "nothing"
    np.testing.assert_array_equal(attention[IMAGE][~seen], 0)


def test_an_explanation_is_json(pictured: Columns, fusion: Fusion) -> None:
    said = explain(fusion, pictured.take(range(2)))
    row = json.loads(json.dumps(said.to_json(1)))
    assert set(row) == {
        "method", "scale", "total", "base", "residual", "by_modality", "contributions", "gates", "attention",
    }  # fmt: skip
    values = [one["value"] for one in row["contributions"]]
    assert row["base"] + sum(values) + row["residual"] == pytest.approx(row["total"])
    assert values == sorted(values, key=abs, reverse=True)
    assert sum(row["by_modality"].values()) == pytest.approx(sum(values))
    assert [one["name"] for one in said.to_json(1, 3)["contributions"]] == [f.name for f, _ in said.top(1, 3)]


def test_a_predictor_that_nothing_explains_is_refused(fusion: Fusion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fusion, "name", "oracle")
    with pytest.raises(ConfigurationError, match="unknown predictor to explain 'oracle'; valid: engagement_end_to_end"):
        explain(fusion, Columns(0, {}, {}))
