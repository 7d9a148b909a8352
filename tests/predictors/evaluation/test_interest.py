from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from feature_repo.columns import Columns
from feature_repo.errors import InputError, StateError
from predictors.base import Scores
from predictors.evaluation.interest import InterestExamination
from predictors.evaluation.paired import resample
from predictors.interest.data import EventData
from predictors.interest.examples import EventExamples
from predictors.recipes import Fitted
from predictors.splits import Splits
from tests.predictors.planted_tastes import Tastes, plant_tastes


@dataclass(frozen=True)
class Known:
    """Says what it knows of each user and content, 0.5 of others; `rank` is the opposite where it is `contrary`."""

    chances: Mapping[tuple[str, str], float]
    contrary: bool = False
    name: str = "known"
    service: str = "interest"

    def score(self, columns: Columns) -> Scores:
        pairs = zip(columns.objects("user_id"), columns.objects("content_id"), strict=True)
        p = np.array([self.chances.get(pair, 0.5) for pair in pairs])
        details = {"rank": -p} if self.contrary else {}
        return Scores(p, np.stack([1 - p, p], axis=1), (p >= 0.5).astype(np.int64), details)


@pytest.fixture(scope="module")
def tastes() -> Tastes:
    return plant_tastes()


def examine(examples: EventExamples) -> InterestExamination:
    return InterestExamination(EventData(pl.DataFrame(), pl.DataFrame(), examples, 0))


def knowing(tastes: Tastes, contrary: bool = False) -> Fitted:
    columns = tastes.examples.columns
    pairs = zip(columns.objects("user_id"), columns.objects("content_id"), strict=True)
    return Fitted(Known(dict(zip(pairs, tastes.chance.tolist(), strict=True)), contrary))  # type: ignore[arg-type]


def test_an_encounter_is_measured_as_predicted(tastes: Tastes) -> None:
    held, fitted = examine(tastes.examples), knowing(tastes)
    said = held.predict(fitted, fitted.predictor)
    test = tastes.examples.splits.test
    assert said["events"].columns == ["user_id", "item_id", "p"]
    assert said["events"]["p"].to_list() == tastes.chance[test].tolist()
    outcome = held.outcome(said)
    engaged = tastes.examples.labels["engaged"]
    assert outcome.units == 60
    assert outcome.measure()["auc"] == pytest.approx(roc_auc_score(engaged[test], tastes.chance[test]))
    valid = tastes.examples.splits.valid
    assert held.objective(fitted) == pytest.approx(roc_auc_score(engaged[valid], tastes.chance[valid]))
    assert held.truth()["engaged"].to_list() == engaged[test].tolist()
    estimates = resample([outcome], 50, 0).estimates()
    assert set(estimates) == {"auc", "gauc", "log_loss", "calibration_error", "hr10", "ndcg10"}
    assert all(one.low <= one.value <= one.high or name == "calibration_error" for name, one in estimates.items())


def test_lists_hold_what_was_not_met_before_best_first(tastes: Tastes) -> None:
    held, fitted = examine(tastes.examples), knowing(tastes)
    lists = held.predict(fitted, fitted.predictor)["rankings"]
    assert lists.columns == ["user_id", "item_id", "rank"]
    examples = tastes.examples
    users, items = examples.columns.objects("user_id"), examples.columns.objects("content_id")
    engaged = examples.splits.test[examples.labels["engaged"][examples.splits.test] == 1]
    assert set(lists["user_id"]) == set(users[engaged])
    for (user,), rows in lists.group_by("user_id"):
        earlier = np.concatenate([examples.splits.train, examples.splits.valid])
        mine = earlier[users[earlier] == user]
        assert rows["rank"].to_list() == list(range(1, 80 - len(mine) + 1))
        assert set(rows["item_id"]) == {f"c{number:04d}" for number in range(80)} - set(items[mine])
        p = fitted.predictor.chances  # type: ignore[attr-defined]
        values = [p.get((user, item), 0.5) for item in rows["item_id"]]
        assert values == sorted(values, reverse=True)


def test_the_rank_detail_goes_before_the_score(tastes: Tastes) -> None:
    held, straight, contrary = examine(tastes.examples), knowing(tastes), knowing(tastes, contrary=True)
    good, bad = (held.outcome(held.predict(f, f.predictor)).measure() for f in (straight, contrary))
    assert good["auc"] == bad["auc"]
    assert good["ndcg10"] > bad["ndcg10"]


def test_the_oracle_beats_every_naive_baseline(tastes: Tastes) -> None:
    held, fitted = examine(tastes.examples), knowing(tastes)
    own = held.outcome(held.predict(fitted, fitted.predictor)).measure()
    naive = {name: held.outcome(said).measure() for name, said in held.naive().items()}
    assert {"mean", "biases", "popularity", "als", "vec_likeness"} <= set(naive)
    assert naive["mean"]["auc"] == 0.5
    assert "hr10" not in naive["mean"]
    assert "auc" not in naive["als"]
    assert all(own["auc"] > measured.get("auc", 0) for measured in naive.values())


def test_users_with_hardly_a_past_are_left_out(tastes: Tastes) -> None:
    examples = tastes.examples
    train, users = examples.splits.train, examples.columns.objects("user_id")
    own = np.flatnonzero(users[train] == "u003")
    fewer = replace(examples, splits=replace(examples.splits, train=np.delete(train, own[4:])))
    just = replace(examples, splits=replace(examples.splits, train=np.delete(train, own[5:])))
    assert "u003" not in set(examine(fewer).truth()["user_id"])
    assert "u003" in set(examine(just).truth()["user_id"])
    nobody = replace(examples, splits=replace(examples.splits, train=train[:0]))
    with pytest.raises(StateError, match="no user of the 360 test encounters has 5"):
        examine(nobody)


def test_new_contents_are_chosen_from_new_contents(tastes: Tastes) -> None:
    examples = tastes.examples
    place = np.digitize(examples.items, [60, 70])
    cold = replace(examples, splits=Splits(*(np.flatnonzero(place == part) for part in range(3))))
    fitted = knowing(tastes)
    held = examine(cold)
    lists = held.predict(fitted, fitted.predictor)["rankings"]
    assert set(lists["item_id"]) == {f"c{number:04d}" for number in range(70, 80)}
    assert held.outcome({"rankings": lists}).measure()["hr10"] == 1.0


def test_predictions_of_other_encounters_are_refused(tastes: Tastes) -> None:
    held, fitted = examine(tastes.examples), knowing(tastes)
    said = held.predict(fitted, fitted.predictor)["events"]
    with pytest.raises(InputError, match="predictions of 359 encounters are not of the 360 held out"):
        held.outcome({"events": said[1:]})
    with pytest.raises(InputError, match="predictions of 360 encounters"):
        held.outcome({"events": said.reverse()})
