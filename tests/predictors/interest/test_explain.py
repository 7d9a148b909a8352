"""Explanations of the predictors of interest on planted tastes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from feature_repo.columns import Columns
from predictors.explanation.explain import Explanation, explain
from predictors.explanation.names import CROWD, HISTORY
from predictors.interest.blend import InterestBlend, fit_blend
from predictors.interest.catboost import InterestCatBoost
from predictors.interest.config import BlendConfig
from predictors.interest.platt import log_odds
from predictors.tracking import LocalRun
from tests.predictors.planted_tastes import Tastes, plant_tastes

MEMBERS = ("interest", "interest_factors", "interest_catboost")
QUICK: dict[str, dict[str, object]] = {
    "interest": {
        "width": 16, "hidden": 32, "components": 8, "epochs": 8, "patience": 8, "batch": 32, "block": 8, "rate": 1e-2,
        "dropout": 0.05, "id_dropout": 0.1, "id_decay": 0.1, "negatives": 32, "threads": 1,
    },
    "interest_factors": {"sweeps": 20, "burn_in": 10, "kept": 5},
    "interest_catboost": {
        "iterations": 60, "patience": 20, "learning_rate": 0.1, "factors": 4, "components": 6, "ranked": 400,
        "threads": 1, "embedding_weight": 0.5,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def tastes() -> Tastes:
    made = plant_tastes(users=60, contents=60, events=60)
    labels = {**made.examples.labels, "reaction": made.examples.labels["engaged"]}
    return replace(made, examples=replace(made.examples, labels=labels))


@pytest.fixture(scope="module")
def blend(tastes: Tastes, tmp_path_factory: pytest.TempPathFactory) -> InterestBlend:
    config = BlendConfig(members=MEMBERS, options=QUICK, resamples=5)
    predictor = fit_blend(tastes.examples, config, LocalRun("v", tmp_path_factory.mktemp("run"))).predictor
    assert isinstance(predictor, InterestBlend)
    return predictor


@pytest.fixture(scope="module")
def columns(tastes: Tastes) -> Columns:
    """Events of the test split, of several users."""
    return tastes.examples.batch(tastes.examples.splits.test[::9][:12])


@pytest.fixture(scope="module")
def said(blend: InterestBlend, columns: Columns) -> dict[str, Explanation]:
    return {member.name: explain(member, columns) for member in blend.members}


@pytest.mark.parametrize(
    ("name", "left"), [("interest", 1e-3), ("interest_factors", 1e-6), ("interest_catboost", 1e-4)]
)
def test_contributions_sum_to_the_log_odds(
    blend: InterestBlend, columns: Columns, said: dict[str, Explanation], name: str, left: float
) -> None:
    member = next(member for member in blend.members if member.name == name)
    np.testing.assert_allclose(said[name].total, log_odds(member.score(columns).score))
    np.testing.assert_allclose(said[name].residual, 0, atol=left)
    assert said[name].contributions.std() > 0


def test_a_blend_is_explained_by_its_members(
    blend: InterestBlend, columns: Columns, said: dict[str, Explanation]
) -> None:
    whole = explain(blend, columns)
    np.testing.assert_allclose(whole.total, log_odds(blend.score(columns).score))
    np.testing.assert_allclose(whole.residual, 0, atol=1e-2)
    weighed = sum(
        weight * said[member.name].by_modality.get(HISTORY, 0.0)
        for weight, member in zip(blend.calibration.weights, blend.members, strict=True)
    )
    np.testing.assert_allclose(whole.by_modality[HISTORY], weighed, atol=1e-9)
    assert len(set(whole.features)) == len(whole.features)


def test_what_was_planted_speaks_and_what_was_not_is_quiet(said: dict[str, Explanation]) -> None:
    """Tastes show in the history and in the vectors; there are no creators, and durations say nothing."""
    for name in ("interest", "interest_catboost"):
        modalities = {modality: np.abs(values).mean() for modality, values in said[name].by_modality.items()}
        told = {"vec", HISTORY, CROWD, "user"}
        assert sum(modalities[modality] for modality in told & modalities.keys()) > 5 * modalities["creator"]


def test_the_line_that_trees_start_from_is_split_as_its_sum_is(
    blend: InterestBlend, columns: Columns, said: dict[str, Explanation]
) -> None:
    """A planted liking is worth to the explanation what it is worth to the line, and what trees add."""
    trees = next(member for member in blend.members if isinstance(member, InterestCatBoost))
    liking = trees.assembler(columns)[:, trees.assembler.names.index("liking:vec")]
    added = said["interest_catboost"].by_modality["vec"]
    slope = np.polyfit(liking, added, 1)[0]
    assert slope > 0.9 * trees.calibration.slope * trees.start.slope


def test_a_content_without_a_vector_owes_nothing_to_it(blend: InterestBlend, columns: Columns) -> None:
    blind = columns.take(range(columns.rows))
    blind.values["vec"] = np.full_like(columns.vectors("vec"), np.nan)
    blind.present["vec"] = np.zeros(columns.rows, bool)
    blind.values["content_id"] = np.array([f"new{row}" for row in range(columns.rows)], object)
    for name in ("interest", "interest_factors"):
        member = next(member for member in blend.members if member.name == name)
        np.testing.assert_array_equal(explain(member, blind).by_modality["vec"], 0)


def test_a_user_who_has_met_nothing_owes_nothing_to_events(blend: InterestBlend, columns: Columns) -> None:
    lists = ("recent_contents", "recent_events", "recent_times", "recent_values")
    fresh = columns.take(range(columns.rows))
    fresh.values.update({name: np.full(columns.rows, None, object) for name in lists})
    events = explain(blend.members[0], fresh)
    places = [place for place, feature in enumerate(events.features) if feature.name.endswith("events ago")]
    assert len(places) == 50
    np.testing.assert_array_equal(events.contributions[:, places], 0)


def test_a_row_is_explained_the_same_alone_and_among_other_users(
    blend: InterestBlend, columns: Columns, said: dict[str, Explanation]
) -> None:
    for member in blend.members:
        alone = explain(member, columns.take([5]))
        np.testing.assert_allclose(alone.contributions[0], said[member.name].contributions[5], atol=1e-4)
