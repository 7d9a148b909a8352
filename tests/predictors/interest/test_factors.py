"""Factors and the blend of predictors of interest on planted tastes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from feature_repo.columns import Columns
from feature_repo.errors import ConfigurationError, StateError
from predictors.evaluation.ranking import auc, log_loss
from predictors.interest.blend import InterestBlend, fit_blend
from predictors.interest.blocks import MEETING, RANK
from predictors.interest.config import BlendConfig, FactorsConfig
from predictors.interest.examples import RELATED
from predictors.interest.factors import InterestFactors, fit_factors
from predictors.recipes import Fitted
from predictors.splits import Splits
from predictors.tracking import LocalRun
from tests.predictors.planted_tastes import Tastes, plant_tastes

QUICK = FactorsConfig(factors=3, components=8, sweeps=40, burn_in=10, kept=15, refit=False)
NET = {"width": 8, "hidden": 8, "components": 4, "epochs": 2, "batch": 32, "rate": 1e-2, "negatives": 8, "threads": 1}
BLEND = BlendConfig(
    members=("interest", "interest_factors"),
    options={
        "interest": NET,
        "interest_factors": {"factors": 3, "sweeps": 20, "burn_in": 5, "kept": 10, "refit": False},
    },
)


@pytest.fixture(scope="module")
def tastes() -> Tastes:
    return plant_tastes(users=100, contents=60, events=100)


@pytest.fixture(scope="module")
def fitted(tastes: Tastes, tmp_path_factory: pytest.TempPathFactory) -> InterestFactors:
    predictor = fit_factors(tastes.examples, QUICK, LocalRun("v1", tmp_path_factory.mktemp("run"))).predictor
    assert isinstance(predictor, InterestFactors)
    return predictor


@pytest.fixture(scope="module")
def blended(tastes: Tastes, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fit_blend(tastes.examples, BLEND, LocalRun("v1", tmp_path_factory.mktemp("run")))


def test_factors_come_near_the_one_who_knows_the_tastes(tastes: Tastes, fitted: InterestFactors) -> None:
    test = tastes.examples.splits.test
    truth = tastes.examples.labels["engaged"][test]
    said = fitted.score(tastes.examples.batch(test))
    assert auc(truth, said.score) > auc(truth, tastes.chance[test]) - 0.03
    assert abs(said.score.mean() - truth.mean()) < 0.05


def test_contents_that_nobody_met_are_told_by_their_vectors(tastes: Tastes, tmp_path: Path) -> None:
    examples = tastes.examples
    splits, late = examples.splits, examples.items >= 50
    parts = (splits.train[~late[splits.train]], splits.valid[~late[splits.valid]], np.flatnonzero(late))
    predictor = fit_factors(replace(examples, splits=Splits(*parts)), QUICK, LocalRun("v1", tmp_path)).predictor
    truth = examples.labels["engaged"][late]
    assert auc(truth, predictor.score(examples.batch(parts[2])).score) > auc(truth, tastes.chance[late]) - 0.08


def test_a_row_scores_the_same_alone_and_among_others(tastes: Tastes, fitted: InterestFactors) -> None:
    rows = tastes.examples.splits.test[:40]
    together = fitted.score(tastes.examples.batch(rows))
    alone = fitted.score(tastes.examples.batch(rows[[7]]))
    np.testing.assert_array_equal(alone.score, together.score[[7]])
    assert together.details.keys() == {RANK, MEETING}
    assert fitted.score(tastes.examples.batch(rows).take([])).score.shape == (0,)


def test_saved_factors_are_the_same(tastes: Tastes, fitted: InterestFactors, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    rows = tastes.examples.batch(tastes.examples.splits.test)
    again = InterestFactors.load(tmp_path)
    np.testing.assert_array_equal(again.score(rows).score, fitted.score(rows).score)
    assert again.features == fitted.features
    (tmp_path / "factors.json").unlink()
    with pytest.raises(StateError, match="train again"):
        InterestFactors.load(tmp_path)


def test_held_out_labels_reach_no_factor(tastes: Tastes, fitted: InterestFactors, tmp_path: Path) -> None:
    examples = tastes.examples
    test = examples.splits.test
    labels = {name: values.copy() for name, values in examples.labels.items()}
    for values in labels.values():
        values[test] = 1 - values[test]
    planted = fit_factors(replace(examples, labels=labels), QUICK, LocalRun("v1", tmp_path)).predictor
    rows = examples.batch(test)
    np.testing.assert_array_equal(planted.score(rows).score, fitted.score(rows).score)


@pytest.mark.parametrize("refit", [False, True])
def test_a_refit_learns_from_validation_rows_what_choices_were_made_without(
    tastes: Tastes, refit: bool, tmp_path: Path
) -> None:
    """Where validation rows say the opposite, so does who learns from them."""
    examples, valid = tastes.examples, tastes.examples.splits.valid
    labels = {name: values.copy() for name, values in examples.labels.items()}
    for values in labels.values():
        values[valid] = 1 - values[valid]
    found = fit_factors(examples, replace(QUICK, refit=refit), LocalRun("v1", tmp_path))
    other = fit_factors(replace(examples, labels=labels), replace(QUICK, refit=refit), LocalRun("v1", tmp_path))
    assert isinstance(found.predictor, InterestFactors)
    assert isinstance(other.predictor, InterestFactors)
    learnt = (found.predictor.posterior.users != other.predictor.posterior.users).any()
    assert learnt == refit
    assert (found.judged is not None) == refit
    if isinstance(found.judged, InterestFactors):
        before = fit_factors(examples, QUICK, LocalRun("v1", tmp_path)).predictor
        rows = examples.batch(valid)
        np.testing.assert_array_equal(found.judged.score(rows).score, before.score(rows).score)
        assert found.predictor.calibration == found.judged.calibration


def test_a_blend_weighs_a_member_as_it_was_before_it_knew_the_rows(tastes: Tastes, tmp_path: Path) -> None:
    options = {**BLEND.options["interest_factors"], "refit": True}
    config = replace(BLEND, members=("interest_factors",), options={"interest_factors": options})
    blend = fit_blend(tastes.examples, config, LocalRun("v1", tmp_path)).predictor
    plain = fit_blend(
        tastes.examples,
        replace(config, options={"interest_factors": {**options, "refit": False}}),
        LocalRun("v", tmp_path),
    ).predictor
    assert isinstance(blend, InterestBlend)
    assert isinstance(plain, InterestBlend)
    assert (blend.calibration, blend.rank_weights) == (plain.calibration, plain.rank_weights)
    valid = tastes.examples.splits.valid
    rows, truth = tastes.examples.batch(valid), tastes.examples.labels["engaged"][valid]
    assert auc(truth, blend.score(rows).score) > auc(truth, plain.score(rows).score)


def test_a_blend_is_at_least_as_good_as_its_best_member_and_names_them(tastes: Tastes, blended: Fitted) -> None:
    valid = tastes.examples.splits.valid
    truth, rows = tastes.examples.labels["engaged"][valid], tastes.examples.batch(valid)
    said = blended.predictor.score(rows)
    own = [member.score(rows).score for member in blended.rivals.values()]
    assert log_loss(truth, said.score) < min(log_loss(truth, each) for each in own) + 1e-3
    np.testing.assert_array_equal(said.details["interest_factors"], own[1])
    assert {RANK, MEETING, "interest"} <= said.details.keys()
    assert blended.facts["weights"].keys() == {"interest", "interest_factors"}


def test_a_saved_blend_is_the_same(tastes: Tastes, blended: Fitted, tmp_path: Path) -> None:
    blended.predictor.save(tmp_path)
    again = InterestBlend.load(tmp_path)
    rows = tastes.examples.batch(tastes.examples.splits.test)
    np.testing.assert_array_equal(again.score(rows).score, blended.predictor.score(rows).score)
    assert (again.features, again.embeddings) == (blended.predictor.features, blended.predictor.embeddings)
    (tmp_path / "blend.json").write_text("[]")
    with pytest.raises(StateError, match="train again"):
        InterestBlend.load(tmp_path)


def test_a_blend_of_nothing_or_with_options_for_strangers_is_refused() -> None:
    for members in ((), ("interest", "interest")):
        with pytest.raises(ConfigurationError, match="different predictors"):
            BlendConfig(members=members)
    with pytest.raises(ConfigurationError, match="options for popularity"):
        BlendConfig(options={"popularity": {}})
    with pytest.raises(ConfigurationError, match="cannot be kept"):
        FactorsConfig(sweeps=10, burn_in=5, kept=6)


def test_no_rows_have_no_scores(tastes: Tastes, blended: Fitted) -> None:
    assert isinstance(blended.predictor, InterestBlend)
    some = tastes.examples.with_related().batch(tastes.examples.splits.test[:2])
    for predictor in (blended.predictor, *blended.predictor.members):
        nothing = np.empty((0, predictor.width), np.float32)
        said = [predictor.score(Columns(0, {}, {})), predictor.score(some.take([]))]
        said.append(predictor.score_prepared(some.take([]), nothing, predictor.prepare(some.related[RELATED])))
        for scores in said:
            assert (scores.score.shape, scores.probabilities.shape, scores.classes.shape) == ((0,), (0, 2), (0,))
            assert RANK in scores.details
