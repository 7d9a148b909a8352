"""Every predictor of the table, asked about no rows at all: arrays of what it says of some rows, without rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from feature_repo.columns import Columns
from predictors.base import PREDICTORS, Predictor, Preparing, Scores
from predictors.end_to_end.net import MODALITIES, Head, Shape
from predictors.end_to_end.predictor import EndToEnd, Scale
from predictors.interest.config import BlendConfig
from predictors.interest.examples import RELATED
from predictors.recipes import named, recipe_of
from predictors.tracking import LocalRun
from tests.predictors.media_world import quick
from tests.predictors.planted import plant
from tests.predictors.planted_tastes import plant_tastes

NET = {"width": 8, "hidden": 8, "components": 4, "epochs": 1, "batch": 32, "negatives": 8, "threads": 1}
FUSION = {"members": 1, "epochs": 1, "width": 8, "heads": 2, "bins": 4, "components": 4, "resamples": 5}
TREES = {"iterations": 10, "patience": 5, "threads": 1, "resamples": 5}
BLEND = BlendConfig(
    members=("interest", "interest_factors", "interest_catboost"),
    options={
        "interest": NET,
        "interest_factors": {"factors": 3, "sweeps": 10, "burn_in": 2, "kept": 5},
        "interest_catboost": {**TREES, "factors": 2, "components": 4, "ranked": 200},
    },
)
PREPARING = [name for name, reference in PREDICTORS.items() if hasattr(named(reference), "score_prepared")]
DIM = 6


@dataclass(frozen=True)
class Asked:
    """A predictor, and rows that it can score."""

    predictor: Predictor
    some: Columns


def engagement(name: str, **config: object) -> Callable[[Path], dict[str, Asked]]:
    def make(folder: Path) -> dict[str, Asked]:
        examples, recipe = plant().examples(), recipe_of(name)
        fitted = recipe.run(examples, recipe.configure(config), LocalRun("v", folder))
        return {name: Asked(fitted.predictor, examples.columns.take([0, 1]))}

    return make


def interest(folder: Path) -> dict[str, Asked]:
    """The blend, and its members."""
    planted = plant_tastes(users=20, contents=40, events=30).examples
    examples = replace(planted, labels={**planted.labels, "reaction": planted.labels["stars"]})
    fitted = recipe_of("interest_blend").run(examples, BLEND, LocalRun("v", folder))
    some = examples.with_related().batch(examples.splits.test[:2])
    return {one.name: Asked(one, some) for one in (fitted.predictor, *fitted.rivals.values())}


def end_to_end(folder: Path) -> dict[str, Asked]:
    """Its head alone: the towers have a part in the training only."""
    config = quick()
    shapes = {modality: Shape(DIM, DIM) for modality in MODALITIES}
    embeddings = dict.fromkeys(("tuned_image", "tuned_text"), "a-digest")
    scale = Scale(0.0, 1.0, (0.0, 1.0, 2.0, 3.0, 4.0))
    predictor = EndToEnd(Head(shapes, config), shapes, config, scale, embeddings, "v")
    there = np.ones(2, bool)
    some = Columns(2, dict.fromkeys(embeddings, np.ones((2, DIM), np.float32)), dict.fromkeys(embeddings, there))
    return {predictor.name: Asked(predictor, some)}


FAMILIES = {
    "popularity": engagement("popularity", bags=2, **TREES),
    "engagement_fusion": engagement("engagement_fusion", **FUSION),
    "interest": interest,
    "engagement_end_to_end": end_to_end,
}


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Asked]:
    return {
        name: asked
        for family, make in FAMILIES.items()
        for name, asked in make(tmp_path_factory.mktemp(family)).items()
    }


@pytest.fixture(autouse=True)
def nothing_is_printed(every: dict[str, Asked], capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    capfd.readouterr()
    yield
    assert capfd.readouterr() == ("", "")


def assert_none_of(none: Scores, some: Scores) -> None:
    pairs = [(none.score, some.score), (none.probabilities, some.probabilities), (none.classes, some.classes)]
    assert none.details.keys() == some.details.keys()
    pairs += [(none.details[name], some.details[name]) for name in some.details]
    for empty, full in pairs:
        assert (empty.shape, empty.dtype) == ((0, *full.shape[1:]), full.dtype)
    assert none.classes.dtype == np.int64
    assert all(values.dtype == np.float64 for values in (none.score, none.probabilities, *none.details.values()))


def test_every_predictor_is_asked(every: dict[str, Asked]) -> None:
    assert every.keys() == PREDICTORS.keys()


@pytest.mark.parametrize("name", PREDICTORS)
def test_no_rows_have_no_scores(every: dict[str, Asked], name: str) -> None:
    predictor, some = every[name].predictor, every[name].some
    assert_none_of(predictor.score(some.take([])), predictor.score(some))


@pytest.mark.parametrize("name", PREPARING)
def test_nor_have_they_when_contents_are_prepared(every: dict[str, Asked], name: str) -> None:
    predictor, some = every[name].predictor, every[name].some
    assert isinstance(predictor, Preparing)
    none = predictor.prepare(some.take([]))
    assert none.shape == (0, predictor.width)
    assert none.dtype == np.float32
    met = predictor.prepare(some.related[RELATED]) if some.related else none
    said = predictor.score_prepared(some, predictor.prepare(some), met)
    assert_none_of(predictor.score_prepared(some.take([]), none, met), said)
    nobody = replace(some.take([]), related={name: met.take([]) for name, met in some.related.items()})
    assert_none_of(predictor.score_prepared(nobody, none, none), said)
